//! Browsers that are signed in to the console. A session ends some days after it began, or a day after it was last used;
//! its key is replaced every hour, and a key that was replaced opens nothing but the moment after: if it comes again,
//! two have it, and the session ends. One that rests on something else, such as a token, ends with that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::NOTED;
use super::Tokens;
use super::basis::Basis;
use super::text::{Digest, Key, KeyId, Kind};
use crate::members::{Member, MemberId, Members};
use crate::oidc::Bindings;
use crate::passkeys::Passkeys;
use crate::store::records::{Record, Records};
use crate::store::{Expect, Revision, Store, StoreError};
use crate::vault::Secret;

/// How long a session lasts at most.
pub const SESSION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long one lasts that nobody uses.
pub const IDLE: Duration = Duration::from_secs(24 * 3600);
/// How long a key is good for before it is replaced.
const RENEW: SignedDuration = SignedDuration::from_hours(1);
/// How long the key before is taken once the new one was seen: what the browser had asked already.
const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long the key before is taken before another new one is tried, where the browser does not seem to have the first.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// Replaced keys that are known: more than there are in the longest session.
const KNOWN: usize = 200;
/// The most that one member has at a time. One more ends the oldest.
const MOST: usize = 50;
/// Longest name of a browser that is kept, in characters.
const BROWSER: usize = 200;

/// What may be seen of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: KeyId,
    /// Who is signed in.
    pub member: MemberId,
    /// What the browser calls itself.
    pub browser: String,
    /// When it began.
    pub created: Timestamp,
    /// Until when it lasts at most.
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Timestamp,
}

/// A session that was just found by its key.
pub struct Opened {
    /// Who is signed in.
    pub member: Member,
    /// The session's id.
    pub id: KeyId,
    /// What every form of the session's pages carries, and no other page knows.
    pub form_key: String,
    /// The key that the browser is to have from now on, if it was replaced.
    pub renewed: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    member: MemberId,
    member_since: Timestamp,
    browser: String,
    created: Timestamp,
    expires: Timestamp,
    form_key: String,
    #[serde(flatten)]
    basis: Basis,
    digest: Digest,
    /// When the key was made.
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    /// Those before that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<Digest>,
}

/// The key before this one.
#[derive(Serialize, Deserialize)]
struct Before {
    digest: Digest,
    /// Until when it is taken. Not said until the new one was seen, which may have been lost on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

impl Record for Stored {
    const FOLDER: &'static str = "sessions";
    /// Since 2 it may rest on more than a token, which a program that knows 1 would overlook.
    const VERSION: u32 = 2;
}

/// Kept apart from the session: a use must not get in the way of its end.
#[derive(Serialize, Deserialize)]
struct LastUse {
    at: Timestamp,
}

impl Record for LastUse {
    const FOLDER: &'static str = "session-uses";
    const VERSION: u32 = 1;
}

/// Why nobody was signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is no such member.
    #[error("there is no member {0}; see `keyhole members list`")]
    NotMember(MemberId),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sessions of the workspace.
#[derive(Clone)]
pub struct Sessions {
    records: Records<Stored>,
    uses: Records<LastUse>,
    members: Members,
    tokens: Tokens,
    bindings: Bindings,
    passkeys: Passkeys,
    /// What this process noted last. Nothing is decided by it.
    noted: Arc<Mutex<HashMap<KeyId, Timestamp>>>,
}

impl Sessions {
    /// The sessions that `store` holds. Those that rest on a binding last while `bindings` has it.
    pub fn new(store: Arc<dyn Store>, bindings: Bindings) -> Self {
        let (records, uses) = (Records::new(store.clone()), Records::new(store.clone()));
        let (members, tokens) = (Members::new(store.clone()), Tokens::new(store.clone()));
        // Whether a passkey is there does not depend on where it is used.
        let passkeys = Passkeys::new(store, None);
        Self { records, uses, members, tokens, bindings, passkeys, noted: Arc::default() }
    }

