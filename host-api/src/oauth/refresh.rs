//! Keeping tokens fresh: before they expire, and when the service refuses one.
//!
//! However many tasks need it at once, one *flight* a process asks for it, and of all
//! processes the holder of the [`Lease`](super::lease). What comes back is on disk,
//! sealed, before anyone can read the new access token: there is no other place to read it.
//!
//! It must never take an account for dead on anything but the server's word on the tokens
//! that are on disk now, or because they have expired and there is no way to others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::time::Instant;

use super::OAuth;
use super::error::{OAuthError, RefreshError, TokenError};
use super::lease::{BEAT, Lease};
use super::wire::{Granted, Server};
use crate::accounts::{Account, AccountId, Health, Renewed, Tokens};
use crate::apps::{App, Flow, OAuthDef, REFRESH_TOKEN};
use crate::store::{Expect, Revision, StoreError};

/// How long a request waits for a refresh as long as the old token still works.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a flight waits for another process.
const LONGEST: Duration = Duration::from_secs(60);
/// How often it looks whether that one is done: from, and up to.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How often it is tried to get what a server gave onto the disk, a second apart. It is
/// the only copy.
const SAVES: u32 = 20;

/// Whether the account has other tokens afterwards, or none that work.
type Flight = Shared<BoxFuture<'static, Result<bool, RefreshError>>>;

/// The refreshes that this process is about, by account and version of its credentials.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<(AccountId, u64), Flight>>);

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(AccountId, u64), Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why fresh tokens are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The access token expires, or has.
    Expiry,
    /// The service refused it (401).
    Refusal,
}

/// A number from 0 to 1: the same for everyone who asks about the same version, and another
/// for another account, so that a thousand accounts that were connected at once are not
/// refreshed at once.
fn chance(id: &AccountId, version: u64) -> f64 {
    let hash = blake3::hash(format!("{id}/{version}").as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first) as f64 / u64::MAX as f64
}

/// When the access token of this version of the account should be refreshed.
fn due_at(id: &AccountId, version: u64, tokens: &Tokens, margin: Duration) -> Option<Timestamp> {
    let expires = tokens.expires?;
    let lifetime = Duration::try_from(expires.duration_since(tokens.obtained)).unwrap_or_default();
    // A token that lives shorter than the margin must not be refreshed at each request.
    let lead = margin.mul_f64(1.0 + chance(id, version) / 2.0).min(lifetime / 2);
    Some(expires - lead)
}

