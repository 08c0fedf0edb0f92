//! What a step says of itself: name, version, props. Read at deploy, checked here once.
//!
//! A definition is the step author's text: nothing in it may be trusted to be small,
//! or to mean more than this page says.

use std::fmt;

use indexmap::IndexMap;
use keyhole_host_api::data::{NotAName, StoreName};
use serde::Serialize;
use serde_json::{Map, Value};

/// Longest `description` or `label`, in bytes.
const TEXT_BYTES: usize = 4096;
/// What the name of a data store begins with that one step has to itself; so many hexadecimal digits follow.
const OWN: &str = "own-";
const OWN_DIGITS: usize = 32;
/// Most props of one step.
const PROPS: usize = 128;
/// Most options of one prop.
const OPTIONS: usize = 1000;
/// Most scopes of one app prop.
const SCOPES: usize = 100;
/// Longest scope, in bytes.
const SCOPE_BYTES: usize = 256;

/// A step's definition, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Definition {
    /// `[a-z0-9-]{1,64}`.
    pub name: String,
    /// A semantic version.
    pub version: semver::Version,
    /// What the step does, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The props, in the order in which the step names them.
    pub props: IndexMap<String, PropDef>,
}

/// One prop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PropDef {
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: PropType,
    /// For an app prop: which app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// For an app prop: the scopes that its account must have been granted for the step to do its work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Its value if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The values to choose from: a value, or an object with `label` and `value`. Empty for no such choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Value>,
    /// Whether its value is not to be shown.
    pub secret: bool,
    /// Whether `configure` is to be asked for options or additional props.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub configure: bool,
    /// Whether its value decides which props the step adds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reload: bool,
}

/// The type of a prop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropType {
    /// The type of the value, or of each of its items.
    pub base: BaseType,
    /// Whether the value is a list: written `string[]`.
    pub list: bool,
}

/// The types that a definition may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseType {
    /// An account of an app.
    App,
    /// The name of a data store.
    DataStore,
    /// A text.
    String,
    /// A number without a fraction.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A JSON object.
    Object,
    /// Any JSON value.
    Any,
}

const TYPES: [(BaseType, &str); 8] = [
    (BaseType::App, "app"),
    (BaseType::DataStore, "data_store"),
    (BaseType::String, "string"),
    (BaseType::Integer, "integer"),
    (BaseType::Number, "number"),
    (BaseType::Boolean, "boolean"),
    (BaseType::Object, "object"),
    (BaseType::Any, "any"),
];

impl BaseType {
    fn holds(self, value: &Value) -> bool {
        match self {
            // An account is linked, never given as a value.
            Self::App => false,
            Self::DataStore => value.as_str().is_some_and(|name| name.parse::<StoreName>().is_ok()),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Any => true,
        }
    }
}

impl PropType {
    fn parse(text: &str) -> Option<Self> {
        let (base, list) = match text.strip_suffix("[]") {
            Some(base) => (base, true),
            None => (text, false),
        };
        let (base, _) = TYPES.into_iter().find(|(_, name)| *name == base)?;
        Some(Self { base, list })
    }

    fn holds(self, value: &Value) -> bool {
        match (self.list, value) {
            (false, value) => self.base.holds(value),
            (true, Value::Array(items)) => items.iter().all(|item| self.base.holds(item)),
            (true, _) => false,
        }
    }
}

impl fmt::Display for PropType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TYPES.iter().find(|(base, _)| *base == self.base).map_or("any", |(_, name)| name);
        f.write_str(name)?;
        if self.list { f.write_str("[]") } else { Ok(()) }
    }
}

impl Serialize for PropType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is wrong with a definition: every fault, not just the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the step's definition is not right: {}", .0.join("; "))]
pub struct DefinitionError(pub Vec<String>);

/// What is wrong with the values given for a step's props: every fault, by prop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct PropsError(pub Vec<String>);

impl Definition {
    /// Reads what `definition` returned.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let one = |fault: String| DefinitionError(vec![fault]);
        let mut fields: IndexMap<String, Value> =
            serde_json::from_str(text).map_err(|error| one(format!("it must be a JSON object: {error}")))?;
        let mut faults = Vec::new();

