//! A step's own word on its props: options of one, and props beside those that its
//! definition names.

use std::sync::Arc;

use keyhole::engine::{self, Definition, Engine, Json, Step, StepHost, filled_in};
use keyhole_host_api::broker::Broker;
use keyhole_host_api::data::DataStores;
use serde_json::Value;

use super::error::{Error, Result};
use super::run::Attempt;

/// What the step answers when it is asked about `prop`, given what is filled in.
pub async fn ask(
    attempt: &Attempt,
    engine: &Engine,
    step: &Step,
    broker: &Arc<Broker>,
    stores: &Arc<DataStores>,
    prop: &str,
) -> Result<Json> {
    let state = Value::Object(filled_in(&step.definition, &attempt.props)).to_string();
    let outcome = engine.configure(step, host(attempt, step, broker, stores), prop, &state, &attempt.limits).await;
    broker.settle().await?;
    outcome.result.map_err(|failure| Error::new(failure.to_string()).at(format!("prop {prop}")))
}

/// The step's definition with the props that it adds for what is filled in.
pub async fn definition(
    attempt: &Attempt,
    engine: &Engine,
    step: &Step,
    broker: &Arc<Broker>,
    stores: &Arc<DataStores>,
) -> Result<Definition> {
    let whole = engine.definition_for(step, host(attempt, step, broker, stores), &attempt.props, &attempt.limits).await;
    broker.settle().await?;
    whole.map_err(|(prop, failure)| Error::new(failure.to_string()).at(format!("prop {prop}")))
}

/// What the step has of the world while it answers: its accounts, and the data stores that were named so far.
fn host(attempt: &Attempt, step: &Step, broker: &Arc<Broker>, stores: &Arc<DataStores>) -> Arc<dyn StepHost> {
    let (_, session) = attempt.session(broker, &step.definition);
    let data = attempt.data(&step.definition, stores);
    Arc::new(engine::Attempt { session, data, callbacks: None, observer: None })
}