    /// Signs `member` in, for as long as there is what the session rests on. Returns the key, for the browser alone.
    ///
    /// # Errors
    /// [`SessionError::NotMember`], or whatever the store says.
    pub async fn begin(&self, member: &MemberId, browser: &str, basis: Basis) -> Result<Secret, SessionError> {
        let of = self.members.get(member).await?.ok_or_else(|| SessionError::NotMember(member.clone()))?;
        let sessions = self.list(member).await?;
        for old in sessions.iter().take((sessions.len() + 1).saturating_sub(MOST)) {
            self.end(&old.id).await?;
        }
        let now = Timestamp::now();
        let key = Key::generate(Kind::Session).map_err(SessionError::Random)?;
        let mut form_key = [0; 16];
        getrandom::fill(&mut form_key).map_err(|error| SessionError::Random(error.to_string()))?;
        let stored = Stored {
            member: member.clone(),
            member_since: of.added,
            browser: browser.chars().filter(|c| !c.is_control()).take(BROWSER).collect(),
            created: now,
            expires: now + SESSION,
            form_key: URL_SAFE_NO_PAD.encode(form_key),
            basis,
            digest: key.digest(),
            since: now,
            before: None,
            replaced: Vec::new(),
        };
        self.uses.put(key.id().as_str(), Expect::Any, &LastUse { at: now }).await?;
        self.records.put(key.id().as_str(), Expect::Absent, &stored).await?;
        Ok(key.text())
    }

    /// The session of the key `text`; `None` if there is none, or no longer. With `renew`, a key that is old is replaced:
    /// for an answer that the browser will see.
    ///
    /// # Errors
    /// Whatever the store says: the answer is no then.
    pub async fn open(&self, text: &str, renew: bool) -> Result<Option<Opened>, StoreError> {
        let Some(key) = Key::parse(Kind::Session, text) else { return Ok(None) };
        let found = self.records.get(key.id().as_str()).await?;
        let now = Timestamp::now();
        let fits = key.fits(found.as_ref().map(|(stored, _)| &stored.digest));
        let before = found.as_ref().and_then(|(stored, _)| stored.before.as_ref());
        let fitted = key.fits(before.map(|before| &before.digest));
        let in_time = before.is_some_and(|before| before.until.is_none_or(|until| now < until));
        let Some((mut stored, revision)) = found else { return Ok(None) };
        let long_ago = stored.replaced.iter().any(|digest| key.fits(Some(digest)));
        if (fitted && !in_time) || long_ago {
            tracing::warn!(session = key.id().as_str(), member = %stored.member, "a replaced key came again; its session is ended");
            self.end(key.id()).await?;
            return Ok(None);
        }
        if !fits && !fitted {
            return Ok(None);
        }
        let Some(member) = self.lasts(key.id(), &stored, now).await? else { return Ok(None) };
        let mut renewed = None;
        let age = now.duration_since(stored.since);
        if fits && let Some(before) = stored.before.as_mut().filter(|before| before.until.is_none()) {
            before.until = Some(now + GRACE);
            self.keep(key.id(), revision, &stored).await?;
        } else if renew
            // An answer with the new one may have been lost on its way.
            && age >= if fits { RENEW } else { AGAIN }
            && (fits || stored.before.as_ref().is_some_and(|before| before.until.is_none()))
            // Without random numbers the old one stays.
            && let Ok(new) = key.renewed()
        {
            let current = std::mem::replace(&mut stored.digest, new.digest());
            match fits {
                true => stored
                    .replaced
                    .extend(stored.before.replace(Before { digest: current, until: None }).map(|old| old.digest)),
                // Nobody should have it. If somebody has, two have it.
                false => stored.replaced.push(current),
            }
            let excess = stored.replaced.len().saturating_sub(KNOWN);
            stored.replaced.drain(..excess);
            stored.since = now;
            renewed = self.keep(key.id(), revision, &stored).await?.then(|| new.text());
        }
        self.note(key.id(), now).await;
        Ok(Some(Opened { member, id: key.id().clone(), form_key: stored.form_key, renewed }))
    }

    /// Who is signed in by the session `id`, which was open before; `None` if it is so no longer.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn bearer(&self, id: &KeyId) -> Result<Option<Member>, StoreError> {
        match self.records.get(id.as_str()).await? {
            Some((stored, _)) => self.lasts(id, &stored, Timestamp::now()).await,
            None => Ok(None),
        }
    }

