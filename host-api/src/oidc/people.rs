//! Who somebody is, as the provider says. What is missing in the signed token is taken from the userinfo endpoint, whose
//! answer must be of the same subject. A mail address counts only where the same answer says that it is verified.

use openidconnect::core::CoreGenderClaim;
use openidconnect::{AdditionalClaims, EndUserEmail, EndUserUsername, IdTokenClaims, UserInfoClaims};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Groups of one person that are looked at.
const GROUPS: usize = 5000;

/// A person of the provider.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub issuer: String,
    pub subject: String,
    pub username: Option<String>,
    /// A verified one.
    pub email: Option<String>,
    pub groups: Vec<String>,
}

/// All claims beside those of the standard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct More {
    #[serde(flatten)]
    all: Map<String, Value>,
}

impl AdditionalClaims for More {}

/// What one answer says of somebody.
pub(super) struct Said<'a> {
    username: Option<&'a EndUserUsername>,
    email: Option<&'a EndUserEmail>,
    verified: bool,
    more: &'a More,
}

impl<'a> Said<'a> {
    /// What a signed token says.
    pub fn signed(claims: &'a IdTokenClaims<More, CoreGenderClaim>) -> Self {
        Self {
            username: claims.preferred_username(),
            email: claims.email(),
            verified: claims.email_verified() == Some(true),
            more: claims.additional_claims(),
        }
    }

    /// What the userinfo endpoint says.
    pub fn asked(claims: &'a UserInfoClaims<More, CoreGenderClaim>) -> Self {
        Self {
            username: claims.preferred_username(),
            email: claims.email(),
            verified: claims.email_verified() == Some(true),
            more: claims.additional_claims(),
        }
    }

    /// `None` if it says nothing of them.
    fn groups(&self, claim: &str) -> Option<Vec<String>> {
        let named = self.more.all.get(claim);
        let value = match claim.strip_prefix('/').and_then(|pointer| pointer.split_once('/')) {
            // The first part is a claim's name.
            Some((name, rest)) if named.is_none() => {
                self.more.all.get(&unescaped(name))?.pointer(&format!("/{rest}"))?
            }
            _ => named?,
        };
        match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(several) => {
                let texts = several.iter().filter_map(Value::as_str).take(GROUPS);
                Some(texts.map(str::to_owned).collect())
            }
            // What is no list of names gives nobody anything.
            _ => Some(Vec::new()),
        }
    }

    /// Whether it says all that is asked for.
    pub fn is_enough(&self, groups_claim: &str, email: bool) -> bool {
        let name = if email { self.email.is_some() } else { self.username.is_some() };
        name && self.groups(groups_claim).is_some()
    }
}

/// RFC 6901, section 4.
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

impl Person {
    /// Of what the answers say, the first before the later ones.
    pub fn of(issuer: &str, subject: &str, groups_claim: &str, said: &[Said<'_>]) -> Self {
        Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            username: said.iter().find_map(|one| one.username).map(|name| name.as_str().to_owned()),
            // Not an address of one answer with the word of another on it.
            email: said
                .iter()
                .find_map(|one| Some((one.email?, one.verified)))
                .and_then(|(email, verified)| verified.then(|| email.as_str().to_owned())),
            groups: said.iter().find_map(|one| one.groups(groups_claim)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(more: &More) -> Said<'_> {
        Said { username: None, email: None, verified: false, more }
    }

    #[test]
    fn groups_are_found_by_name_and_by_pointer() {
        let groups = |claims: Value, claim: &str| said(&serde_json::from_value(claims).unwrap()).groups(claim);
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(groups(json!({"groups": ["a", 5, "b"]}), "groups"), list(&["a", "b"]));
        assert_eq!(groups(json!({"groups": "a"}), "groups"), list(&["a"]));
        assert_eq!(groups(json!({"groups": {"a": true}}), "groups"), list(&[]));
        assert_eq!(groups(json!({}), "groups"), None);
        assert_eq!(groups(json!({"realm_access": {"roles": ["a"]}}), "/realm_access/roles"), list(&["a"]));
        assert_eq!(groups(json!({"https://x.example/groups": ["a"]}), "https://x.example/groups"), list(&["a"]));
        assert_eq!(groups(json!({"a/b": {"c": ["d"]}}), "/a~1b/c"), list(&["d"]));
    }

    #[test]
    fn an_address_counts_only_with_the_word_of_the_same_answer() {
        let address = EndUserEmail::new("alice@example.com".to_owned());
        let nothing = More::default();
        let email = |answers: &[(bool, bool)]| {
            let one = |(there, verified): &(bool, bool)| Said {
                email: there.then_some(&address),
                verified: *verified,
                ..said(&nothing)
            };
            Person::of("i", "s", "groups", &answers.iter().map(one).collect::<Vec<_>>()).email
        };
        assert_eq!(email(&[(true, true)]).as_deref(), Some("alice@example.com"));
        assert_eq!(email(&[(false, false), (true, true)]).as_deref(), Some("alice@example.com"));
        for unverified in [&[(true, false)][..], &[(true, false), (true, true)], &[(true, false), (false, true)]] {
            assert_eq!(email(unverified), None, "{unverified:?}");
        }
        assert_eq!(email(&[(false, true)]), None);
    }
}
