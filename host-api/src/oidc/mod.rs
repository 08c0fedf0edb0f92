//! Signing in with an OpenID provider (OpenID Connect Core 1.0): who somebody is says the provider that the operator chose,
//! and what they may do in Keyhole say the groups that it has them in.
//!
//! [`Oidc::begin`] gives the address at which a browser goes on, and a value that this browser alone is to have;
//! [`Oidc::finish`] takes what the browser came back with, and says who signed in. Any process on the store can finish what
//! another began.
//!
//! A member is bound to one person of the provider, by issuer and subject, which never change ([`Bindings`]). A name or a
//! mail address may pass to somebody else there, so it must never decide alone who signs in as a member that there is. What
//! the provider says is taken only with its signature, for this Keyhole, and for the very browser that asked.

mod attempt;
mod bindings;
mod error;
mod people;
mod provider;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use url::Url;

pub use attempt::{Begun, Came, LIFETIME};
pub use bindings::{Binding, Bindings};
pub use error::OidcError;
pub use settings::{MemberClaim, OidcSettings, Others};

use crate::broker::audit::Act;
use crate::broker::{Audit, Broker, OwnCalls};
use crate::members::{Member, MemberError, MemberId, Members, Role};
use crate::oauth::is_redirect_uri;
use crate::store::{Expect, Store};
use crate::tokens::tickets::Tickets;
use crate::tokens::{Basis, KeyId};
use attempt::Attempt;
use people::Person;
use provider::Provider;

/// By what the audit says that the provider's word was taken.
const PROVIDER: &str = "oidc";

/// Signs members in with the operator's OpenID provider, if there is one.
pub struct Oidc {
    calls: OwnCalls,
    audit: Arc<Audit>,
    members: Members,
    bindings: Bindings,
    attempts: Tickets<Attempt>,
    provider: ArcSwapOption<Provider>,
}

/// Somebody who came back.
#[derive(Clone, Debug)]
pub struct Entered {
    /// The member.
    pub member: Member,
    /// What a session of theirs rests on.
    pub basis: Basis,
    /// Whether they were signed in already, and came to be bound.
    pub bound: bool,
    /// The page that they wanted to see. It is as the browser gave it.
    pub next: Option<String>,
}

impl Oidc {
    /// For the members that `store` holds. Its calls leave by `broker`'s way out. Nobody is asked before somebody signs in.
    pub fn new(store: Arc<dyn Store>, broker: &Broker) -> Self {
        Self {
            calls: broker.own_calls(),
            audit: broker.audit().clone(),
            members: Members::new(store.clone()),
            bindings: Bindings::new(store.clone()),
            attempts: Tickets::new(store),
            provider: ArcSwapOption::empty(),
        }
    }

    /// From now on it is this provider, or none. What is under way with another comes to nothing, and sessions that were
    /// begun with another are over.
    pub fn change(&self, settings: Option<OidcSettings>) {
        self.bindings.change(settings.as_ref().map(|settings| settings.issuer.clone()));
        self.provider.store(settings.map(|settings| Arc::new(Provider::new(settings))));
    }

    /// What the provider is called, if there is one.
    pub fn label(&self) -> Option<String> {
        self.provider.load().as_ref().map(|provider| provider.settings.label.clone())
    }

    /// Whether roles follow the provider's groups.
    pub fn gives_roles(&self) -> bool {
        self.provider.load().as_ref().is_some_and(|provider| !provider.settings.roles.is_empty())
    }

    /// Whether an answer of the provider's may come to `redirect`.
    pub fn may_come_to(redirect: &Url) -> bool {
        is_redirect_uri(redirect)
    }

