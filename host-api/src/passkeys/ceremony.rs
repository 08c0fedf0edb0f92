//! What goes on between Keyhole and a device: a challenge, and the answer to it. Registering is for a member who is signed
//! in; signing in is for whoever comes, and the answer says who.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, WebauthnError,
};
use webauthn_rs_proto::ResidentKeyRequirement;

use super::record::{Passkey, PasskeyId, Stored};
use super::{MOST, PasskeyError, Passkeys, name, now};
use crate::members::{Member, MemberId};
use crate::store::records::Record;
use crate::store::{Expect, StoreError};
use crate::tokens::tickets::{Waiting, random};
use crate::vault::Secret;

/// How long a person has for it.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(300);

/// A challenge that waits for its answer.
#[derive(Serialize, Deserialize)]
pub(super) struct Ceremony {
    purpose: For,
    expires: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum For {
    Register { member: MemberId, since: Timestamp, state: Box<PasskeyRegistration> },
    SignIn { state: Box<DiscoverableAuthentication> },
}

impl Record for Ceremony {
    const FOLDER: &'static str = "passkey-ceremonies";
    const VERSION: u32 = 1;
}

impl Waiting for Ceremony {
    fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// What a browser needs to ask its person.
pub struct Begun {
    /// What `navigator.credentials` takes as `publicKey`, with its bytes in base64url.
    pub options: Value,
    /// What is to come back with the answer.
    pub ticket: Secret,
}

/// What authenticators know the member by: nothing of theirs, and another for a later bearer of the name.
fn handle_of(member: &MemberId, since: Timestamp) -> Uuid {
    let mut hash = blake3::Hasher::new_derive_key("keyhole 2026 passkeys' user handle");
    hash.update(member.as_str().as_bytes()).update(b"\0").update(since.to_string().as_bytes());
    let mut bytes = [0; 16];
    hash.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl Passkeys {
    /// Begins to add a passkey of `member`'s.
    ///
    /// # Errors
    /// [`PasskeyError::NoPlace`], [`PasskeyError::TooMany`], or whatever the store says.
    pub async fn begin_register(&self, member: &Member) -> Result<Begun, PasskeyError> {
        let theirs = self.of(&member.id).await?;
        if theirs.len() >= MOST {
            return Err(PasskeyError::TooMany(member.id.clone()));
        }
        // A device that has one already says so.
        let known = theirs.iter().map(|(_, stored)| stored.credential.cred_id().clone()).collect();
        let (handle, called) = (handle_of(&member.id, member.added), member.id.as_str());
        let (mut options, state) = self
            .webauthn()?
            .start_passkey_registration(handle, called, called, Some(known))
            .map_err(|error| PasskeyError::Refused(error.to_string()))?;
        // It must be found without a name.
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.resident_key = Some(ResidentKeyRequirement::Required);
            selection.require_resident_key = true;
        }
        let purpose = For::Register { member: member.id.clone(), since: member.added, state: Box::new(state) };
        self.keep(purpose, serde_json::to_value(options.public_key)).await
    }

    /// Adds the passkey that `answer` is about, as `member` calls it. It is on disk when this returns.
    ///
    /// # Errors
    /// Why not, or whatever the store says.
    pub async fn register(
        &self,
        member: &Member,
        called: &str,
        ticket: &str,
        answer: &str,
    ) -> Result<Passkey, PasskeyError> {
        let called = name(called)?;
        let answer: RegisterPublicKeyCredential = serde_json::from_str(answer).map_err(|_| PasskeyError::Malformed)?;
        let For::Register { member: begun_by, since, state } = self.take(ticket).await? else {
            return Err(PasskeyError::NotUnderWay);
        };
        if begun_by != member.id || since != member.added {
            return Err(PasskeyError::NotUnderWay);
        }
        // The browser's own word, and unsigned: what it costs to lie is one's own sign-in.
        if answer.extensions.cred_props.as_ref().is_some_and(|props| props.rk == Some(false)) {
            return Err(PasskeyError::NotKept);
        }
        // Told apart here for the person's sake. What is signed says which it is, and is written only where none is.
        if self.records.get(PasskeyId::of(&answer.raw_id).as_str()).await?.is_some() {
            return Err(PasskeyError::Known);
        }
        let credential = self
            .webauthn()?
            .finish_passkey_registration(&answer, &state)
            .map_err(|error| PasskeyError::Refused(error.to_string()))?;
        if self.of(&member.id).await?.len() >= MOST {
            return Err(PasskeyError::TooMany(member.id.clone()));
        }
        let id = PasskeyId::of(credential.cred_id());
        let stored = Stored {
            member: member.id.clone(),
            member_since: member.added,
            name: called.to_owned(),
            created: now(),
            last_used: None,
            credential,
        };
        match self.records.put(id.as_str(), Expect::Absent, &stored).await {
            Ok(_) => Ok(stored.shown(id)),
            Err(StoreError::Conflict { .. }) => Err(PasskeyError::Known),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to sign somebody in.
    ///
    /// # Errors
    /// [`PasskeyError::NoPlace`], or whatever the store says.
    pub async fn begin_sign_in(&self) -> Result<Begun, PasskeyError> {
        let (options, state) = self
            .webauthn()?
            .start_discoverable_authentication()
            .map_err(|error| PasskeyError::Refused(error.to_string()))?;
        self.keep(For::SignIn { state: Box::new(state) }, serde_json::to_value(options.public_key)).await
    }

    /// Whom `answer` signs in, and by which passkey.
    ///
    /// # Errors
    /// [`PasskeyError::NotValid`] whatever is wrong with the passkey, or whatever the store says.
    pub async fn sign_in(&self, ticket: &str, answer: &str) -> Result<(Member, PasskeyId), PasskeyError> {
        let answer: PublicKeyCredential = serde_json::from_str(answer).map_err(|_| PasskeyError::Malformed)?;
        let For::SignIn { state } = self.take(ticket).await? else { return Err(PasskeyError::NotUnderWay) };
        let webauthn = self.webauthn()?;
        let refused = |error: WebauthnError| {
            tracing::info!(%error, "a passkey was refused");
            PasskeyError::NotValid
        };
        let (handle, credential) = webauthn.identify_discoverable_authentication(&answer).map_err(refused)?;
        let id = PasskeyId::of(credential);
        let (mut stored, revision) = self.records.get(id.as_str()).await?.ok_or(PasskeyError::NotValid)?;
        let member = self.speaks_for(&stored).await?.ok_or(PasskeyError::NotValid)?;
        if handle != handle_of(&member.id, member.added) {
            return Err(PasskeyError::NotValid);
        }
        // Challenge, origin, relying party, verification of the person, signature, and a count that goes up.
        let result =
            webauthn.finish_discoverable_authentication_v2(&answer, *state, &stored.credential).map_err(refused)?;
        if !result.user_verified() || stored.credential.update_credential(&result).is_none() {
            return Err(PasskeyError::NotValid);
        }
        stored.last_used = Some(now());
        match self.records.put(id.as_str(), Expect::Revision(revision), &stored).await {
            Ok(_) => Ok((member, id)),
            // It was removed meanwhile, or used at the same moment by another.
            Err(StoreError::Conflict { .. }) => Err(PasskeyError::NotValid),
            Err(error) => Err(error.into()),
        }
    }

    async fn keep(&self, purpose: For, options: serde_json::Result<Value>) -> Result<Begun, PasskeyError> {
        let options = options.map_err(|error| PasskeyError::Refused(error.to_string()))?;
        let ticket = random().map_err(|error| PasskeyError::Random(error.to_string()))?;
        self.ceremonies.keep(ticket.expose(), &Ceremony { purpose, expires: now() + LIFETIME }).await?;
        Ok(Begun { options, ticket })
    }

    /// What waits for the answer that came, which is over with it, whatever the answer is.
    async fn take(&self, ticket: &str) -> Result<For, PasskeyError> {
        let (ceremony, seen) = self.ceremonies.look(ticket).await?.ok_or(PasskeyError::NotUnderWay)?;
        match self.ceremonies.take(ticket, seen).await? {
            true => Ok(ceremony.purpose),
            false => Err(PasskeyError::NotUnderWay),
        }
    }
}

#[cfg(test)]
never_shown!(Begun);