        let name = match fields.shift_remove("name") {
            Some(Value::String(name)) if is_step_name(&name) => name,
            Some(other) => {
                faults.push(format!("`name` must be 1 to 64 characters of a-z, 0-9 and '-', not {}", brief(&other)));
                String::new()
            }
            None => {
                faults.push("`name` is missing".to_owned());
                String::new()
            }
        };
        let version = match fields.shift_remove("version") {
            Some(Value::String(version)) => semver::Version::parse(&version)
                .map_err(|error| {
                    faults.push(format!("`version` must be a semantic version such as \"1.0.0\": {error}"))
                })
                .ok(),
            Some(other) => {
                faults.push(format!("`version` must be a text such as \"1.0.0\", not {}", brief(&other)));
                None
            }
            None => {
                faults.push("`version` is missing".to_owned());
                None
            }
        };
        let description = text_of(fields.shift_remove("description"), "description", &mut faults);
        fields.shift_remove("props");
        // `Value`'s maps are sorted; the order in which the author wrote the props is the order of a form.
        let props = match Ordered::read(text) {
            Ok(ordered) => props_of(ordered.props, &mut faults),
            Err(error) => {
                faults.push(format!("`props` must be an object of objects: {error}"));
                IndexMap::new()
            }
        };
        for key in fields.keys() {
            faults.push(format!("`{}` is not a key of a definition", brief_text(key)));
        }
        match version {
            Some(version) if faults.is_empty() => Ok(Self { name, version, description, props }),
            _ => Err(DefinitionError(faults)),
        }
    }

    /// The app props: name, app, and whether an account must be linked.
    pub fn app_props(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.props.iter().filter_map(|(name, prop)| Some((name.as_str(), prop.app.as_deref()?, !prop.optional)))
    }

    /// The data stores of a step with these values, by prop. One with neither a value nor a default is a store of its
    /// own, for the step that `place` says: its owner, workflow and name.
    pub fn data_stores(&self, values: &Map<String, Value>, place: [&str; 3]) -> Vec<(String, StoreName)> {
        let props = self.props.iter().filter(|(_, prop)| prop.kind.base == BaseType::DataStore);
        let named = |(prop, declared): (&String, &PropDef)| {
            let given = values.get(prop).filter(|value| !value.is_null()).or(declared.default.as_ref());
            let name = match given {
                // Also where `props` has not checked it yet: what it would refuse is not opened.
                Some(name) => name.as_str().filter(|_| declared.check(name).is_ok())?.to_owned(),
                None => {
                    let hash = blake3::hash([&place[..], &[prop]].concat().join("/").as_bytes());
                    format!("{OWN}{}", &hash.to_hex()[..OWN_DIGITS])
                }
            };
            Some((prop.clone(), name.parse().ok()?))
        };
        props.filter_map(named).collect()
    }

    /// The values for a run: `given`, with defaults where it is silent. App props are not
    /// among them: an account is linked.
    pub fn props(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, PropsError> {
        let mut faults = Vec::new();
        let mut values = Map::new();
        for (name, value) in given {
            match self.props.get(name) {
                None => faults.push(format!("the step has no prop '{}'; it has {}", brief_text(name), self.names())),
                Some(prop) if prop.kind.base == BaseType::App => {
                    faults.push(format!("prop '{name}' takes an account: link one instead of giving a value"));
                }
                // A form sends null for what was left empty.
                Some(prop) if value.is_null() && prop.kind != ANY => {}
                Some(prop) => match prop.check(value) {
                    Ok(()) => {
                        values.insert(name.clone(), value.clone());
                    }
                    Err(fault) => faults.push(format!("prop '{name}' {fault}")),
                },
            }
        }
        for (name, prop) in &self.props {
            if prop.kind.base == BaseType::App || values.contains_key(name) {
                continue;
            }
            match &prop.default {
                Some(default) => {
                    values.insert(name.clone(), default.clone());
                }
                None if prop.optional => {}
                None if given.get(name).is_some_and(|value| !value.is_null()) => {}
                None => faults.push(format!("prop '{name}' ({}) has no value and is not optional", prop.kind)),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(PropsError(faults)) }
    }

    fn names(&self) -> String {
        match self.props.is_empty() {
            true => "none".to_owned(),
            false => self.props.keys().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "),
        }
    }
}

pub(super) const ANY: PropType = PropType { base: BaseType::Any, list: false };

impl PropDef {
    /// What is wrong with `value` for this prop, in words that go behind its name.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        if self.kind.base == BaseType::DataStore && !self.kind.holds(value) {
            return Err(format!("names a data store, such as \"counters\", not {}: {NotAName}", brief(value)));
        }
        if self.kind.base == BaseType::DataStore && value.as_str().is_some_and(is_own) {
            return Err(format!("can't be {}: that is the name of a store which one step has to itself", brief(value)));
        }
        if !self.kind.holds(value) {
            // A secret prop's value stays out of messages, whatever it is.
            let shown = if self.secret { "the value given".to_owned() } else { brief(value) };
            return Err(format!("must be {}, not {shown}", self.kind));
        }
        if self.options.is_empty() {
            return Ok(());
        }
        let listed = |item: &Value| self.options.iter().any(|option| value_of(option) == item);
        let all = match (self.kind.list, value) {
            (true, Value::Array(items)) => items.iter().all(listed),
            (_, value) => listed(value),
        };
        if all { Ok(()) } else { Err(format!("must be one of its options, not {}", brief(value))) }
    }
}