    /// Who is bound to whom.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    fn provider(&self) -> Result<Arc<Provider>, OidcError> {
        self.provider.load_full().ok_or(OidcError::NotSetUp)
    }

    /// Begins to sign somebody in, who is to come back to `redirect` and then see `next`; or to bind `member`, who is signed
    /// in already.
    ///
    /// # Errors
    /// What the provider does not do, or whatever the store says.
    pub async fn begin(&self, redirect: &Url, next: Option<&str>, member: Option<&Member>) -> Result<Begun, OidcError> {
        let provider = self.provider()?;
        let known = provider.known(&self.calls).await?;
        self.keep(&provider.settings, &known, redirect, next, member).await
    }

    /// Finishes what was begun. `browser` is the value that [`Oidc::begin`] gave this browser, and `signed_in` who is signed
    /// in with it.
    ///
    /// # Errors
    /// Why nobody is signed in.
    pub async fn finish(
        &self,
        came: &Came,
        browser: Option<&str>,
        signed_in: Option<&Member>,
    ) -> Result<Entered, OidcError> {
        let provider = self.provider()?;
        let (attempt, keys) = self.take(&provider.settings, came, browser).await?;
        if let Some(binds) = &attempt.binds
            && signed_in.is_none_or(|member| member.id != binds.member || member.added != binds.since)
        {
            return Err(OidcError::OtherMember(binds.member.clone()));
        }
        let person = provider.person(&self.calls, came, &attempt, &keys).await?;
        let binding = match &attempt.binds {
            Some(_) => signed_in,
            None => None,
        };
        let (member, binding_id) = self.admit(&provider.settings, &person, binding).await?;
        tracing::info!(member = %member.id, issuer = %person.issuer, "signed in by OpenID Connect");
        Ok(Entered { member, basis: Basis::Oidc(binding_id), bound: attempt.binds.is_some(), next: attempt.next })
    }

    /// Who `person` is in Keyhole, with the role that their groups give. `signed_in` is who is to be bound to them.
    async fn admit(
        &self,
        settings: &OidcSettings,
        person: &Person,
        signed_in: Option<&Member>,
    ) -> Result<(Member, KeyId), OidcError> {
        let bound = self.bindings.of_person(&person.issuer, &person.subject).await?;
        let bound = match bound {
            Some(binding) => {
                let member = self.members.get(&binding.member).await?;
                member.filter(|member| member.added == binding.member_since).map(|member| (member, binding))
            }
            None => None,
        };
        let mapped = settings.role_of(&person.groups);
        if mapped.is_none() && settings.others == Others::Refuse {
            if let Some((member, _)) = &bound {
                // What the groups gave is gone with them.
                self.give_role(member, Role::Member).await?;
            }
            return Err(OidcError::NoGroup { label: settings.label.clone(), groups: person.groups.len() });
        }
        // Without a mapping, roles are Keyhole's own matter.
        let wanted = (!settings.roles.is_empty()).then(|| mapped.unwrap_or(Role::Member));
        let (member, binding) = match (signed_in, bound) {
            (Some(signed_in), Some((member, _))) if member.id != signed_in.id => {
                return Err(OidcError::OtherBound { label: settings.label.clone() });
            }
            (_, Some((member, binding))) => (member, binding.id),
            (Some(signed_in), None) => (signed_in.clone(), self.bind(settings, signed_in, person, true).await?),
            (None, None) => self.new_member(settings, person, mapped).await?,
        };
        let member = match wanted {
            Some(role) => self.give_role(&member, role).await?,
            None => member,
        };
        Ok((member, binding))
    }

    /// Of somebody whom Keyhole does not know.
    async fn new_member(
        &self,
        settings: &OidcSettings,
        person: &Person,
        mapped: Option<Role>,
    ) -> Result<(Member, KeyId), OidcError> {
        let id = settings.name_of(person)?;
        if let Some(member) = self.members.get(&id).await? {
            // The name proves nothing, unless the operator says that it does.
            return match settings.bind_existing {
                true => Ok((member.clone(), self.bind(settings, &member, person, false).await?)),
                false => Err(OidcError::NameTaken { member: id, label: settings.label.clone() }),
            };
        }
        if self.members.was_removed(&id).await? {
            // Workflows, runs and the audit are kept by the name. Whether they may come to this person is for an admin to say.
            return Err(OidcError::NameWasUsed { member: id, label: settings.label.clone() });
        }
        if mapped != Some(Role::Admin) && self.members.list().await?.is_empty() {
            // The link that makes the first admin would be over, and nobody would be one.
            return Err(OidcError::NoAdminYet);
        }
        // What was left by another attempt is void, and gives way. Written first: a process that ends between the two
        // leaves a binding to nobody, which the next attempt replaces.
        let since = Timestamp::now();
        let binding = Binding::new(id.clone(), since, person);
        self.bindings.replace_void(&binding, &self.members, false).await?.ok_or_else(|| taken(&id, settings))?;
        match self.members.add_new(id.clone(), mapped.unwrap_or(Role::Member), since).await {
            Ok(member) => {
                self.audit.act(Act::done("members_add").by(PROVIDER).about(&member.id).detail(member.role)).await?;
                // Somebody else who came at the same moment may have put theirs in its place.
                self.bindings.keep(&binding).await?;
                Ok((member, binding.id))
            }
            Err(MemberError::Exists(_)) => Err(taken(&id, settings)),
            Err(error) => Err(error.into()),
        }
    }

    /// `themselves`: the member asked for it.
    async fn bind(
        &self,
        settings: &OidcSettings,
        member: &Member,
        person: &Person,
        themselves: bool,
    ) -> Result<KeyId, OidcError> {
        let binding = Binding::new(member.id.clone(), member.added, person);
        let kept = self.bindings.replace_void(&binding, &self.members, themselves).await?;
        kept.ok_or_else(|| taken(&member.id, settings))?;
        self.audit.act(Act::done("members_bind").by(PROVIDER).about(&member.id)).await?;
        Ok(binding.id)
    }

    /// The role that the groups give. The only admin stays one: nobody could make another.
    async fn give_role(&self, member: &Member, role: Role) -> Result<Member, OidcError> {
        if member.role == role {
            return Ok(member.clone());
        }
        match self.members.set_role(member, role).await {
            Ok(changed) => {
                tracing::info!(member = %member.id, %role, "the role follows the groups of the OpenID provider");
                self.audit.act(Act::done("members_role").by(PROVIDER).about(&member.id).detail(role)).await?;
                Ok(changed)
            }
            Err(MemberError::LastAdmin(_)) => {
                tracing::warn!(member = %member.id, "no group makes the only admin one; they stay one");
                Ok(member.clone())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn taken(id: &MemberId, settings: &OidcSettings) -> OidcError {
    OidcError::OtherPerson { member: id.clone(), label: settings.label.clone() }
}

/// Expects the record as it was read.
fn as_read(found: Option<crate::store::Revision>) -> Expect {
    found.map_or(Expect::Absent, Expect::Revision)
}
