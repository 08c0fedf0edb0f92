//! Options and additional props, asked for while someone fills in a step's props.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::props::{self, AsObject, Declared, PropType, Props, Values};
use crate::{Account, Result};

/// What a `configure` function is asked: which prop, and what is filled in so far.
///
/// ```no_run
/// use keyhole_sdk::{Account, Choices, Configure, Props, Result};
///
/// #[derive(Props)]
/// struct Input {
///     #[prop(app = "github")]
///     github: Account,
///     repo: String,
/// }
///
/// /// Named by `#[keyhole_sdk::step(configure = repos, ..)]`.
/// fn repos(ask: Configure) -> Result<Choices> {
///     let repos: Vec<serde_json::Value> = ask.account("github")?.get("user/repos").send()?.error_for_status()?.json()?;
///     Ok(Choices::options(repos.iter().filter_map(|repo| repo["full_name"].as_str())))
/// }
/// ```
#[derive(Debug)]
pub struct Configure {
    prop: String,
    state: Map<String, Value>,
}

impl Configure {
    pub(crate) fn parse(prop: String, state: &str) -> Result<Configure> {
        Ok(Configure { prop, state: Values::parse(state)?.into_map() })
    }

    /// The prop that options or additional props are wanted for.
    pub fn prop(&self) -> &str {
        &self.prop
    }

    /// What is filled in for the prop `name`; `Option<T>` where it may be nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if it is missing or of another type.
    pub fn value<T: PropType>(&self, name: &str) -> Result<T> {
        props::read(name, self.state.get(name).cloned(), None)
    }

    /// The account linked to the app prop `name`.
    ///
    /// # Errors
    /// As [`Account::linked`].
    pub fn account(&self, name: &str) -> Result<Account> {
        Account::linked(name.to_owned())
    }
}

/// What a `configure` function answers.
#[derive(Debug, Default, Serialize)]
pub struct Choices {
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<Choice>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_object")]
    props: Option<&'static [Declared]>,
}

impl Choices {
    /// Values to choose from: strings, or [`Choice`]s where a label helps.
    pub fn options<C: Into<Choice>>(options: impl IntoIterator<Item = C>) -> Choices {
        Choices { options: Some(options.into_iter().map(Into::into).collect()), props: None }
    }

    /// Additional props: those that `P` declares. Read them in `run` with [`Ctx::prop`](crate::Ctx::prop).
    pub fn props<P: Props>() -> Choices {
        Choices { options: None, props: Some(P::DECLARED) }
    }
}

fn as_object<S: serde::Serializer>(props: &Option<&[Declared]>, serializer: S) -> Result<S::Ok, S::Error> {
    AsObject(props.unwrap_or_default()).serialize(serializer)
}

/// One value to choose, and what to show for it.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    label: String,
    value: Value,
}

impl Choice {
    /// Shows `label` and stands for `value`.
    pub fn new(label: impl Into<String>, value: impl Into<Value>) -> Choice {
        Choice { label: label.into(), value: value.into() }
    }
}

impl From<&str> for Choice {
    fn from(value: &str) -> Choice {
        Choice::new(value, value)
    }
}

impl From<String> for Choice {
    fn from(value: String) -> Choice {
        Choice::new(value.clone(), value)
    }
}
