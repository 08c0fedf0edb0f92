//! Which member is which person of the provider. A binding names issuer and subject, and since when the member is one: a
//! later bearer of the name is bound to nobody. One that holds is never replaced; it is only taken away.

use std::sync::Arc;

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

/// The bindings of the workspace.
#[derive(Clone)]
pub struct Bindings {
    records: Records<Binding>,
}

impl Bindings {
    /// The bindings that `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store) }
    }

    /// Whom `member` is bound to, who is one since `since`.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn of(&self, member: &MemberId, since: Timestamp) -> Result<Option<Binding>, StoreError> {
        let found = self.records.get(member.as_str()).await?;
        Ok(found.map(|(binding, _)| binding).filter(|binding| binding.member_since == since))
    }

    /// Whether `member` is still bound by the binding `id`.
    pub(crate) async fn holds(&self, member: &MemberId, id: &KeyId) -> Result<bool, StoreError> {
        Ok(self.records.get(member.as_str()).await?.is_some_and(|(binding, _)| binding.id == *id))
    }

    /// The binding to this person, which may be to a member who is gone.
    pub(super) async fn of_person(&self, issuer: &str, subject: &str) -> Result<Option<Binding>, StoreError> {
        let all = self.records.all().await?.into_iter().map(|(_, binding, _)| binding);
        Ok(all.into_iter().find(|binding| binding.issuer == issuer && binding.subject == subject))
    }

    /// Keeps `binding`, if its member has none that holds. `None` if they have.
    pub(super) async fn replace_void(&self, binding: &Binding, members: &Members) -> Result<Option<()>, StoreError> {
        let found = self.records.get(binding.member.as_str()).await?;
        if let Some((old, _)) = &found {
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

    /// Takes the binding of `member` away, and with it the sessions that rest on it. Gives what it was.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn remove(&self, member: &MemberId) -> Result<Option<Binding>, StoreError> {
        let found = self.records.get(member.as_str()).await?;
        self.records.delete(member.as_str(), Expect::Any).await?;
        Ok(found.map(|(binding, _)| binding))
    }

    /// As if it had been left behind.
    #[cfg(test)]
    pub(super) async fn keep_for_test(&self, binding: &Binding) {
        self.records.put(binding.member.as_str(), Expect::Any, binding).await.unwrap();
    }

    /// Takes away the binding of `member`, who is being removed.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId) -> Result<(), StoreError> {
        Records::<Binding>::new(store.clone()).delete(member.as_str(), Expect::Any).await
    }
}
