//! A connection that is under way: what was asked for, by whom, and what must come back.
//! It lies in the store, so that any process can finish it, and is gone the moment one does.
//!
//! The store has only a hash of what names it, and its secrets sealed: who can read the
//! store can't finish somebody else's connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OAuth;
use super::error::OAuthError;
use crate::accounts::AccountId;
use crate::members::MemberId;
use crate::store::records::{Record, Records};
use crate::store::{Expect, Revision, Store, StoreError};
use crate::tokens::{KeyId, LinkError};
use crate::vault::{Binding, Report, Sealed, Secret, VaultError};

/// How long a member has to come back from the browser.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// Connections that one member can have under way, besides those by connect links: whoever has one must not keep its
/// member from connecting.
const AT_ONCE: usize = 100;
/// How many may be begun by one connect link, ever.
const BY_LINK: u32 = 50;
/// Before the names of the member's own secret fields.
const FIELD: &str = "field.";
/// Where the browser goes on. Sealed, since it may be a link that opens something.
const NEXT: &str = "next";

/// A connection under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    pub member: MemberId,
    /// Since when they are one: a later bearer of the name is somebody else. Before 3 it was not kept, and none of those
    /// goes on.
    #[serde(default)]
    member_since: Option<Timestamp>,
    pub app: String,
    pub nickname: Option<String>,
    /// The account that is to be connected anew.
    pub account: Option<AccountId>,
    /// Whether that may come to belong to another identity at the service.
    pub other_identity: bool,
    /// Whether to store without having asked whose the tokens are.
    pub untested: bool,
    /// The connect link that is used up with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<KeyId>,
    pub scopes: Vec<String>,
    /// The plain fields that the member gave.
    pub plain: BTreeMap<String, String>,
    pub way: Way,
    pub expires: Timestamp,
    sealed: Sealed,
}

/// What must come back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// A code, to this very URI.
    Browser { redirect_uri: String },
    /// The member's word, given elsewhere.
    Device {
        /// When the server may be asked next.
        next: Timestamp,
    },
}

impl Record for Attempt {
    const FOLDER: &'static str = "oauth-attempts";
    // Since 2 one may use up a link, which a program that knows 1 would leave as it is; since 3 it ends with its member.
    const VERSION: u32 = 3;
}

/// What was tried by the connect link that has the same id. It is counted here and not in the link, which is used up at the
/// revision at which it was found.
#[derive(Serialize, Deserialize)]
pub(super) struct Tries {
    begun: u32,
}

impl Record for Tries {
    const FOLDER: &'static str = "connect-link-attempts";
    const VERSION: u32 = 1;
}