/// Whether a data store of this name is a step's own.
fn is_own(name: &str) -> bool {
    let digits = name.strip_prefix(OWN);
    digits.is_some_and(|digits| digits.len() == OWN_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// An option's value: `options` lists values, or objects with `label` and `value`.
fn value_of(option: &Value) -> &Value {
    match option {
        Value::Object(fields) if fields.contains_key("label") => fields.get("value").unwrap_or(option),
        other => other,
    }
}

/// Reads the props in the order in which they are written.
#[derive(serde::Deserialize)]
struct Ordered {
    #[serde(default)]
    props: IndexMap<String, Map<String, Value>>,
}

impl Ordered {
    fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

fn props_of(props: IndexMap<String, Map<String, Value>>, faults: &mut Vec<String>) -> IndexMap<String, PropDef> {
    if props.len() > PROPS {
        faults.push(format!("`props` has {} entries; {PROPS} are the limit", props.len()));
        return IndexMap::new();
    }
    let mut checked = IndexMap::with_capacity(props.len());
    for (name, fields) in props {
        if !is_prop_name(&name) {
            faults.push(format!(
                "prop '{}': a prop's name is 1 to 64 letters, digits, '_' and '-', and begins with a letter or '_'",
                brief_text(&name)
            ));
            continue;
        }
        let before = faults.len();
        let mut own = Vec::new();
        let prop = prop_of(fields, &mut own);
        faults.extend(own.into_iter().map(|fault| format!("prop '{name}': {fault}")));
        if let Some(prop) = prop
            && faults.len() == before
        {
            checked.insert(name, prop);
        }
    }
    checked
}

pub(super) fn prop_of(mut fields: Map<String, Value>, faults: &mut Vec<String>) -> Option<PropDef> {
    let kind = match fields.remove("type") {
        Some(Value::String(text)) => match PropType::parse(&text) {
            Some(PropType { base: BaseType::App, list: true }) => {
                faults.push("`app[]` is not a type: one app prop links one account; declare one for each".to_owned());
                None
            }
            Some(PropType { base: BaseType::DataStore, list: true }) => {
                faults.push("`data_store[]` is not a type: declare one prop for each data store".to_owned());
                None
            }
            Some(kind) => Some(kind),
            None => {
                let known = TYPES.map(|(_, name)| name).join(", ");
                faults.push(format!("`type` is one of {known}, or one of these with [], not '{}'", brief_text(&text)));
                None
            }
        },
        Some(other) => {
            faults.push(format!("`type` must be a text, not {}", brief(&other)));
            None
        }
        None => {
            faults.push("`type` is missing".to_owned());
            None
        }
    };
    let is_app = kind.is_some_and(|kind| kind.base == BaseType::App);
    let app = match fields.remove("app") {
        Some(Value::String(app)) if is_app && is_app_name(&app) => Some(app),
        Some(Value::String(app)) if is_app => {
            faults.push(format!("`app` names an app such as slack, not '{}'", brief_text(&app)));
            None
        }
        Some(_) if !is_app => {
            faults.push("`app` belongs to props of type app".to_owned());
            None
        }
        Some(other) => {
            faults.push(format!("`app` names an app such as slack, not {}", brief(&other)));
            None
        }
        None => {
            if is_app {
                faults.push("`app` is missing: the name of the app".to_owned());
            }
            None
        }
    };
    let scopes = scopes_of(fields.remove("scopes"), faults);
    if !is_app && !scopes.is_empty() {
        faults.push("`scopes` belong to props of type app".to_owned());
    }
    let prop = PropDef {
        kind: kind.unwrap_or(ANY),
        app,
        scopes,
        label: text_of(fields.remove("label"), "label", faults),
        description: text_of(fields.remove("description"), "description", faults),
        optional: flag_of(fields.remove("optional"), "optional", faults),
        default: fields.remove("default").filter(|default| !default.is_null()),
        options: options_of(fields.remove("options"), faults),
        secret: flag_of(fields.remove("secret"), "secret", faults),
        configure: flag_of(fields.remove("configure"), "configure", faults),
        reload: flag_of(fields.remove("reload"), "reload", faults),
    };
    for key in fields.keys() {
        faults.push(format!("`{}` is not a key of a prop", brief_text(key)));
    }
    let kind = kind?;
    if is_app && (prop.default.is_some() || !prop.options.is_empty() || prop.secret) {
        faults.push("an app prop has no `default`, `options` or `secret`".to_owned());
    }
    if prop.secret && kind.base != BaseType::String {
        faults.push("only a prop of type string can be `secret`".to_owned());
    }
    if !is_app {
        for option in &prop.options {
            if !kind.base.holds(value_of(option)) {
                let base = PropType { base: kind.base, list: false };
                faults.push(format!("each of `options` must be {base}, not {}", brief(value_of(option))));
                break;
            }
        }
        if let Some(default) = &prop.default
            && let Err(fault) = prop.check(default)
        {
            faults.push(format!("`default` {fault}"));
        }
    }
    Some(prop)
}

fn text_of(value: Option<Value>, key: &str, faults: &mut Vec<String>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.len() <= TEXT_BYTES => Some(text),
        Some(Value::String(text)) => {
            faults.push(format!("`{key}` has {} bytes; {TEXT_BYTES} are the limit", text.len()));
            None
        }
        Some(other) => {
            faults.push(format!("`{key}` must be a text, not {}", brief(&other)));
            None
        }
    }
}

fn flag_of(value: Option<Value>, key: &str, faults: &mut Vec<String>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => flag,
        Some(other) => {
            faults.push(format!("`{key}` must be true or false, not {}", brief(&other)));
            false
        }
    }
}

fn options_of(value: Option<Value>, faults: &mut Vec<String>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(options)) if options.len() <= OPTIONS => options,
        Some(Value::Array(options)) => {
            faults.push(format!("`options` has {} entries; {OPTIONS} are the limit", options.len()));
            Vec::new()
        }
        Some(other) => {
            faults.push(format!("`options` must be a list, not {}", brief(&other)));
            Vec::new()
        }
    }
}

