//! What a session rests on, and a link that a session made: without it, it is over. It must be read whole or not at all: a
//! session whose basis was overlooked would outlive it.

use serde::{Deserialize, Serialize};

use super::text::KeyId;
use crate::passkeys::PasskeyId;

/// What a session rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub enum Basis {
    /// Nothing but itself: it was begun with a link that the operator or an admin made.
    #[default]
    Itself,
    /// The token that it was begun with, or that made the link that it was begun with.
    Token(KeyId),
    /// What binds its member to a person of the OpenID provider.
    Oidc(KeyId),
    /// The passkey that it was begun with.
    Passkey(PasskeyId),
}

/// As it lies in a record, among the record's own members.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oidc: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passkey: Option<PasskeyId>,
}

impl TryFrom<Kept> for Basis {
    type Error = &'static str;

    fn try_from(kept: Kept) -> Result<Self, Self::Error> {
        match kept {
            Kept { token: None, oidc: None, passkey: None } => Ok(Self::Itself),
            Kept { token: Some(id), oidc: None, passkey: None } => Ok(Self::Token(id)),
            Kept { token: None, oidc: Some(id), passkey: None } => Ok(Self::Oidc(id)),
            Kept { token: None, oidc: None, passkey: Some(id) } => Ok(Self::Passkey(id)),
            _ => Err("it rests on several things"),
        }
    }
}

impl From<Basis> for Kept {
    fn from(basis: Basis) -> Self {
        let mut kept = Self { token: None, oidc: None, passkey: None };
        match basis {
            Basis::Itself => {}
            Basis::Token(id) => kept.token = Some(id),
            Basis::Oidc(id) => kept.oidc = Some(id),
            Basis::Passkey(id) => kept.passkey = Some(id),
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_lies_among_other_members_and_is_never_overlooked() {
        #[derive(Serialize, Deserialize)]
        struct Around {
            name: String,
            #[serde(flatten)]
            basis: Basis,
        }
        let id = KeyId::generate();
        let passkey = "0123456789abcdef0123456789abcdef".parse().unwrap();
        for basis in [Basis::Itself, Basis::Token(id.clone()), Basis::Oidc(id.clone()), Basis::Passkey(passkey)] {
            let text = serde_json::to_string(&Around { name: "x".to_owned(), basis: basis.clone() }).unwrap();
            assert_eq!(serde_json::from_str::<Around>(&text).unwrap().basis, basis, "{text}");
        }
        let read = |text: String| serde_json::from_str::<Around>(&text).map(|around| around.basis);
        // What earlier versions wrote.
        assert_eq!(read("{\"name\": \"x\"}".to_owned()).unwrap(), Basis::Itself);
        assert_eq!(read(format!("{{\"name\": \"x\", \"token\": \"{id}\"}}")).unwrap(), Basis::Token(id.clone()));
        assert!(read(format!("{{\"name\": \"x\", \"token\": \"{id}\", \"oidc\": \"{id}\"}}")).is_err());
        assert!(read("{\"name\": \"x\", \"oidc\": 5}".to_owned()).is_err());
    }
}
