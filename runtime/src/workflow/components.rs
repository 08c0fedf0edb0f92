//! The components that were deployed, by digest, and the steps that they are once loaded.
//!
//! A component lies in the store in pieces, since records are not blobs; its head is written last, so that what
//! has a head is whole.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use keyhole_host_api::store::records::{Record, Records};
use keyhole_host_api::store::{Expect, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::engine::{Definition, Digest, Engine, EngineError, Instances, LoadError, Step};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;
const PIECES: &str = "component-pieces/";

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
}

impl Components {
    /// Those in `store`, run by what `make` makes.
    pub fn new(store: Arc<dyn Store>, make: impl Fn() -> Result<Engine, EngineError> + Send + Sync + 'static) -> Self {
        Self { heads: Records::new(store.clone()), store, make: Box::new(make), engine: OnceLock::new() }
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
        if let Some((head, _)) = self.heads.get(&digest).await? {
            return Ok((head, step.definition.clone()));
        }
        let pieces: Vec<_> = bytes
            .chunks(PIECE)
            .enumerate()
            .map(|(number, piece)| self.store.append(&format!("{PIECES}{digest}/{number:06}"), piece.to_vec()))
            .collect::<Result<_, _>>()?;
        for piece in pieces {
            piece.await?;
        }
        let head = Component {
            digest: digest.clone(),
            bytes: bytes.len(),
            name: step.definition.name.clone(),
            version: step.definition.version.to_string(),
            deployed: Timestamp::now(),
        };
        self.heads.put(&digest, Expect::Any, &head).await?;
        Ok((head, step.definition.clone()))
    }

    /// The component with this digest.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, digest: &str) -> Result<Option<Component>, StoreError> {
        match digest.parse::<Digest>() {
            Ok(_) => Ok(self.heads.get(digest).await?.map(|(head, _)| head)),
            Err(_) => Ok(None),
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
        let mut bytes = BytesMut::with_capacity(head.bytes);
        let folder = format!("{PIECES}{digest}/");
        let mut last: Option<String> = None;
        loop {
            let page = self.store.scan(&folder, last.as_deref(), 64).await?;
            let Some((key, _)) = page.last() else { break };
            last = Some(key.clone());
            for (_, piece) in page {
                bytes.extend_from_slice(&piece.value);
            }
        }
        // Loading it is trusting its name.
        if Digest::of(&bytes) != parsed {
            return Err(StoreError::Corrupt { place: folder, reason: "it is not what was deployed".to_owned() }.into());
        }
        Ok(engine.load(bytes.freeze()).await?)
    }
}
