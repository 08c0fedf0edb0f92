//! Props: what a step declares of its inputs, and how they are read. Errors name
//! the prop and what was wrong with it, and never quote a value: it may be secret.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::{Account, DataStore, Error, Result};

/// The inputs of a step. Derive it; see [`derive@crate::Props`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step's props",
    label = "put `#[derive(keyhole_sdk::Props)]` on `{Self}`"
)]
pub trait Props: Sized {
    /// What the step declares, in the order of declaration.
    const DECLARED: &'static [Declared];

    /// Reads the props of one call.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) naming the prop,
    /// [`ErrorKind::Access`](crate::ErrorKind::Access) for an account that can't be used.
    fn read(values: &mut Values) -> Result<Self>;
}

/// A step without props.
impl Props for () {
    const DECLARED: &'static [Declared] = &[];

    fn read(_: &mut Values) -> Result<()> {
        Ok(())
    }
}

/// One declared prop, as `definition` in `wit/step.wit` describes it.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Declared {
    pub name: &'static str,
    pub kind: Kind,
    pub app: Option<&'static str>,
    /// JSON, a list.
    pub scopes: Option<&'static str>,
    pub label: Option<&'static str>,
    pub description: Option<&'static str>,
    pub optional: bool,
    /// JSON.
    pub default: Option<&'static str>,
    /// JSON, a list.
    pub options: Option<&'static str>,
    pub configure: bool,
    pub secret: bool,
}

impl Serialize for Declared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // `default` and `options` were written as JSON by the derive macro.
        let json = |text: &str| serde_json::from_slice::<Value>(text.as_bytes()).map_err(S::Error::custom);
        let mut map = serializer.serialize_map(None)?;
        match (self.app, self.kind.list) {
            (Some(_), _) => map.serialize_entry("type", "app")?,
            (None, false) => map.serialize_entry("type", self.kind.name)?,
            (None, true) => map.serialize_entry("type", &format!("{}[]", self.kind.name))?,
        }
        for (key, text) in [("app", self.app), ("label", self.label), ("description", self.description)] {
            if let Some(text) = text {
                map.serialize_entry(key, text)?;
            }
        }
        for (key, flag) in [("optional", self.optional), ("configure", self.configure), ("secret", self.secret)] {
            if flag {
                map.serialize_entry(key, &true)?;
            }
        }
        for (key, text) in [("scopes", self.scopes), ("default", self.default), ("options", self.options)] {
            if let Some(text) = text {
                map.serialize_entry(key, &json(text)?)?;
            }
        }
        map.end()
    }
}

/// A list of declared props as the JSON object that the contract asks for. Not a
/// `Map`: that would lose the order of declaration, which is how people see them.
pub(crate) struct AsObject<'a>(pub &'a [Declared]);

impl Serialize for AsObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|prop| (prop.name, prop)))
    }
}

/// The `type` of a prop in `definition`, without or with `[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct Kind {
    pub name: &'static str,
    pub list: bool,
}

const fn kind(name: &'static str) -> Kind {
    Kind { name, list: false }
}

/// A type that a prop can have: `bool`, integers, floats, `String`, `Vec` of
/// these, `Option` of these, [`Value`], maps, [`Json`] for types of your own, and [`DataStore`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type that a prop can have",
    label = "use String, bool, a number, Vec or Option of these, serde_json::Value, a map, or keyhole_sdk::Json<T>",
    note = "an app prop needs `#[prop(app = \"..\")]` and the type `Account` or `Option<Account>`"
)]
pub trait PropType: Sized {
    #[doc(hidden)]
    const KIND: Kind;
    #[doc(hidden)]
    const OPTIONAL: bool = false;

    /// The value, or what was expected in its stead.
    #[doc(hidden)]
    fn parse(value: Value) -> Result<Self, Mismatch>;