    /// What the session `id` rests on. `None` if there is no such session.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn basis_of(&self, id: &KeyId) -> Result<Option<Basis>, StoreError> {
        Ok(self.records.get(id.as_str()).await?.map(|(stored, _)| stored.basis))
    }

    /// Where `member` is signed in, in the order in which they did. What is over is removed.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, member: &MemberId) -> Result<Vec<Session>, StoreError> {
        let now = Timestamp::now();
        let mut sessions = Vec::new();
        for (id, stored, _) in self.records.all().await? {
            let Ok(id) = id.parse::<KeyId>() else { continue };
            let last_used = self.last_used(&id, &stored).await?;
            if is_over(&stored, last_used, now) {
                self.end(&id).await?;
            } else if stored.member == *member {
                let Stored { member, browser, created, expires, .. } = stored;
                sessions.push(Session { id, member, browser, created, expires, last_used });
            }
        }
        Ok(sessions)
    }

    /// Ends a session. It holds from when this returns on.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn end(&self, id: &KeyId) -> Result<(), StoreError> {
        self.records.delete(id.as_str(), Expect::Any).await?;
        self.uses.delete(id.as_str(), Expect::Any).await
    }

    /// Ends every session of `member`.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn end_all(&self, member: &MemberId) -> Result<(), StoreError> {
        for (id, stored, _) in self.records.all().await? {
            if stored.member == *member
                && let Ok(id) = id.parse()
            {
                self.end(&id).await?;
            }
        }
        Ok(())
    }

    /// Ends every session of `member`, who is being removed.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId) -> Result<(), StoreError> {
        let (records, uses) = (Records::<Stored>::new(store.clone()), Records::<LastUse>::new(store.clone()));
        for (id, stored, _) in records.all().await? {
            if stored.member == *member {
                records.delete(&id, Expect::Any).await?;
                uses.delete(&id, Expect::Any).await?;
            }
        }
        Ok(())
    }

    async fn lasts(&self, id: &KeyId, stored: &Stored, now: Timestamp) -> Result<Option<Member>, StoreError> {
        if is_over(stored, self.last_used(id, stored).await?, now) {
            return Ok(None);
        }
        let holds = match &stored.basis {
            Basis::Itself => true,
            Basis::Token(token) => self.tokens.bearer(token).await?.is_some(),
            Basis::Oidc(binding) => self.bindings.holds(&stored.member, binding).await?,
            Basis::Passkey(passkey) => self.passkeys.holds(&stored.member, passkey).await?,
        };
        if !holds {
            return Ok(None);
        }
        let member = self.members.get(&stored.member).await?;
        Ok(member.filter(|member| member.added == stored.member_since))
    }

    async fn last_used(&self, id: &KeyId, stored: &Stored) -> Result<Timestamp, StoreError> {
        Ok(self.uses.get(id.as_str()).await?.map_or(stored.created, |(last, _)| last.at))
    }

    /// Whether `stored` took the place of what was there: of several who try at once, one does.
    async fn keep(&self, id: &KeyId, revision: Revision, stored: &Stored) -> Result<bool, StoreError> {
        match self.records.put(id.as_str(), Expect::Revision(revision), stored).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes a use. That it can't be noted keeps nobody from working.
    async fn note(&self, id: &KeyId, now: Timestamp) {
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.retain(|_, at| now.duration_since(*at) < NOTED);
            if noted.contains_key(id) {
                return;
            }
            noted.insert(id.clone(), now);
        }
        if let Err(error) = self.uses.put(id.as_str(), Expect::Any, &LastUse { at: now }).await {
            tracing::warn!(%error, "a session's use could not be noted");
        }
    }
}

fn is_over(stored: &Stored, last_used: Timestamp, now: Timestamp) -> bool {
    let idle = SignedDuration::try_from(IDLE).unwrap_or(SignedDuration::ZERO);
    stored.expires <= now || now.duration_since(last_used) >= idle
}

