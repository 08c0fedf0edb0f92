//! What happened to an account, kept in its record: written with the change itself, so that it can neither be lost nor
//! tell of what was not done. It never holds a credential, and never more than [`KEPT`] events.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Access, Account, AccountId, Accounts, Row};
use crate::members::{MemberId, Role};
use crate::store::StoreError;

/// Events that an account keeps, the newest.
pub const KEPT: usize = 50;
/// Members whom an event names one by one.
const NAMED: usize = 10;

/// Something that happened to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When; the last time, if it happened several times in a row.
    pub at: Timestamp,
    /// Who did it. None for what Keyhole did by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<MemberId>,
    /// How often it happened in a row.
    #[serde(default = "once")]
    pub times: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

const fn once() -> u64 {
    1
}

/// What happened to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It was connected.
    Connected,
    /// Its credentials were replaced by a person.
    Reconnected,
    /// Its access token was replaced by a new one.
    Refreshed {
        /// Whether the service gave a new refresh token with it.
        rotated: bool,
    },
    /// Its credentials were found not to work.
    ReconnectNeeded {
        /// What the service said, scrubbed.
        reason: String,
    },
    /// It has another nickname.
    Renamed {
        /// The one before.
        from: String,
        /// The one since.
        to: String,
    },
    /// Others may use it.
    Access {
        /// Who could before: `private`, `workspace`, or members' names.
        from: String,
        /// Who can since.
        to: String,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Reconnected => f.write_str("reconnected"),
            Self::Refreshed { rotated: true } => f.write_str("access and refresh token renewed"),
            Self::Refreshed { rotated: false } => f.write_str("access token renewed"),
            Self::ReconnectNeeded { reason } => write!(f, "found to need reconnecting: {reason}"),
            Self::Renamed { from, to } => write!(f, "renamed from {from} to {to}"),
            Self::Access { from, to } => write!(f, "access changed from {from} to {to}"),
        }
    }
}

impl Account {
    /// Notes what happens to it with the change that is under way.
    pub(super) fn note(&mut self, by: Option<&MemberId>, what: What) {
        let now = Timestamp::now();
        // An hourly refresh would push everything else out.
        if let Some(last) = self.history.last_mut()
            && matches!(what, What::Refreshed { .. })
            && last.what == what
        {
            last.at = now;
            last.times += 1;
            return;
        }
        let over = (self.history.len() + 1).saturating_sub(KEPT);
        self.history.drain(..over);
        self.history.push(Event { at: now, by: by.cloned(), times: 1, what });
    }

    /// Notes what of it `by` has changed since it was as `before`.
    pub(super) fn note_changes(&mut self, by: Option<&MemberId>, before: &Before) {
        if self.nickname != before.nickname {
            let renamed = What::Renamed { from: before.nickname.clone(), to: self.nickname.clone() };
            self.note(by, renamed);
        }
        if self.access != before.access {
            let access = What::Access { from: told(&before.access), to: told(&self.access) };
            self.note(by, access);
        }
    }
}

/// What of an account a change is held against.
pub(super) struct Before {
    nickname: String,
    access: Access,
}

impl Before {
    pub(super) fn of(account: &Account) -> Self {
        Self { nickname: account.nickname.clone(), access: account.access.clone() }
    }
}

fn told(access: &Access) -> String {
    match access {
        Access::Members(members) if members.len() > NAMED => {
            let named: Vec<&str> = members.iter().take(NAMED).map(MemberId::as_str).collect();
            format!("{} and {} more", named.join(", "), members.len() - NAMED)
        }
        Access::Members(members) => members.iter().map(MemberId::as_str).collect::<Vec<_>>().join(", "),
        access => access.to_string(),
    }
}

impl Accounts {
    /// What happened to the account `id`, oldest first, as far as `member` may know: who else may use it, its owner and
    /// admins alone. Empty if there is none that they may see.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn history(&self, member: &MemberId, id: &AccountId) -> Result<Vec<Event>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(Vec::new()) };
        let Some(mut account) = self.live(id).await? else { return Ok(Vec::new()) };
        let mut history = std::mem::take(&mut account.history);
        let all = account.owner == member.id || member.role == Role::Admin;
        if Row::of(&std::sync::Arc::new(account.into()), &member).is_none() {
            return Ok(Vec::new());
        }
        history.retain(|event| all || !matches!(event.what, What::Access { .. }));
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Health;
    use crate::accounts::tests::{House, house, slack, who};

    #[tokio::test]
    async fn what_is_done_with_an_account_is_told_to_whoever_may_know() {
        let House { accounts, .. } = house().await;
        let (alice, bob) = (who("alice"), who("bob"));
        let id = accounts.connect(&alice, slack()).await.unwrap().account.id;
        accounts.rename(&alice, &id, "work").await.unwrap();
        accounts.rename(&alice, &id, "work").await.unwrap();
        accounts.grant(&alice, &id, &bob).await.unwrap();
        accounts.set_health(&id, 1, Health::ReconnectNeeded { reason: "token_revoked".into() }).await.unwrap();
        accounts.reconnect(&alice, &id, slack().fields).await.unwrap();
        let told = async |name: &str| {
            let history = accounts.history(&who(name), &id).await.unwrap();
            history.into_iter().map(|event| (event.by.map(|by| by.to_string()), event.what)).collect::<Vec<_>>()
        };
        let by_alice = |what: What| (Some("alice".to_owned()), what);
        let access = |from: &str, to: &str| What::Access { from: from.to_owned(), to: to.to_owned() };
        let all = [
            by_alice(What::Connected),
            by_alice(What::Renamed { from: "alice's Slack".into(), to: "work".into() }),
            by_alice(access("private", "bob")),
            (None, What::ReconnectNeeded { reason: "token_revoked".into() }),
            by_alice(What::Reconnected),
        ];
        assert_eq!(told("alice").await, all);
        assert_eq!(told("ann").await, all, "an admin");
        let mut seen = all.to_vec();
        seen.remove(2);
        assert_eq!(told("bob").await, seen, "who else may use it is not theirs to know");
        assert_eq!(told("carol").await, []);
        accounts.members().remove(&bob).await.unwrap();
        assert_eq!(told("alice").await.last(), Some(&(None, access("bob", "private"))));
    }

    #[tokio::test]
    async fn a_history_stays_short_and_many_refreshes_are_one_event() {
        let House { accounts, .. } = house().await;
        let mut account = accounts.connect(&who("alice"), slack()).await.unwrap().account;
        for _ in 0..1000 {
            account.note(None, What::Refreshed { rotated: true });
        }
        assert_eq!(account.history.iter().map(|event| event.times).collect::<Vec<_>>(), [1, 1000]);
        for _ in 0..2 * KEPT {
            account.note(Some(&who("alice")), What::Reconnected);
        }
        assert_eq!(account.history.len(), KEPT);
        assert!(account.history.iter().all(|event| event.what == What::Reconnected));
        let many = (0..1000).map(|number| format!("member-{number:04}").parse().unwrap()).collect();
        assert!(told(&Access::Members(many)).ends_with("member-0009 and 990 more"));
    }
}
