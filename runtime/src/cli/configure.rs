//! A step's own word on its props: options of one, and props beside those that its
//! definition names.

use std::sync::Arc;

use keyhole::engine::{Definition, Engine, Json, Step};
use keyhole_host_api::broker::Broker;
use serde_json::{Map, Value, json};

use super::error::{Context as _, Error, Result};
use super::run::Attempt;

/// What the step answers when it is asked about `prop`, given what is filled in.
pub async fn ask(attempt: &Attempt, engine: &Engine, step: &Step, broker: &Arc<Broker>, prop: &str) -> Result<Json> {
    let mut state: Map<String, Value> =
        step.definition.props.iter().filter_map(|(name, prop)| Some((name.clone(), prop.default.clone()?))).collect();
    state.extend(attempt.props.clone());
    let (_, session) = attempt.session(broker, &step.definition);
    let outcome = engine.configure(step, session, prop, &Value::Object(state).to_string(), &attempt.limits).await;
    broker.settle().await?;
    outcome.result.map_err(|failure| Error::new(failure.to_string()).at(format!("prop {prop}")))
}

/// The step's definition with the props that it adds for what is filled in. It is asked
/// only if something is filled in that its definition does not name.
pub async fn definition(attempt: &Attempt, engine: &Engine, step: &Step, broker: &Arc<Broker>) -> Result<Definition> {
    let mut whole = step.definition.clone();
    if attempt.props.keys().all(|name| whole.props.contains_key(name)) {
        return Ok(whole);
    }
    for (asked, _) in step.definition.props.iter().filter(|(_, prop)| prop.configure) {
        let answer = ask(attempt, engine, step, broker, asked).await?;
        let answer: Value = serde_json::from_str(answer.as_str())?;
        let Some(props) = answer.get("props") else { continue };
        let text = json!({"name": whole.name, "version": whole.version.to_string(), "props": props}).to_string();
        let added = Definition::parse(&text).at(format!("props that {asked} adds"))?;
        for (name, prop) in added.props {
            whole.props.entry(name).or_insert(prop);
        }
    }
    Ok(whole)
}
