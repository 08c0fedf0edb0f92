//! The components that were deployed, by digest, and the steps that they are once loaded.
//!
//! A component lies in the store in pieces; its head is written last, so that what has a head is whole. Who deploys
//! with one says so in its head first, and only a head that nobody has touched meanwhile is taken away: so no
//! component goes while a workflow comes that needs it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::store::records::{Record, Records};
use keyhole_host_api::store::{Expect, Revision, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::blobs;
use crate::engine::{Definition, Digest, Engine, EngineError, Instances, LoadError, Step};

const PIECES: &str = "component-pieces/";
/// How long a component that was asked for is taken to be so still, without writing it down again.
const NOTED: SignedDuration = SignedDuration::from_mins(10);

/// A component that was deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Component {
    /// Its digest, as `blake3:<hex>` in a workflow's file without the prefix.
    pub digest: String,
    /// Its bytes.
    pub bytes: usize,
    /// The name in its definition.
    pub name: String,
    /// The version in its definition.
    pub version: String,
    /// When it was first deployed.
    pub deployed: Timestamp,
    /// When somebody last deployed with it, roughly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
    /// What its bytes are kept as, below its digest. None: right there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

impl Record for Component {
    const FOLDER: &'static str = "components";
    const VERSION: u32 = 1;
}

/// Why a component is not there to be run.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Nobody deployed it.
    #[error("there is no component {0}; deploy the workflow from the folder that has it")]
    NotThere(String),
    /// It is no step.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine can't be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type MakeEngine = Box<dyn Fn() -> Result<Engine, EngineError> + Send + Sync>;

/// The components, and the engine that loads them. The engine is set up when it is first needed.
pub struct Components {
    store: Arc<dyn Store>,
    heads: Records<Component>,
    make: MakeEngine,
    engine: OnceLock<Engine>,
    most_memory: AtomicU64,
}

/// Most memory that a step may have where the operator says nothing, in bytes: many may run at once.
pub const STEP_MEMORY: u64 = 1 << 30;

impl Components {
    /// Those in `store`, run by what `make` makes.
    pub fn new(store: Arc<dyn Store>, make: impl Fn() -> Result<Engine, EngineError> + Send + Sync + 'static) -> Self {
        let (heads, most_memory) = (Records::new(store.clone()), AtomicU64::new(STEP_MEMORY));
        Self { heads, store, make: Box::new(make), engine: OnceLock::new(), most_memory }
    }

    /// From the next attempt on, no step has more memory than so many bytes, whatever its workflow says.
    pub fn set_most_memory(&self, bytes: u64) {
        self.most_memory.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn most_memory(&self) -> u64 {
        self.most_memory.load(Ordering::Relaxed)
    }

    /// The engine.
    ///
    /// # Errors
    /// Why it can't be set up.
    pub fn engine(&self) -> Result<&Engine, EngineError> {
        if self.engine.get().is_none() {
            let made = (self.make)()?;
            // Of two that were made at once, one is dropped again.
            let _ = self.engine.set(made);
        }
        Ok(self.engine.get().unwrap_or_else(|| unreachable!("it was set above")))
    }

    /// How many instances of steps there are, and can be. None before the first step.
    pub fn instances(&self) -> Option<Instances> {
        self.engine.get().and_then(Engine::instances)
    }

    /// Checks `bytes`, keeps them, and says what they are.
    ///
    /// # Errors
    /// Why they are no step.
    pub async fn add(&self, bytes: Bytes) -> Result<(Component, Definition), ComponentError> {
        let step = self.engine()?.load(bytes.clone()).await?;
        let digest = step.digest.to_string();
        let there = self.touch(&digest).await?;
        // What was lost of it comes again.
        if let Some((head, _)) = &there
            && self.is_whole(&digest, head).await?
        {
            return Ok((head.clone(), step.definition.clone()));
        }
        let blob = Some(blobs::name());
        blobs::put(&self.store, &folder(&digest, blob.as_deref()), &bytes).await?;
        let head = Component {
            digest: digest.clone(),
            bytes: bytes.len(),
            name: step.definition.name.clone(),
            version: step.definition.version.to_string(),
            deployed: there.as_ref().map_or_else(Timestamp::now, |(head, _)| head.deployed),
            used: Some(Timestamp::now()),
            blob,
        };
        let expect = there.map_or(Expect::Absent, |(_, revision)| Expect::Revision(revision));
        match self.heads.put(&digest, expect, &head).await {
            Ok(_) => Ok((head, step.definition.clone())),
            // Somebody else did the same. What was kept twice is found by who tidies up.
            Err(StoreError::Conflict { .. }) => {
                let (there, _) = self.touch(&digest).await?.ok_or(ComponentError::NotThere(digest))?;
                Ok((there, step.definition.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that somebody deploys with the component. From now on it stays for long enough. None if it is not there.
    ///
    /// # Errors
    /// Whatever the store says.
    pub(super) async fn touch(&self, digest: &str) -> Result<Option<(Component, Revision)>, StoreError> {
        let now = Timestamp::now();
        let Some((head, revision)) = self.heads.get(digest).await? else { return Ok(None) };
        if head.used.is_some_and(|used| now.duration_since(used) < NOTED) {
            return Ok(Some((head, revision)));
        }
        self.heads.update(digest, |head| head.used = Some(now)).await
    }

    /// All, as they are now.
    pub(super) async fn all(&self) -> Result<Vec<(String, Component, Revision)>, StoreError> {
        self.heads.all().await
    }

    /// Takes one away, if nobody has touched it since. False if somebody has.
    pub(super) async fn remove(&self, digest: &str, head: &Component, as_of: Revision) -> Result<bool, StoreError> {
        match self.heads.delete(digest, Expect::Revision(as_of)).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        // In a folder that nobody else writes to, and of which nothing tells any more.
        blobs::delete(&self.store, &folder(digest, head.blob.as_deref())).await?;
        Ok(true)
    }

    /// Takes away the bytes that no component has: of a deploy, or a removal, that was cut off before `before`.
    pub(super) async fn sweep(&self, before: Timestamp) -> Result<(), StoreError> {
        for found in blobs::folders(&self.store, PIECES).await? {
            let (digest, blob) =
                found.split_once('/').map_or((found.as_str(), None), |(digest, blob)| (digest, Some(blob)));
            if blob.is_some_and(|blob| !blobs::is_older(blob, before)) {
                continue;
            }
            // After its bytes were found: a head that comes later has others.
            let head = self.heads.get(digest).await?;
            if head.is_none_or(|(head, _)| head.blob.as_deref() != blob) {
                blobs::delete(&self.store, &folder(digest, blob)).await?;
            }
        }
        Ok(())
    }

    /// The component with this digest. None also if bytes of it were lost, so that whoever has them gives them again.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, digest: &str) -> Result<Option<Component>, StoreError> {
        if digest.parse::<Digest>().is_err() {
            return Ok(None);
        }
        let Some((head, _)) = self.heads.get(digest).await? else { return Ok(None) };
        Ok(self.is_whole(digest, &head).await?.then_some(head))
    }

    async fn is_whole(&self, digest: &str, head: &Component) -> Result<bool, StoreError> {
        match self.bytes(digest, head).await {
            Ok(_) => Ok(true),
            Err(StoreError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The step with this digest, ready to run.
    ///
    /// # Errors
    /// [`ComponentError::NotThere`] if nobody deployed it.
    pub async fn step(&self, digest: &str) -> Result<Arc<Step>, ComponentError> {
        let not_there = || ComponentError::NotThere(digest.to_owned());
        let engine = self.engine()?;
        let parsed: Digest = digest.parse().map_err(|_| not_there())?;
        if let Some(step) = engine.loaded(&parsed) {
            return Ok(step);
        }
        let (head, _) = self.heads.get(digest).await?.ok_or_else(not_there)?;
        Ok(engine.load(self.bytes(digest, &head).await?).await?)
    }

    /// The bytes of this digest, of which `head` tells.
    async fn bytes(&self, digest: &str, head: &Component) -> Result<Bytes, StoreError> {
        let folder = folder(digest, head.blob.as_deref());
        let bytes = blobs::get(&self.store, &folder, head.bytes).await?;
        // Loading it is trusting its name.
        if Digest::of(&bytes).to_string() != digest {
            return Err(StoreError::Corrupt { place: folder, reason: "it is not what was deployed".to_owned() });
        }
        Ok(bytes)
    }
}

/// Where its bytes are.
fn folder(digest: &str, blob: Option<&str>) -> String {
    match blob {
        Some(blob) => format!("{PIECES}{digest}/{blob}/"),
        None => format!("{PIECES}{digest}/"),
    }
}
