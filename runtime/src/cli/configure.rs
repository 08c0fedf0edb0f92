//! A step's own word on its props: options of one, and props beside those that its
//! definition names.

use std::sync::Arc;

use keyhole::engine::{Definition, Engine, Json, Step, filled_in};
use keyhole_host_api::broker::Broker;
use serde_json::Value;

use super::error::{Error, Result};
use super::run::Attempt;

/// What the step answers when it is asked about `prop`, given what is filled in.
pub async fn ask(attempt: &Attempt, engine: &Engine, step: &Step, broker: &Arc<Broker>, prop: &str) -> Result<Json> {
    let state = Value::Object(filled_in(&step.definition, &attempt.props)).to_string();
    let (_, session) = attempt.session(broker, &step.definition);
    let outcome = engine.configure(step, session, prop, &state, &attempt.limits).await;
    broker.settle().await?;
    outcome.result.map_err(|failure| Error::new(failure.to_string()).at(format!("prop {prop}")))
}

/// The step's definition with the props that it adds for what is filled in.
pub async fn definition(attempt: &Attempt, engine: &Engine, step: &Step, broker: &Arc<Broker>) -> Result<Definition> {
    let (_, session) = attempt.session(broker, &step.definition);
    let whole = engine.definition_for(step, session, &attempt.props, &attempt.limits).await;
    broker.settle().await?;
    whole.map_err(|(prop, failure)| Error::new(failure.to_string()).at(format!("prop {prop}")))
}
