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
/// Most steps whose answers are kept, and most props in all of those.
const ANSWERS: usize = 1_000;
const PROPS: u64 = 20_000;

/// A hash of all that an answer depends on.
type Key = [u8; 32];

#[derive(Clone)]
struct Answer {
    definition: Arc<Definition>,
    asked: Instant,
}

/// Definitions with the props that steps added to them.
pub struct AddedProps(Cache<Key, Answer, ByProps>);

#[derive(Clone)]
struct ByProps;

impl Weighter<Key, Answer> for ByProps {
    fn weight(&self, _: &Key, answer: &Answer) -> u64 {
        answer.definition.props.len() as u64 + 1
    }
}

impl Default for AddedProps {
    fn default() -> Self {
        Self(Cache::with_weighter(ANSWERS, PROPS, ByProps))
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
        if let Some(Answer { definition, asked }) = self.0.get(&key)
            && asked.elapsed() < GOOD_FOR
            && suffices(&definition, given)
            && definition.props(given).is_ok()
        {
            return Ok(Cow::Owned(definition.as_ref().clone()));
        }
        let definition = engine.definition_for(step, host(), given, limits).await?;
        self.0.insert(key, Answer { definition: Arc::new(definition.clone()), asked: Instant::now() });
        Ok(Cow::Owned(definition))
    }
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