    /// The value of the prop `prop`.
    #[doc(hidden)]
    fn of(prop: &str, value: Value) -> Result<Self, Mismatch> {
        let _ = prop;
        Self::parse(value)
    }

    /// What a prop without value and default is, if it may be without.
    #[doc(hidden)]
    fn absent() -> Option<Self> {
        None
    }
}

/// What was expected and what was there. The value itself stays out of it.
#[derive(Debug)]
#[doc(hidden)]
pub struct Mismatch {
    expected: String,
    got: &'static str,
}

impl Mismatch {
    fn new(expected: impl Into<String>, got: &Value) -> Mismatch {
        let got = match got {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a number",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Mismatch { expected: expected.into(), got }
    }
}

impl PropType for String {
    const KIND: Kind = kind("string");

    fn parse(value: Value) -> Result<String, Mismatch> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(Mismatch::new("a string", &other)),
        }
    }
}

impl PropType for bool {
    const KIND: Kind = kind("boolean");

    fn parse(value: Value) -> Result<bool, Mismatch> {
        value.as_bool().ok_or_else(|| Mismatch::new("a boolean", &value))
    }
}

impl PropType for f64 {
    const KIND: Kind = kind("number");

    fn parse(value: Value) -> Result<f64, Mismatch> {
        value.as_f64().ok_or_else(|| Mismatch::new("a number", &value))
    }
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl PropType for $integer {
            const KIND: Kind = kind("integer");

            fn parse(value: Value) -> Result<$integer, Mismatch> {
                integer(&value).and_then(|number| number.try_into().ok()).ok_or_else(|| {
                    Mismatch::new(format!("an integer from {} to {}", <$integer>::MIN, <$integer>::MAX), &value)
                })
            }
        }
    )+};
}

integers!(i8, u8, i16, u16, i32, u32, i64, u64);

/// Also takes `3.0`: JavaScript and forms have no other number.
fn integer(value: &Value) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Value::Number(number) = value else { return None };
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(signed), _, _) => Some(signed.into()),
        (_, Some(unsigned), _) => Some(unsigned.into()),
        (_, _, Some(float)) if float.fract() == 0.0 && float.abs() <= EXACT => Some(float as i128),
        _ => None,
    }
}

impl PropType for Value {
    const KIND: Kind = kind("any");

    fn parse(value: Value) -> Result<Value, Mismatch> {
        Ok(value)
    }
}

impl PropType for Map<String, Value> {
    const KIND: Kind = kind("object");

    fn parse(value: Value) -> Result<Map<String, Value>, Mismatch> {
        match value {
            Value::Object(map) => Ok(map),
            other => Err(Mismatch::new("an object", &other)),
        }
    }
}

macro_rules! maps {
    ($($map:ident),+) => {$(
        impl<T: PropType> PropType for $map<String, T> {
            const KIND: Kind = kind("object");

            fn parse(value: Value) -> Result<$map<String, T>, Mismatch> {
                Map::parse(value)?
                    .into_iter()
                    .map(|(key, value)| match T::parse(value) {
                        Ok(value) => Ok((key, value)),
                        Err(Mismatch { expected, got }) => {
                            Err(Mismatch { expected: format!("{expected} under \"{key}\""), got })
                        }
                    })
                    .collect()
            }
        }
    )+};
}

maps!(BTreeMap, HashMap);

impl<T: PropType> PropType for Vec<T> {
    // A list of lists has no name of its own in the contract.
    const KIND: Kind = if T::KIND.list { kind("any") } else { Kind { name: T::KIND.name, list: true } };

    fn parse(value: Value) -> Result<Vec<T>, Mismatch> {
        let Value::Array(items) = value else { return Err(Mismatch::new("a list", &value)) };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            list.push(T::parse(item).map_err(|Mismatch { expected, got }| Mismatch {
                expected: format!("{expected} as item {index} of the list"),
                got,
            })?);
        }
        Ok(list)
    }
}

impl<T: PropType> PropType for Option<T> {
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;