/// What is new about an attempt.
pub(super) struct NewAttempt {
    pub member: MemberId,
    pub member_since: Timestamp,
    pub app: String,
    pub nickname: Option<String>,
    pub account: Option<AccountId>,
    pub other_identity: bool,
    pub untested: bool,
    pub link: Option<KeyId>,
    pub next: Option<Secret>,
    pub scopes: Vec<String>,
    pub plain: BTreeMap<String, String>,
    pub way: Way,
    pub lifetime: Duration,
    /// The member's own secret fields.
    pub secrets: BTreeMap<String, Secret>,
    /// The code verifier, or the device's answer.
    pub ours: Option<(&'static str, Secret)>,
}

/// An attempt that was read, and may be finished.
pub(super) struct UnderWay {
    pub id: String,
    pub attempt: Attempt,
    pub revision: Revision,
    /// The member's own secret fields.
    pub secrets: BTreeMap<String, Secret>,
}

/// What a connection under way set out from, for who shows how it ended.
pub struct Origin {
    /// The app.
    pub app: String,
    /// The account that is to be connected anew.
    pub account: Option<AccountId>,
    /// The connect link that led to it.
    pub link: Option<KeyId>,
    /// Where the browser goes on.
    pub next: Option<Secret>,
}

impl Origin {
    /// Whether a connect link led to it.
    pub fn is_by_link(&self) -> bool {
        self.link.is_some()
    }
}

/// The store's name for what the outside calls `token`.
fn id_of(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

fn binding(id: &str) -> String {
    format!("oauth-attempt/{id}")
}

/// Who is connecting, and what.
fn terms(member: &MemberId, app: &str) -> Vec<u8> {
    format!("{member}/{app}").into_bytes()
}

impl OAuth {
    /// Keeps an attempt under `token`, which the outside knows it by.
    pub(super) async fn keep(&self, token: &str, new: NewAttempt) -> Result<Timestamp, OAuthError> {
        self.clear(&new.member, new.link.is_some()).await?;
        if let Some(link) = &new.link {
            self.count(link).await?;
        }
        let id = id_of(token);
        let mut secrets: BTreeMap<String, Secret> =
            new.secrets.into_iter().map(|(name, secret)| (format!("{FIELD}{name}"), secret)).collect();
        secrets.extend(new.ours.map(|(name, secret)| (name.to_owned(), secret)));
        secrets.extend(new.next.map(|next| (NEXT.to_owned(), next)));
        let (vault, workspace) = self.accounts.vault();
        let expires = Timestamp::now() + new.lifetime;
        let account = binding(&id);
        let bound = Binding { workspace, account: &account, version: 1, terms: &terms(&new.member, &new.app) };
        let attempt = Attempt {
            sealed: vault.sealer().await?.seal(&bound, &secrets)?,
            member: new.member,
            member_since: Some(new.member_since),
            app: new.app,
            nickname: new.nickname,
            account: new.account,
            other_identity: new.other_identity,
            untested: new.untested,
            link: new.link,
            scopes: new.scopes,
            plain: new.plain,
            way: new.way,
            expires,
        };
        self.attempts.put(&id, Expect::Absent, &attempt).await?;
        Ok(expires)
    }

    /// The attempt that `token` names, if it is `by`'s and not over. Someone else's is
    /// told apart from none at all by nothing.
    pub(super) async fn under_way(&self, by: &MemberId, token: &str) -> Result<UnderWay, OAuthError> {
        let id = id_of(token);
        let found = self.attempts.get(&id).await?;
        let member = self.accounts.members().get(by).await?.ok_or(OAuthError::NotUnderWay)?;
        let theirs = |attempt: &Attempt| attempt.member == *by && attempt.member_since == Some(member.added);
        let (attempt, revision) = found
            .filter(|(attempt, _)| theirs(attempt) && attempt.expires > Timestamp::now())
            .ok_or(OAuthError::NotUnderWay)?;
        let mut secrets = BTreeMap::new();
        for field in attempt.sealed.fields().map(str::to_owned).collect::<Vec<_>>() {
            if let Some(name) = field.strip_prefix(FIELD) {
                secrets.insert(name.to_owned(), self.open(&id, &attempt, &field)?);
            }
        }
        Ok(UnderWay { id, attempt, revision, secrets })
    }

    /// What the connection of `by`'s that `state` names set out from, while it is under way.
    ///
    /// # Errors
    /// Whatever the vault or the store says.
    pub async fn origin(&self, by: &MemberId, state: &str) -> Result<Option<Origin>, OAuthError> {
        let under_way = match self.under_way(by, state).await {
            Ok(under_way) => under_way,
            Err(OAuthError::NotUnderWay) => return Ok(None),
            Err(error) => return Err(error),
        };
        let next = self.ours(&under_way, NEXT)?;
        let Attempt { app, account, link, .. } = under_way.attempt;
        Ok(Some(Origin { app, account, link, next }))
    }

    /// What was sealed with the attempt under `name`.
    pub(super) fn ours(&self, under_way: &UnderWay, name: &str) -> Result<Option<Secret>, OAuthError> {
        match under_way.attempt.sealed.fields().any(|field| field == name) {
            true => Ok(Some(self.open(&under_way.id, &under_way.attempt, name)?)),
            false => Ok(None),
        }
    }

    fn open(&self, id: &str, attempt: &Attempt, field: &str) -> Result<Secret, VaultError> {
        let (vault, workspace) = self.accounts.vault();
        let terms = terms(&attempt.member, &attempt.app);
        let bound = Binding { workspace, account: &binding(id), version: 1, terms: &terms };
        vault.open_field(&bound, &attempt.sealed, field)
    }

    /// Opens everything that connections under way have sealed.
    pub(super) async fn check_attempts(&self, report: &mut Report) -> Result<(), StoreError> {
        let (vault, workspace) = self.accounts.vault();
        for (id, attempt, _) in self.attempts.all().await? {
            let (account, terms) = (binding(&id), terms(&attempt.member, &attempt.app));
            let bound = Binding { workspace, account: &account, version: 1, terms: &terms };
            report.look(vault, &Records::<Attempt>::key(&id), &bound, &attempt.sealed);
        }
        Ok(())
    }

    /// Ends the attempt. Of several that try at once, one comes through.
    pub(super) async fn consume(&self, under_way: &UnderWay) -> Result<(), OAuthError> {
        match self.attempts.delete(&under_way.id, Expect::Revision(under_way.revision)).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(OAuthError::NotUnderWay),
            Err(error) => Err(error.into()),
        }
    }

    /// When the device's server may be asked next. False if someone else asks right now.
    pub(super) async fn postpone(&self, under_way: &mut UnderWay, next: Timestamp) -> Result<bool, OAuthError> {
        under_way.attempt.way = Way::Device { next };
        let expect = Expect::Revision(under_way.revision);
        match self.attempts.put(&under_way.id, expect, &under_way.attempt).await {
            Ok(revision) => {
                under_way.revision = revision;
                Ok(true)
            }
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes what is over, and refuses a member who begins too many, where it is not `by_link`.
    async fn clear(&self, member: &MemberId, by_link: bool) -> Result<(), OAuthError> {
        let now = Timestamp::now();
        let (mut theirs, mut gone) = (0, BTreeMap::new());
        for (id, attempt, revision) in self.attempts.all().await? {
            let over = match &attempt.link {
                _ if attempt.expires <= now => true,
                Some(link) => self.is_gone(link, &mut gone).await?,
                None => false,
            };
            if over {
                match self.attempts.delete(&id, Expect::Revision(revision)).await {
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            } else if attempt.member == *member && attempt.link.is_none() {
                theirs += 1;
            }
        }
        for (id, ..) in self.tries.all().await? {
            let over = match id.parse() {
                Ok(link) => self.is_gone(&link, &mut gone).await?,
                Err(_) => true,
            };
            if over {
                self.tries.delete(&id, Expect::Any).await?;
            }
        }
        match theirs >= AT_ONCE && !by_link {
            true => Err(OAuthError::TooMany(AT_ONCE)),
            false => Ok(()),
        }
    }

    /// Whether the connect link opens nothing any more. `known` is of which it was asked before.
    async fn is_gone(&self, link: &KeyId, known: &mut BTreeMap<KeyId, bool>) -> Result<bool, OAuthError> {
        if let Some(gone) = known.get(link) {
            return Ok(*gone);
        }
        let gone = match self.links.look_by_id(link).await {
            Ok(()) => false,
            Err(LinkError::NotValid) => true,
            Err(error) => return Err(error.into()),
        };
        known.insert(link.clone(), gone);
        Ok(gone)
    }

    /// Counts one more that is begun by `link`. However many begin at once, no more than may come past this.
    async fn count(&self, link: &KeyId) -> Result<(), OAuthError> {
        self.links.look_by_id(link).await?;
        match self.tries.put(link.as_str(), Expect::Absent, &Tries { begun: 0 }).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let one_more = |tries: &mut Tries| match tries.begun < BY_LINK {
            true => {
                tries.begun += 1;
                Ok(())
            }
            false => Err(OAuthError::TooManyByLink(BY_LINK)),
        };
        // Not there any more: nor is the link.
        self.tries.try_update(link.as_str(), one_more).await?.ok_or(LinkError::NotValid)?;
        Ok(())
    }
}

/// Deletes what is under way of `member`'s, who was one since `since` and is being removed. What a later bearer of the name
/// began stays.
pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId, since: Timestamp) -> Result<(), StoreError> {
    let attempts = Records::<Attempt>::new(store.clone());
    let theirs = |attempt: &Attempt| attempt.member == *member && attempt.member_since.is_none_or(|then| then <= since);
    for (id, attempt, _) in attempts.all().await? {
        if theirs(&attempt) {
            attempts.delete_if(&id, theirs).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
never_shown!(NewAttempt, Origin, UnderWay);