fn scopes_of(value: Option<Value>, faults: &mut Vec<String>) -> Vec<String> {
    let given = match value {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(given)) if given.len() <= SCOPES => given,
        Some(Value::Array(given)) => {
            faults.push(format!("`scopes` has {} entries; {SCOPES} are the limit", given.len()));
            return Vec::new();
        }
        Some(other) => {
            faults.push(format!("`scopes` must be a list of texts, not {}", brief(&other)));
            return Vec::new();
        }
    };
    let mut scopes = Vec::with_capacity(given.len());
    for scope in given {
        match scope {
            Value::String(scope) if is_scope(&scope) => {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
            other => {
                faults.push(format!("each of `scopes` is one scope such as \"chat:write\", not {}", brief(&other)))
            }
        }
    }
    scopes
}

/// RFC 6749, section 3.3; some services put commas between scopes.
pub(crate) fn is_scope(text: &str) -> bool {
    (1..=SCOPE_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b','))
}

fn is_step_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// As the catalog has it: a step's name, or one with `_`.
fn is_app_name(name: &str) -> bool {
    is_step_name(&name.replace('_', "-"))
}

fn is_prop_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A value for a message: short, whatever it is.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", brief_text(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}

fn brief_text(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(definition: Value) -> String {
        Definition::parse(&definition.to_string()).unwrap_err().to_string()
    }

    fn step() -> Definition {
        Definition::parse(
            r#"{"name": "post-message", "version": "1.2.3", "description": "Posts", "props": {
                "slack": {"type": "app", "app": "slack", "scopes": ["chat:write", "chat:write", "users:read"]},
                "text": {"type": "string", "label": "Text"},
                "count": {"type": "integer", "default": 3},
                "colour": {"type": "string", "options": ["red", {"label": "Blue", "value": "blue"}], "optional": true},
                "tags": {"type": "string[]", "optional": true, "configure": true},
                "anything": {"type": "any", "optional": true}
            }}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_definition_keeps_the_order_of_its_props() {
        let step = step();
        assert_eq!(step.props.keys().collect::<Vec<_>>(), ["slack", "text", "count", "colour", "tags", "anything"]);
        assert_eq!(step.app_props().collect::<Vec<_>>(), [("slack", "slack", true)]);
        assert_eq!(step.props["slack"].scopes, ["chat:write", "users:read"], "each once");
        assert!(step.props["tags"].configure && !step.props["text"].configure);
        assert_eq!(Definition::parse(&serde_json::to_string(&step).unwrap()).unwrap(), step);
    }

    #[test]
    fn every_fault_of_a_definition_is_named() {
        let text = faults(json!({"name": "Bad Name", "version": "1", "prop": {}, "props": {
            "1x": {"type": "string"},
            "a": {"type": "strin"},
            "b": {"type": "app"},
            "c": {"type": "integer", "default": "x", "min": 1},
            "d": {"type": "app[]", "app": "slack"},
            "e": {"type": "number", "secret": true},
            "f": {"type": "string", "options": [1]},
            "g": {"type": "data_store", "default": "Not a name"},
            "h": {"type": "data_store[]"},
            "i": {"type": "string", "scopes": ["a"]},
            "j": {"type": "app", "app": "slack", "scopes": ["a b"]},
            "k": {"type": "app", "app": "slack", "scopes": "a"},
        }}));
        for part in [
            "`name` must be",
            "`version` must be",
            "`prop` is not a key",
            "prop '1x'",
            "prop 'a': `type` is one of app, data_store,",
            "prop 'b': `app` is missing",
            "prop 'i': `scopes` belong to props of type app",
            "prop 'j': each of `scopes` is one scope",
            "prop 'k': `scopes` must be a list of texts",
            "prop 'c': `min` is not a key",
            "prop 'c': `default` must be integer, not \"x\"",
            "prop 'd': `app[]` is not a type",
            "prop 'e': only a prop of type string",
            "prop 'f': each of `options` must be string, not 1",
            "prop 'g': `default` names a data store",
            "prop 'h': `data_store[]` is not a type",
        ] {
            assert!(text.contains(part), "{part} in: {text}");
        }
        for text in ["", "[]", "3", "{\"name\":1}"] {
            Definition::parse(text).unwrap_err();
        }
    }

    #[test]
    fn a_data_store_is_the_one_that_is_named_or_the_default_or_the_steps_own() {
        let step = Definition::parse(
            &json!({"name": "s", "version": "1.0.0", "props": {
                "a": {"type": "data_store", "default": "kept"},
                "b": {"type": "data_store", "optional": true},
                "c": {"type": "data_store", "optional": true, "options": ["orders"]},
            }})
            .to_string(),
        )
        .unwrap();
        let place = ["alice", "w", "s"];
        let opened = |given: Value| -> Vec<String> {
            let named = step.data_stores(given.as_object().unwrap(), place);
            named.into_iter().map(|(prop, name)| format!("{prop} {name}")).collect()
        };
        let own = opened(json!({}));
        assert!(own[0] == "a kept" && own[1].starts_with("b own-") && own[2].starts_with("c own-"), "{own:?}");
        assert_eq!(opened(json!({"a": null, "b": null, "c": null})), own, "as if it were not given");
        assert_eq!(opened(json!({"a": "x", "b": "y", "c": "orders"})), ["a x", "b y", "c orders"]);
        // What would be refused is not opened: what is no option, no name, or the name of another step's own.
        let others = own[1].strip_prefix("b ").unwrap();
        assert_eq!(opened(json!({"a": others, "b": "../x", "c": "payroll"})), [""; 0]);
        let refused = step.props(json!({ "a": others }).as_object().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("which one step has to itself"), "{refused}");
    }

    #[test]
    fn props_get_their_defaults_and_are_checked() {
        let values =
            step().props(json!({"text": "hi", "colour": "blue", "tags": ["x"], "anything": null}).as_object().unwrap());
        assert_eq!(
            Value::Object(values.unwrap()),
            json!({"text": "hi", "colour": "blue", "tags": ["x"], "count": 3, "anything": null})
        );
        let given = json!({"slack": "acc", "count": 1.5, "colour": "green", "tags": [1], "other": 1});
        let text = step().props(given.as_object().unwrap()).unwrap_err().to_string();
        for part in [
            "prop 'slack' takes an account",
            "prop 'count' must be integer, not 1.5",
            "prop 'colour' must be one of its options",
            "prop 'tags' must be string[]",
            "no prop 'other'; it has 'slack', 'text'",
            "prop 'text' (string) has no value",
        ] {
            assert!(text.contains(part), "{part} in: {text}");
        }
    }
}