#[cfg(test)]
never_shown!(Opened);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::RedbStore;

    async fn rig() -> (tempfile::TempDir, Sessions, Members, MemberId) {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
        let members = Members::new(store.clone());
        let alice: MemberId = "alice".parse().unwrap();
        members.add("root".parse().unwrap(), None).await.unwrap();
        members.add(alice.clone(), None).await.unwrap();
        (dir, Sessions::new(store.clone(), Bindings::new(store)), members, alice)
    }

    /// As if the session had been begun so long ago.
    async fn age(sessions: &Sessions, id: &KeyId, by: SignedDuration) {
        let back = |stored: &mut Stored| {
            stored.since -= by;
            stored.expires -= by;
            if let Some(until) = stored.before.as_mut().and_then(|before| before.until.as_mut()) {
                *until -= by;
            }
        };
        sessions.records.update(id.as_str(), back).await.unwrap();
        sessions.uses.update(id.as_str(), |last| last.at -= by).await.unwrap();
    }

    #[tokio::test]
    async fn a_key_is_replaced_and_the_old_one_ends_the_session_if_it_comes_again() {
        let (_dir, sessions, _, alice) = rig().await;
        let first = sessions.begin(&alice, "Chromium", Basis::Itself).await.unwrap();
        let id = sessions.open(first.expose(), true).await.unwrap().unwrap().id;
        age(&sessions, &id, RENEW).await;
        assert!(sessions.open(first.expose(), false).await.unwrap().unwrap().renewed.is_none());
        let second = sessions.open(first.expose(), true).await.unwrap().unwrap().renewed.unwrap();
        // The answer with the new one may not have come: there is another one, and the lost one is nobody's.
        assert!(sessions.open(first.expose(), true).await.unwrap().is_some_and(|opened| opened.renewed.is_none()));
        age(&sessions, &id, AGAIN).await;
        let third = sessions.open(first.expose(), true).await.unwrap().unwrap().renewed.unwrap();
        assert!(sessions.open(third.expose(), true).await.unwrap().is_some());
        assert!(sessions.open(first.expose(), true).await.unwrap().is_some(), "within the moment after");
        age(&sessions, &id, GRACE).await;
        assert!(sessions.open(first.expose(), true).await.unwrap().is_none());
        assert!(sessions.open(third.expose(), true).await.unwrap().is_none(), "two had it");
        assert!(sessions.open(second.expose(), true).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_key_from_long_ago_ends_the_session_too() {
        let (_dir, sessions, _, alice) = rig().await;
        let first = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        let id = sessions.open(first.expose(), false).await.unwrap().unwrap().id;
        let mut key = Secret::new(first.expose().to_owned());
        for _ in 0..3 {
            age(&sessions, &id, RENEW).await;
            key = sessions.open(key.expose(), true).await.unwrap().unwrap().renewed.unwrap();
            assert!(sessions.open(key.expose(), true).await.unwrap().is_some());
        }
        assert!(sessions.open(first.expose(), true).await.unwrap().is_none());
        assert!(sessions.open(key.expose(), true).await.unwrap().is_none(), "two had it");
    }

    #[tokio::test]
    async fn a_session_that_a_token_began_ends_with_it() {
        let (_dir, sessions, _, alice) = rig().await;
        let token = sessions.tokens.create(&alice, "laptop", super::super::LIFETIME).await.unwrap().token;
        let key = sessions.begin(&alice, "", Basis::Token(token.id.clone())).await.unwrap();
        assert!(sessions.open(key.expose(), true).await.unwrap().is_some());
        sessions.tokens.revoke(None, token.id.as_str()).await.unwrap();
        assert!(sessions.open(key.expose(), true).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_session_of_an_earlier_version_goes_on_and_ends_with_its_token() {
        let (_dir, sessions, _, alice) = rig().await;
        let token = sessions.tokens.create(&alice, "laptop", super::super::LIFETIME).await.unwrap().token;
        let key = sessions.begin(&alice, "", Basis::Token(token.id.clone())).await.unwrap();
        let id = sessions.open(key.expose(), false).await.unwrap().unwrap().id;
        let (store, at) = (sessions.records.store(), Records::<Stored>::key(id.as_str()));
        let text = String::from_utf8(store.get(&at).await.unwrap().unwrap().value.to_vec()).unwrap();
        let old = text.strip_prefix("{\"v\":2,").unwrap();
        store.write(&at, Expect::Any, Some(format!("{{\"v\":1,{old}").into_bytes())).await.unwrap();
        assert!(sessions.open(key.expose(), true).await.unwrap().is_some());
        sessions.tokens.revoke(None, token.id.as_str()).await.unwrap();
        assert!(sessions.open(key.expose(), true).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_session_ends_with_time_with_its_member_and_when_it_is_ended() {
        let (_dir, sessions, members, alice) = rig().await;
        let opens = async |key: &Secret| sessions.open(key.expose(), true).await.unwrap().is_some();
        for (days, lasts) in [(SignedDuration::from_hours(23), true), (SignedDuration::from_hours(24), false)] {
            let key = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
            let id = sessions.open(key.expose(), false).await.unwrap().unwrap().id;
            age(&sessions, &id, days).await;
            assert_eq!(opens(&key).await, lasts, "{days}");
        }
        let one = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        let other = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        let id = sessions.open(one.expose(), false).await.unwrap().unwrap().id;
        sessions.end(&id).await.unwrap();
        assert!(!opens(&one).await && opens(&other).await);
        sessions.end_all(&alice).await.unwrap();
        assert!(!opens(&other).await);

        let key = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        members.remove(&alice).await.unwrap();
        assert!(!opens(&key).await);
        members.add(alice.clone(), None).await.unwrap();
        assert!(!opens(&key).await, "another alice");
    }

    #[tokio::test]
    async fn no_more_sessions_than_there_may_be() {
        let (_dir, sessions, _, alice) = rig().await;
        let first = sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        for _ in 0..MOST {
            sessions.begin(&alice, "", Basis::Itself).await.unwrap();
        }
        assert_eq!(sessions.list(&alice).await.unwrap().len(), MOST);
        assert!(sessions.open(first.expose(), true).await.unwrap().is_none());
    }
}
