//! Opening an account to others asks for fresh proof of ownership: whoever holds a member's
//! token, or sits at their terminal, must not be able to share what they could not connect.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::change::ChangeError;
use super::{Access, Account};

/// How long connecting or reconnecting an account counts as proof that it is its owner's.
pub const PROOF_LIFETIME: Duration = Duration::from_secs(15 * 60);

impl Account {
    /// Whether `wanted` may become its access. Taking access away needs no proof.
    pub(super) fn open_to(&self, wanted: &Access) -> Result<(), ChangeError> {
        let fresh = |proved: Timestamp| {
            let age = Timestamp::now().duration_since(proved);
            // A clock that was set back makes proof of the future, which is none.
            SignedDuration::ZERO <= age && age <= SignedDuration::try_from(PROOF_LIFETIME).unwrap_or_default()
        };
        match wanted.within(&self.access) || self.proved.is_some_and(fresh) {
            true => Ok(()),
            false => Err(ChangeError::ProofNeeded(self.id.clone())),
        }
    }
}

impl Access {
    /// Whether everyone whom this includes is included in `other`.
    fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Private, _) | (_, Self::Workspace) => true,
            (Self::Members(these), Self::Members(those)) => these.is_subset(those),
            (Self::Members(_), Self::Private) | (Self::Workspace, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_within_another_when_it_opens_nothing() {
        let access = |text: &str| text.parse::<Access>().unwrap();
        for (these, those, within) in [
            ("private", "private", true),
            ("private", "bob", true),
            ("bob", "bob,carol", true),
            ("bob,carol", "bob", false),
            ("bob", "workspace", true),
            ("workspace", "workspace", true),
            ("workspace", "bob,carol", false),
            ("bob", "private", false),
        ] {
            assert_eq!(access(these).within(&access(those)), within, "{these} in {those}");
        }
    }
}
