//! The props that steps add, kept for a while: asking for them takes a request or more, and what they depend on is
//! filled in once and the same in every run.
//!
//! What is kept is never why something is refused: then the step is asked again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value, json};

use super::attempt::Who;
use super::record::PlannedStep;
use crate::engine::{Definition, Engine, Limits, Step, StepFailure, StepHost, filled_in, suffices};

/// How long an answer is good for.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// Bytes of JSON of one answer that is kept, and of all of them. What they take in memory can be sixteen times as much.
const ONE: u64 = 64 << 10;
const ALL: u64 = 2 << 20;
/// How many there may be, as an estimate.
const ANSWERS: usize = 1_000;

/// A hash of all that an answer depends on.
type Key = [u8; 32];

#[derive(Clone)]
struct Answer {
    definition: Arc<Definition>,
    /// What was given for the props of it that decide on others.
    decided: Arc<Map<String, Value>>,
    bytes: u64,
    asked: Instant,
}

impl Answer {
    /// Whether the step would answer the same, and the answer allows what is `given`.
    fn is_good_for(&self, given: &Map<String, Value>) -> bool {
        self.asked.elapsed() < GOOD_FOR
            && *self.decided == deciding(&self.definition, given)
            && suffices(&self.definition, given)
            && self.definition.props(given).is_ok()
    }
}

/// Definitions with the props that steps added to them.
pub struct AddedProps(Cache<Key, Answer, ByBytes>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Answer> for ByBytes {
    fn weight(&self, _: &Key, answer: &Answer) -> u64 {
        answer.bytes
    }
}

impl Default for AddedProps {
    fn default() -> Self {
        Self(Cache::with_weighter(ANSWERS, ALL, ByBytes))
    }
}

impl AddedProps {
    /// The step's definition with what it adds for `given`. Where its own suffices it is not asked; else `host` is
    /// made, and it is asked unless it answered the same question lately.
    ///
    /// # Errors
    /// The prop that it was asked about, and why it gave no answer.
    pub async fn definition<'s>(
        &self,
        engine: &Engine,
        step: &'s Step,
        host: impl FnOnce() -> Arc<dyn StepHost>,
        (who, planned): (&Who<'_>, &PlannedStep),
        given: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<Cow<'s, Definition>, (String, StepFailure)> {
        if suffices(&step.definition, given) {
            return Ok(Cow::Borrowed(&step.definition));
        }
        let key = key(who, planned, &step.definition, given);
        if let Some(answer) = self.0.get(&key).filter(|answer| answer.is_good_for(given)) {
            return Ok(Cow::Owned(answer.definition.as_ref().clone()));
        }
        let definition = engine.definition_for(step, host(), given, limits).await?;
        let decided = deciding(&definition, given);
        let bytes = serde_json::to_vec(&(&definition, &decided)).map_or(u64::MAX, |json| json.len() as u64);
        if bytes <= ONE {
            let (definition, decided) = (Arc::new(definition.clone()), Arc::new(decided));
            self.0.insert(key, Answer { definition, decided, bytes, asked: Instant::now() });
        }
        Ok(Cow::Owned(definition))
    }
}

/// What is given for the props that decide on others.
fn deciding(definition: &Definition, given: &Map<String, Value>) -> Map<String, Value> {
    let decides = |name: &str| definition.props.get(name).is_some_and(|prop| prop.reload);
    given.iter().filter(|(name, _)| decides(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What an answer depends on: whose step it is and with which accounts, and the props that the step says decide; if it
/// says none, all that its definition names.
fn key(who: &Who<'_>, planned: &PlannedStep, definition: &Definition, given: &Map<String, Value>) -> Key {
    let says = definition.props.values().any(|prop| prop.reload);
    let decide = |name: &str| definition.props.get(name).is_some_and(|prop| prop.reload || !says);
    let mut state = filled_in(definition, given);
    state.retain(|name, _| decide(name));
    let accounts: Vec<_> = planned.links.iter().map(|(prop, link)| (prop, &link.account)).collect();
    let asked = json!([who.member, who.workflow, planned.name, planned.uses, accounts, state]);
    *blake3::hash(asked.to_string().as_bytes()).as_bytes()
}
