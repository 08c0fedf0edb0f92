//! Props that a step adds to those of its definition, for what is filled in: what its `configure` answers.
//!
//! Their names are often what a service calls its columns, and one that is odd must not take the others with it.

use std::sync::Arc;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde_json::{Map, Value};

use super::definition::{ANY, BaseType, Definition, PropDef, PropType, prop_of};
use super::{Engine, Limits, Step, StepFailure, StepHost};

/// Most props that a step adds.
const ADDED: usize = 1000;
/// Longest name of one, in bytes.
const NAME_BYTES: usize = 256;
/// Tells the step that its additional props alone are wanted: options may take a request each.
const PROPS_ONLY: &str = "$propsOnly";

impl Engine {
    /// The step's definition with the props that it adds for what is `given`. A step that does not say which of its
    /// props decide on that (`reload`) is asked only if something is given that its definition does not name.
    ///
    /// # Errors
    /// The prop that could not be asked, and why, if that leaves something given that nothing declares.
    pub async fn definition_for(
        &self,
        step: &Step,
        host: Arc<dyn StepHost>,
        given: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<Definition, (String, StepFailure)> {
        let mut whole = step.definition.clone();
        let says = whole.props.values().any(|prop| prop.reload);
        if !says && declares_all(&whole, given) {
            return Ok(whole);
        }
        let mut failed = None;
        let mut state = filled_in(&step.definition, given);
        state.insert(PROPS_ONLY.to_owned(), Value::Bool(true));
        let state = Value::Object(state).to_string();
        let asked = step.definition.props.iter().filter(|(_, prop)| if says { prop.reload } else { prop.configure });
        for (asked, _) in asked {
            match self.configure(step, host.clone(), asked, &state, limits).await.result {
                Ok(answer) => {
                    let Some(added) = added(answer.as_str()) else { continue };
                    for (name, prop) in added {
                        match whole.props.entry(name) {
                            // A declared one may be needed no more, for what is given.
                            Entry::Occupied(mut declared) => declared.get_mut().optional |= prop.optional,
                            Entry::Vacant(free) => drop(free.insert(prop)),
                        }
                    }
                    // Most steps add the same whichever prop they are asked about.
                    if suffices(&whole, given) {
                        return Ok(whole);
                    }
                }
                Err(failure) => failed = failed.or_else(|| Some((asked.clone(), failure))),
            }
        }
        match failed {
            Some(failed) if !declares_all(&whole, given) => Err(failed),
            _ => Ok(whole),
        }
    }
}

/// What `configure` is told: what is `given`, with defaults where it is silent.
pub fn filled_in(definition: &Definition, given: &Map<String, Value>) -> Map<String, Value> {
    let defaults = definition.props.iter().filter_map(|(name, prop)| Some((name.clone(), prop.default.clone()?)));
    let mut state: Map<String, Value> = defaults.collect();
    state.extend(given.clone());
    state
}

/// Whether the definition names all that is given, and is given all that it needs.
pub fn suffices(definition: &Definition, given: &Map<String, Value>) -> bool {
    let lacks = |(name, prop): (&String, &PropDef)| {
        prop.kind.base != BaseType::App && !prop.optional && prop.default.is_none() && !given.contains_key(name)
    };
    declares_all(definition, given) && !definition.props.iter().any(lacks)
}

fn declares_all(definition: &Definition, given: &Map<String, Value>) -> bool {
    given.keys().all(|name| definition.props.contains_key(name))
}

/// The props in what `configure` answered, if it says any. One whose form is not right takes any value, and what
/// can't be a prop is left out.
fn added(answer: &str) -> Option<IndexMap<String, PropDef>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        props: Option<IndexMap<String, Value>>,
    }
    let props = serde_json::from_str::<Answer>(answer).ok()?.props?;
    let named = props.into_iter().filter(|(name, _)| is_name(name));
    Some(named.filter_map(|(name, prop)| Some((name, one(prop)?))).take(ADDED).collect())
}

fn one(prop: Value) -> Option<PropDef> {
    let Value::Object(fields) = prop else { return None };
    let mut faults = Vec::new();
    let prop = prop_of(fields, &mut faults);
    if faults.is_empty() {
        return prop;
    }
    match prop {
        Some(PropDef { kind: PropType { base: BaseType::App | BaseType::DataStore, .. }, .. }) => None,
        prop => Some(PropDef {
            kind: ANY,
            app: None,
            scopes: Vec::new(),
            label: None,
            description: None,
            optional: true,
            default: None,
            options: Vec::new(),
            secret: prop.is_some_and(|prop| prop.secret),
            configure: false,
            reload: false,
        }),
    }
}

/// What a person can read and a message can show.
fn is_name(name: &str) -> bool {
    let reorders = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(|c| c.is_control() || reorders(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_added_prop_has_any_name_that_can_be_shown() {
        let names = ["8f3a-uuid", "Due Date", "custom.field", "größe", "a/b", "$x", &"n".repeat(256)];
        let props: Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        let added = added(&json!({ "props": props }).to_string()).unwrap();
        assert!(names.iter().all(|name| added.contains_key(*name)), "{added:?}");
    }

    #[test]
    fn what_cannot_be_a_prop_is_left_out_and_takes_no_other_with_it() {
        let answer = json!({"props": {
            "": {"type": "string"}, "line\nbreak": {"type": "string"}, "\u{202e}x": {"type": "string"},
            (&"n".repeat(257)): {"type": "string"}, "text": "none", "store": {"type": "data_store", "default": "No"},
            "odd": {"type": "string", "unheard": true, "options": [1]}, "good": {"type": "integer", "default": 3},
        }});
        let added = added(&answer.to_string()).unwrap();
        let mut names: Vec<&String> = added.keys().collect();
        names.sort();
        assert_eq!(names, ["good", "odd"]);
        assert!(added["odd"].check(&json!({"a": 1})).is_ok() && added["odd"].optional);
        assert!(added["good"].check(&json!("x")).is_err());
    }

    #[test]
    fn there_are_1000_at_most_in_the_order_in_which_they_are_said() {
        let props: Vec<String> = (0..1001).map(|number| format!(r#""{number:04}": {{"type": "any"}}"#)).collect();
        let added = added(&format!(r#"{{"props": {{{}}}}}"#, props.join(","))).unwrap();
        assert_eq!((added.len(), added.keys().last().map(String::as_str)), (1000, Some("0999")));
        assert!(super::added("{}").is_none() && super::added(r#"{"options": [1]}"#).is_none());
    }
}
