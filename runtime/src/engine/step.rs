//! A component that is ready to run: inspected, compiled, linked, its definition read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Component;

use super::bindings::StepPre;
use super::code::Code;
use super::compile::{CompileError, compile};
use super::config::TABLES_PER_SLOT;
use super::definition::{Definition, DefinitionError};
use super::host::NoHost;
use super::inspect::{InspectError, Inspection, inspect};
use super::outcome::StepFailure;
use super::run::{Engine, Export};
use super::state::State;

/// BLAKE3 of a component's bytes: its name in the caches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// The digest of `component`.
    pub fn of(component: &[u8]) -> Self {
        Self(*blake3::Hasher::new().update_rayon(component).finalize().as_bytes())
    }
}

impl std::str::FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A component that is ready to run.
pub struct Step {
    /// Its name in the caches.
    pub digest: Digest,
    /// What it says of itself.
    pub definition: Definition,
    /// What it is made of.
    pub inspection: Inspection,
    /// Bytes of its compiled code.
    pub code_bytes: usize,
    /// Bytes that its definition may take in memory.
    pub(super) definition_bytes: usize,
    pub(super) pre: StepPre<State>,
    /// Slots of the pool that one instance takes.
    pub(super) slots: u32,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("digest", &self.digest)
            .field("definition", &self.definition)
            .finish_non_exhaustive()
    }
}

/// Why a component can't be deployed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no step, or imports what it may not.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// There is no memory for its code.
    #[error("there is no memory for the component's code: {0}")]
    Memory(String),
    /// Its imports or exports have other types than the contract's.
    #[error("the component does not fit the world `step`: {0}. Build it against this Keyhole's wit/step.wit")]
    Link(String),
    /// It is made of more parts than the engine takes.
    #[error("the component needs more than the engine gives to one: {0}")]
    TooManyParts(String),
    /// The call of `definition` gave no value.
    #[error("the step's `definition` failed: {0}")]
    DefinitionCall(StepFailure),
    /// What `definition` returned is not right.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

impl Engine {
    /// Makes `component` ready to run. What was loaded before and is still kept costs a
    /// hash of its bytes; what was compiled before is read from disk.
    pub async fn load(&self, component: Bytes) -> Result<Arc<Step>, LoadError> {
        let limit = self.config().compile.component_bytes;
        if component.len() > limit {
            return Err(InspectError::TooLarge { size: component.len(), limit }.into());
        }
        let digest = Digest::of(&component);
        self.steps().get_or_insert_async(&digest, self.make_ready(digest, component)).await
    }

    /// The step with this digest, if it is kept ready.
    pub fn loaded(&self, digest: &Digest) -> Option<Arc<Step>> {
        self.steps().get(digest)
    }

    async fn make_ready(&self, digest: Digest, bytes: Bytes) -> Result<Arc<Step>, LoadError> {
        let inspected = bytes.clone();
        let inspecting = self.blocking(move |_| {
            let inspection = inspect(&inspected)?;
            inspection.check()?;
            Ok::<_, InspectError>(inspection)
        });
        // Side by side: each reads megabytes. Nothing of it runs before the inspection has found nothing.
        let (inspection, kept) = tokio::try_join!(inspecting, self.kept(digest))?;
        let inspection = inspection?;
        let (component, code_bytes) = match kept {
            Some(kept) => kept,
            None => self.compiled(digest, bytes).await?,
        };
        let slots = match component.resources_required() {
            Some(needs) => needs.num_memories.max(needs.num_tables.div_ceil(TABLES_PER_SLOT)).max(1),
            None => return Err(LoadError::TooManyParts("it instantiates modules that it imports".to_owned())),
        };
        if let Some(have) = self.pool().slots
            && slots > have
        {
            return Err(LoadError::TooManyParts(format!(
                "it has as many memories and tables as {slots} runs; {have} fit"
            )));
        }
        let pre = self
            .linker()
            .instantiate_pre(&component)
            .and_then(StepPre::new)
            .map_err(|error| LoadError::Link(format!("{error:#}")))?;
        let limits = self.config().definition.clone();
        let definition = self
            .call(&pre, slots, Arc::new(NoHost), &limits, Export::Definition)
            .await
            .result
            .map_err(LoadError::DefinitionCall)?;
        // A tree of small values takes up to a hundred times their text.
        let definition_bytes = definition.as_str().len() * 100;
        let definition = Definition::parse(definition.as_str())?;
        Ok(Arc::new(Step { digest, definition, inspection, code_bytes, definition_bytes, pre, slots }))
    }

    /// The compiled component, if it is on disk.
    async fn kept(&self, digest: Digest) -> Result<Option<(Component, usize)>, CompileError> {
        self.blocking(move |engine| {
            let cache = engine.code_cache()?;
            let code = cache.load(&digest.0)?;
            match engine.map(&code) {
                Ok(component) => Some((component, code.bytes)),
                Err(error) => {
                    cache.reject(&digest.0, &format!("{error:#}"));
                    None
                }
            }
        })
        .await
    }

    /// Compiles it, and keeps that on disk.
    async fn compiled(&self, digest: Digest, bytes: Bytes) -> Result<(Component, usize), LoadError> {
        let code = {
            let _turn = self.compile_turn().await;
            compile(self.wasmtime(), self.config().worker.as_ref(), &self.config().compile, bytes).await?
        };
        self.blocking(move |engine| {
            let code = Code::of(&code).map_err(|error| LoadError::Memory(error.to_string()))?;
            let component = engine.map(&code).map_err(|error| LoadError::TooManyParts(format!("{error:#}")))?;
            if let Some(cache) = engine.code_cache() {
                cache.store(&digest.0, &code);
            }
            Ok((component, code.bytes))
        })
        .await?
    }

    /// Runs what reads, hashes and maps megabytes where it holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, CompileError> {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || work(&engine))
            .await
            .map_err(|error| CompileError::Crashed(error.to_string()))
    }

    /// Maps compiled code.
    #[allow(unsafe_code)]
    fn map(&self, code: &Code) -> wasmtime::Result<Component> {
        // SAFETY: `code` is what `precompile_component` made: in this call's own process, in
        // the worker that it started, or earlier and then authenticated by `CodeCache::load`
        // over all its bytes.
        unsafe { code.component(self.wasmtime()) }
    }
}