    fn parse(value: Value) -> Result<Option<T>, Mismatch> {
        T::parse(value).map(Some)
    }

    fn of(prop: &str, value: Value) -> Result<Option<T>, Mismatch> {
        T::of(prop, value).map(Some)
    }

    fn absent() -> Option<Option<T>> {
        Some(None)
    }
}

/// The workflow names the store.
impl PropType for DataStore {
    const KIND: Kind = kind("data_store");

    fn parse(value: Value) -> Result<DataStore, Mismatch> {
        Err(Mismatch::new("a data store as a prop of its own", &value))
    }

    fn of(prop: &str, value: Value) -> Result<DataStore, Mismatch> {
        match value {
            Value::String(_) => Ok(DataStore::of(prop)),
            other => Err(Mismatch::new("the name of a data store", &other)),
        }
    }
}

/// A prop of a type of your own: an object in `definition`, read by serde.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Window { from: String, to: String }
///
/// #[derive(keyhole_sdk::Props)]
/// struct Props { window: keyhole_sdk::Json<Window> }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T> std::ops::Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> PropType for Json<T> {
    const KIND: Kind = kind("object");

    fn parse(value: Value) -> Result<Json<T>, Mismatch> {
        // serde's message would quote the value.
        let shape = Mismatch::new(format!("an object of type {}", short_type_name::<T>()), &value);
        T::deserialize(value).map(Json).map_err(|_| shape)
    }
}

fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// An app prop's type: [`Account`], or `Option<Account>` where none need be linked.
#[diagnostic::on_unimplemented(
    message = "an app prop has the type `Account` or `Option<Account>`, not `{Self}`",
    label = "this field has `#[prop(app = \"..\")]`"
)]
pub trait AppProp: Sized {
    #[doc(hidden)]
    const OPTIONAL: bool;

    #[doc(hidden)]
    fn linked(prop: &'static str) -> Result<Self>;
}

impl AppProp for Account {
    const OPTIONAL: bool = false;

    fn linked(prop: &'static str) -> Result<Account> {
        Account::linked(prop)
    }
}

impl AppProp for Option<Account> {
    const OPTIONAL: bool = true;

    fn linked(prop: &'static str) -> Result<Option<Account>> {
        Account::if_linked(prop)
    }
}

/// The values of the props that are not app props, while they are being read.
#[derive(Debug)]
#[doc(hidden)]
pub struct Values(Map<String, Value>);

impl Values {
    /// Of `input.props`, or of the `state` of `configure`.
    pub(crate) fn parse(json: &str) -> Result<Values> {
        match serde_json::from_slice(json.as_bytes()) {
            Ok(map) => Ok(Values(map)),
            Err(error) => Err(Error::input(format!("props are not a JSON object: {error}"))),
        }
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Takes the value of the prop `name`. `default` is JSON.
    pub fn take<T: PropType>(&mut self, name: &'static str, default: Option<&'static str>) -> Result<T> {
        // Not `remove`: a B-tree's rebalancing is 4 KB of code, for a map that is about to go.
        read(name, self.0.get_mut(name).map(Value::take), default)
    }
}

/// `value` as the prop `name`. A null counts as not given.
pub(crate) fn read<T: PropType>(name: &str, value: Option<Value>, default: Option<&str>) -> Result<T> {
    let value = match (value, default) {
        (Some(value), _) if !value.is_null() => value,
        // The macro wrote it, so it parses; were it not so, the prop counts as missing.
        (_, Some(default)) => serde_json::from_slice(default.as_bytes()).unwrap_or_default(),
        (_, None) => match T::absent() {
            Some(absent) => return Ok(absent),
            None => return Err(Error::input(format!("prop \"{name}\" is required and was not given"))),
        },
    };
    T::of(name, value)
        .map_err(|Mismatch { expected, got }| Error::input(format!("prop \"{name}\": expected {expected}, got {got}")))
}
