//! Which member is which person of the provider. A binding names issuer and subject, and since when the member is one: a
//! later bearer of the name is bound to nobody. One that holds is never replaced; it is only taken away.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::as_read;
use super::people::Person;
use crate::members::{MemberId, Members};
use crate::store::records::{Record, Records};
use crate::store::{Expect, Store, StoreError};
use crate::tokens::KeyId;

/// That a member is a person of the provider. The record's key is the member's name, so that each is one person at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its id, on which sessions rest.
    pub id: KeyId,
    /// The member.
    pub member: MemberId,
    /// Since when the member is one.
    pub(super) member_since: Timestamp,
    /// The provider.
    pub issuer: String,
    /// The person, as the provider counts them.
    pub subject: String,
    /// What the provider called the person then. Nothing is decided by it.
    pub called: String,
    /// Since when they are bound.
    pub since: Timestamp,
}

impl Record for Binding {
    const FOLDER: &'static str = "oidc-bindings";
    const VERSION: u32 = 1;
}

impl Binding {
    pub(super) fn new(member: MemberId, member_since: Timestamp, person: &Person) -> Self {
        let called = person.email.as_ref().or(person.username.as_ref()).unwrap_or(&person.subject);
        Self {
            id: KeyId::generate(),
            member,
            member_since,
            issuer: person.issuer.clone(),
            subject: person.subject.clone(),
            called: super::error::line(called),
            since: Timestamp::now(),
        }
    }
}

/// The bindings of the workspace. All clones know of the same provider.
#[derive(Clone)]
pub struct Bindings {
    records: Records<Binding>,
    /// The provider that there is now. Bindings to others bind nobody.
    issuer: Arc<ArcSwapOption<String>>,
}

impl Bindings {
    /// The bindings that `store` holds, to no provider yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store), issuer: Arc::default() }
    }

    /// From now on it is this provider, or none.
    pub(super) fn change(&self, issuer: Option<String>) {
        self.issuer.store(issuer.map(Arc::new));
    }

    fn is_current(&self, binding: &Binding) -> bool {
        self.issuer.load().as_ref().is_some_and(|issuer| **issuer == binding.issuer)
    }

    /// Whom `member`, who is one since `since`, is bound to at the provider that there is.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn of(&self, member: &MemberId, since: Timestamp) -> Result<Option<Binding>, StoreError> {
        let found = self.records.get(member.as_str()).await?;
        let binding = found.map(|(binding, _)| binding);
        Ok(binding.filter(|binding| binding.member_since == since && self.is_current(binding)))
    }

    /// Whether `member` is still bound by the binding `id`, to the provider that there is.
    pub(crate) async fn holds(&self, member: &MemberId, id: &KeyId) -> Result<bool, StoreError> {
        let found = self.records.get(member.as_str()).await?;
        Ok(found.is_some_and(|(binding, _)| binding.id == *id && self.is_current(&binding)))
    }

    /// The binding to this person, which may be to a member who is gone.
    pub(super) async fn of_person(&self, issuer: &str, subject: &str) -> Result<Option<Binding>, StoreError> {
        let all = self.records.all().await?.into_iter().map(|(_, binding, _)| binding);
        Ok(all.into_iter().find(|binding| binding.issuer == issuer && binding.subject == subject))
    }

    /// Keeps `binding`, if its member has none that holds. `None` if they have. One to another provider gives way to what
    /// the member asks for themselves.
    pub(super) async fn replace_void(
        &self,
        binding: &Binding,
        members: &Members,
        themselves: bool,
    ) -> Result<Option<()>, StoreError> {
        let found = self.records.get(binding.member.as_str()).await?;
        if let Some((old, _)) = &found
            && !(themselves && old.issuer != binding.issuer)
        {
            let member = members.get(&old.member).await?;
            if member.is_some_and(|member| member.added == old.member_since) {
                return Ok(None);
            }
        }
        let expect = as_read(found.map(|(_, revision)| revision));
        match self.records.put(binding.member.as_str(), expect, binding).await {
            Ok(_) => Ok(Some(())),
            // Two came at once.
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps `binding`, of the one who became the member, whatever who did not may have written.
    pub(super) async fn keep(&self, binding: &Binding) -> Result<(), StoreError> {
        self.records.put(binding.member.as_str(), Expect::Any, binding).await.map(drop)
    }

    /// Takes the binding of `member` away, and with it the sessions that rest on it. Gives what it was.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn remove(&self, member: &MemberId) -> Result<Option<Binding>, StoreError> {
        let found = self.records.get(member.as_str()).await?;
        self.records.delete(member.as_str(), Expect::Any).await?;
        Ok(found.map(|(binding, _)| binding))
    }

    /// Takes away the binding of `member`, who was one since `since` and is being removed. A later bearer of the name keeps
    /// theirs.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId, since: Timestamp) -> Result<(), StoreError> {
        let theirs = |binding: &Binding| binding.member_since <= since;
        Records::<Binding>::new(store.clone()).delete_if(member.as_str(), theirs).await
    }
}
