//! What the operator says of the OpenID provider: who it is, and what its groups mean here. It must be judged whole: half a
//! mapping could let in more people than was meant.

use std::collections::BTreeMap;

use url::Url;

use super::error::OidcError;
use super::people::Person;
use crate::members::{MemberId, Role};
use crate::vault::Secret;

/// The operator's word on the OpenID provider.
#[derive(Clone)]
pub struct OidcSettings {
    /// Its issuer, as it writes it itself: `https://id.example.com`.
    pub issuer: String,
    /// As whom Keyhole is registered there.
    pub client_id: String,
    /// What proves it. A public client has none.
    pub client_secret: Option<Secret>,
    /// What it is called on pages.
    pub label: String,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that has the groups: its name, or a JSON pointer (RFC 6901) to it.
    pub groups_claim: String,
    /// The claim that names a new member.
    pub member_claim: MemberClaim,
    /// What follows the `@` of names and addresses, and is left out of a member's name.
    pub domain: Option<String>,
    /// Which role who is in a group has. Of several, the one that may do more.
    pub roles: BTreeMap<String, Role>,
    /// What becomes of who is in none of them.
    pub others: Others,
    /// Whether somebody new may be bound to a member that there is by their name alone.
    pub bind_existing: bool,
}

/// What names a new member. Whom a name belongs to may change; it is looked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberClaim {
    /// `preferred_username`.
    PreferredUsername,
    /// `email`, if the provider says that it is verified, without its domain.
    Email,
    /// `sub`.
    Subject,
}

/// What becomes of people whom no group gives a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They are not signed in.
    Refuse,
    /// They are members.
    Member,
}

impl OidcSettings {
    /// Says what makes no sense.
    ///
    /// # Errors
    /// What, and what to write instead.
    pub fn check(&self) -> Result<(), &'static str> {
        let issuer = Url::parse(&self.issuer).map_err(|_| "issuer is no URL; write https://id.example.com")?;
        if issuer.scheme() != "https" || issuer.query().is_some() || issuer.fragment().is_some() {
            return Err("issuer is an https URL without query and fragment; write https://id.example.com");
        }
        if !issuer.username().is_empty() || issuer.password().is_some() {
            return Err("issuer must not have a name or a password in it");
        }
        if self.client_id.trim().is_empty() {
            return Err("client_id is empty; write what the provider registered Keyhole as");
        }
        if self.roles.is_empty() && self.others == Others::Refuse {
            return Err(
                "nobody could sign in: give [sign_in.oidc.roles], such as staff = \"member\", or others = \"member\"",
            );
        }
        if self.member_claim == MemberClaim::Email && self.domain.is_none() {
            return Err("a member is named by what is before the @, so say the one domain: domain = \"example.com\"");
        }
        if self.domain.as_ref().is_some_and(|domain| domain.is_empty() || domain.contains('@')) {
            return Err("domain is what follows the @; write example.com");
        }
        if self.domain.is_some() && self.member_claim != MemberClaim::Email && self.others == Others::Member {
            return Err(
                "domain keeps nobody out unless member_claim = \"email\"; write that, or others = \"refuse\" with roles",
            );
        }
        if self.label.is_empty() || self.label.chars().count() > 60 || self.label.contains(char::is_control) {
            return Err("label is one line of at most 60 characters");
        }
        if self.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(is_scope_byte)) {
            return Err("a scope is one word; write a list of them, such as [\"profile\", \"groups\"]");
        }
        Ok(())
    }

    /// The role that these groups give.
    pub(super) fn role_of(&self, groups: &[String]) -> Option<Role> {
        let mapped = || groups.iter().filter_map(|group| self.roles.get(group));
        mapped().find(|role| **role == Role::Admin).or_else(|| mapped().next()).copied()
    }

    /// What a member is called who is this person.
    pub(super) fn name_of(&self, person: &Person) -> Result<MemberId, OidcError> {
        let missing = |claim: &'static str| OidcError::NoName { label: self.label.clone(), claim };
        let value = match self.member_claim {
            MemberClaim::PreferredUsername => {
                person.username.as_deref().ok_or_else(|| missing("preferred_username"))?
            }
            MemberClaim::Email => {
                let email = person.email.as_deref().ok_or_else(|| missing("email that is verified"))?;
                // A name at another domain is somebody else's.
                self.without_domain(email).ok_or_else(|| OidcError::OtherDomain { label: self.label.clone() })?
            }
            MemberClaim::Subject => &person.subject,
        };
        let name = self.without_domain(value).unwrap_or(value).to_ascii_lowercase();
        name.parse().map_err(|_| OidcError::Name { label: self.label.clone(), name: super::error::line(&name) })
    }

    fn without_domain<'v>(&self, value: &'v str) -> Option<&'v str> {
        let (name, domain) = value.rsplit_once('@')?;
        self.domain.as_ref().is_some_and(|ours| ours.eq_ignore_ascii_case(domain)).then_some(name)
    }
}

/// RFC 6749, section 3.3.
fn is_scope_byte(b: u8) -> bool {
    b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b)
}

#[cfg(test)]
never_shown!(OidcSettings);