impl OAuth {
    /// Sees to it that the tokens of `account` are fresh, if they need it. Whether the
    /// account is to be read again: it has other tokens now, or none that work.
    pub(crate) async fn fresh(self: &Arc<Self>, account: &Account, need: Need) -> Result<bool, RefreshError> {
        let Some(tokens) = &account.oauth else { return Ok(false) };
        let Some(app) = account.app(self.accounts.catalog()) else { return Ok(false) };
        let Some(def) = &app.oauth else { return Ok(false) };
        let now = Timestamp::now();
        if need == Need::Expiry
            && due_at(&account.id, account.version, tokens, def.refresh_margin).is_none_or(|due| due > now)
        {
            return Ok(false);
        }
        let works = need == Need::Expiry && tokens.expires.is_none_or(|expires| expires > now);
        if !account.has_refresh_token() && def.flow == Flow::Member {
            // Of a refusal alone nothing follows: some services say 401 to what is merely not allowed.
            if works || need == Need::Refusal {
                return Ok(false);
            }
            let reason = "the access token has expired, and the service gave no refresh token".to_owned();
            self.accounts.set_health(&account.id, account.version, Health::ReconnectNeeded { reason }).await?;
            return Ok(true);
        }
        let flight = self.flight(account, need);
        if !works {
            return flight.await;
        }
        match tokio::time::timeout(PATIENCE, flight).await {
            Ok(Ok(changed)) => Ok(changed),
            // The old one is good for this request, whatever becomes of the refresh.
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// The refresh of these very tokens that is under way, or a new one. It goes on when
    /// nobody waits for it any more: what the server gave must be kept.
    fn flight(self: &Arc<Self>, account: &Account, need: Need) -> Flight {
        struct Landed(Arc<OAuth>, (AccountId, u64));
        impl Drop for Landed {
            fn drop(&mut self) {
                self.0.flights.lock().remove(&self.1);
            }
        }
        let key = (account.id.clone(), account.version);
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let landed = Landed(self.clone(), key.clone());
        let task = tokio::spawn(async move {
            let (id, version) = &landed.1;
            landed.0.fly(id, *version, need).await
        });
        let ended =
            |result: Result<_, _>| result.unwrap_or_else(|_| Err(RefreshError::Unable("the task ended".into())));
        let flight = task.map(ended).boxed().shared();
        flights.insert(key, flight.clone());
        flight
    }

    /// Refreshes the tokens of `version`, or waits until someone else has.
    async fn fly(&self, id: &AccountId, version: u64, need: Need) -> Result<bool, RefreshError> {
        let holder = ulid::Ulid::generate().to_string();
        let deadline = Instant::now() + LONGEST;
        let mut look = LOOK.0;
        loop {
            let Some(account) = self.still(id, version).await? else { return Ok(true) };
            let found = self.leases.get(id.as_str()).await?;
            let (lease, expect) =
                found.map_or((Lease::default(), Expect::Absent), |(lease, at)| (lease, Expect::Revision(at)));
            let now = Timestamp::now();
            if let Some(left) = lease.held(now) {
                if Instant::now() >= deadline {
                    return Err(RefreshError::TooLong);
                }
                tokio::time::sleep(look.min(left)).await;
                look = (look * 2).min(LOOK.1);
                continue;
            }
            if let Some(again) = lease.backing_off(now) {
                return Err(RefreshError::Failing { reason: lease.reason.unwrap_or_default(), again });
            }
            if need == Need::Refusal && lease.refused_lately(now) {
                return Ok(false);
            }
            let taken = lease.taken(&holder, now);
            match self.leases.put(id.as_str(), expect, &taken).await {
                Ok(revision) => return self.holding(account, need, taken, revision).await,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The account, if it is alive and has these very tokens.
    async fn still(&self, id: &AccountId, version: u64) -> Result<Option<Account>, StoreError> {
        let account = self.accounts.live(id).await?;
        Ok(account.filter(|account| account.version == version && account.health == Health::Ok))
    }

    /// The lease is ours.
    async fn holding(
        &self,
        account: Account,
        need: Need,
        mut lease: Lease,
        mut revision: Revision,
    ) -> Result<bool, RefreshError> {
        let id = account.id.clone();
        // Read again: the one who held it before may have been done between our two reads.
        let outcome = match self.still(&id, account.version).await? {
            None => Ok(true),
            Some(account) => {
                let asked = self.ask(&account);
                tokio::pin!(asked);
                loop {
                    tokio::select! {
                        outcome = &mut asked => break outcome,
                        () = tokio::time::sleep(BEAT) => {
                            lease = lease.taken(lease.holder.as_deref().unwrap_or_default(), Timestamp::now());
                            // Taken from us, or not to be written: what the server says is still ours to keep.
                            if let Ok(at) = self.leases.put(id.as_str(), Expect::Revision(revision), &lease).await {
                                revision = at;
                            }
                        }
                    }
                }
            }
        };
        let now = Timestamp::now();
        let word = if matches!(outcome, Ok(true)) { "ok" } else { "failed" };
        metrics::counter!("keyhole_refreshes_total", "app" => account.app.clone(), "outcome" => word).increment(1);
        let (lease, answer) = match outcome {
            Ok(_) => (lease.done(need == Need::Refusal, now), Ok(true)),
            Err(Trouble { reason, retry_after, lasting }) => {
                let chance = chance(&id, account.version.wrapping_add(u64::from(lease.failures)));
                let lease = lease.failed(reason.clone(), retry_after, chance, now);
                let again = lease.backing_off(now).unwrap_or_default();
                let error = match lasting {
                    true => RefreshError::Unable(reason),
                    false => RefreshError::Failing { reason, again },
                };
                (lease, Err(error))
            }
        };
        match self.leases.put(id.as_str(), Expect::Revision(revision), &lease).await {
            // It ran out, and someone else has it.
            Ok(_) | Err(StoreError::Conflict { .. }) => answer,
            // It runs out by itself.
            Err(error) => {
                tracing::error!(account = %id, %error, "the lease of a refresh could not be given back");
                answer
            }
        }
    }

    /// Asks the token endpoint, and keeps what it gave. False if the account is dead, which is kept, too.
    async fn ask(&self, account: &Account) -> Result<bool, Trouble> {
        let app =
            account.app(self.accounts.catalog()).ok_or_else(|| Trouble::lasting("the catalog has no such app"))?;
        let def = app.oauth.as_ref().ok_or_else(|| Trouble::lasting("its app is no longer connected by OAuth"))?;
        match self.exchange(&app, def, account).await {
            Ok(granted) => self.save(def, account, renewed(&app, def, account, granted)).await.map(|()| true),
            Err(OAuthError::Token { error, .. }) if error.is_invalid_grant() => {
                self.bury(account, &error).await.map(|()| false)
            }
            Err(error) => Err(Trouble::from(error)),
        }
    }

    async fn exchange(&self, app: &App, def: &OAuthDef, account: &Account) -> Result<Granted, OAuthError> {
        let secret = |name: &str| match account.secret_fields().any(|field| field == name) {
            true => self.accounts.secret(account, name).map(Some).map_err(OAuthError::from),
            false => Ok(None),
        };
        let Some(token) = secret(REFRESH_TOKEN)? else {
            let scopes = account.oauth.as_ref().map_or(&[][..], |tokens| &tokens.scopes);
            return self.granted_alone(app, def, &account.plain, scopes, secret).await;
        };
        let keys = self.keys(app, def, &account.plain, secret).await?;
        Server::new(&self.calls, def, &account.plain, &keys)?.refresh(&token).await
    }

    /// The server has forgotten the old refresh token by now, so this is the only copy.
    async fn save(&self, def: &OAuthDef, account: &Account, renewed: Renewed) -> Result<(), Trouble> {
        let mut tries = 0;
        loop {
            match self.accounts.renew(&account.id, account.version, &renewed).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {
                    // Deleted meanwhile: then these must end, too. But if the account was reconnected, they may
                    // be of the same grant at the service as its new ones, and revoking them would end those.
                    if let Ok(None) = self.accounts.live(&account.id).await {
                        self.revoke_unkept(def, account, &renewed).await;
                    }
                    return Ok(());
                }
                Err(error) if tries >= SAVES => {
                    tracing::error!(account = %account.id, %error, "refreshed tokens could not be kept");
                    return Err(Trouble { reason: error.to_string(), retry_after: None, lasting: false });
                }
                Err(error) => {
                    tracing::warn!(account = %account.id, %error, "refreshed tokens can't be kept yet");
                    tries += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// The server does not know the refresh token. If the record has another by now, that
    /// says nothing; else the account is dead. The version tells: one write does both.
    async fn bury(&self, account: &Account, error: &TokenError) -> Result<(), Trouble> {
        let health = Health::ReconnectNeeded { reason: error.to_string() };
        let noted = self.accounts.set_health(&account.id, account.version, health).await;
        noted.map_err(|error| Trouble { reason: error.to_string(), retry_after: None, lasting: false })
    }

    /// An account with other tokens has another fate.
    pub(super) async fn forget_failures(&self, id: &AccountId) -> Result<(), StoreError> {
        self.leases
            .update(id.as_str(), |lease| {
                *lease = Lease { holder: lease.holder.take(), until: lease.until, ..Lease::default() }
            })
            .await?;
        Ok(())
    }
}

/// Why there was no refresh, though the account is not lost.
struct Trouble {
    reason: String,
    retry_after: Option<Duration>,
    /// Whether asking again will not help until someone has done something.
    lasting: bool,
}

impl Trouble {
    fn lasting(reason: &str) -> Self {
        Self { reason: reason.to_owned(), retry_after: None, lasting: true }
    }
}

impl From<OAuthError> for Trouble {
    fn from(error: OAuthError) -> Self {
        let retry_after = match &error {
            OAuthError::Token { error, .. } => error.retry_after(),
            _ => None,
        };
        let lasting = !matches!(error, OAuthError::Token { .. } | OAuthError::Store(_));
        Self { reason: error.to_string(), retry_after, lasting }
    }
}

fn renewed(app: &Arc<App>, def: &OAuthDef, account: &Account, granted: Granted) -> Renewed {
    let (mut secrets, mut plain) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in granted.extra.fields {
        match app.field(&name) {
            Some(field) if field.check(&value).is_err() => {
                tracing::warn!(account = %account.id, field = name, "a refresh brought a value that does not fit");
            }
            // What decides about hosts is fixed when a member connects: an answer can't move an account.
            Some(field) if field.secret => drop(secrets.insert(name, crate::vault::Secret::new(value))),
            Some(_) if account.plain.contains_key(&name) => {}
            Some(_) => drop(plain.insert(name, value)),
            None => {}
        }
    }
    secrets.insert(def.access_token.clone(), granted.access);
    // A server that does not rotate gives none, and the old one stays (RFC 6749, section 6).
    secrets.extend(granted.refresh.map(|refresh| (REFRESH_TOKEN.to_owned(), refresh)));
    let scopes = granted.scopes.or_else(|| account.oauth.as_ref().map(|tokens| tokens.scopes.clone()));
    let tokens = Tokens::now(scopes.unwrap_or_default(), granted.lifetime.or(def.expires_in));
    Renewed { app: app.clone(), secrets, plain, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> AccountId {
        format!("01J00000000000000000000{number:03}").parse().unwrap()
    }

    fn lead(number: u8, lifetime: u64, margin: u64) -> Duration {
        let obtained = Timestamp::UNIX_EPOCH;
        let expires = obtained + Duration::from_secs(lifetime);
        let tokens = Tokens { scopes: Vec::new(), obtained, expires: Some(expires), refreshes: 0 };
        let due = due_at(&id(number), 1, &tokens, Duration::from_secs(margin)).unwrap();
        Duration::try_from(expires - due).unwrap()
    }

    #[test]
    fn tokens_are_due_before_they_expire_and_not_all_at_once() {
        let leads: Vec<Duration> = (0..200).map(|number| lead(number, 3600, 60)).collect();
        let (least, most) = (leads.iter().min().unwrap(), leads.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(60) && *most <= Duration::from_secs(90), "{least:?} {most:?}");
        assert!(*most - *least > Duration::from_secs(25), "they are spread: {least:?} {most:?}");
        assert_eq!(lead(1, 3600, 60), lead(1, 3600, 60), "everyone who asks is told the same");
    }

    #[test]
    fn a_token_that_lives_shorter_than_the_margin_is_used_for_half_its_life() {
        assert_eq!(lead(1, 10, 60), Duration::from_secs(5));
        assert_eq!(lead(1, 3600, 0), Duration::ZERO);
        let unknown = Tokens { scopes: Vec::new(), obtained: Timestamp::UNIX_EPOCH, expires: None, refreshes: 0 };
        assert_eq!(due_at(&id(1), 1, &unknown, Duration::from_secs(60)), None);
    }
}
