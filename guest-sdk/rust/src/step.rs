//! The three exports of a step, for what `#[step]` generates. Kept out of the
//! macro so that a step's own code has as little generated text as can be.

use std::error::Error as StdError;

use serde::Serialize;

use crate::bindings::keyhole::step::types::{Failure, Input};
use crate::props::{AsObject, Declared, Props, Values};
use crate::{Choices, Configure, Ctx, Error, Result};

/// What `#[step]` knows of the step.
#[allow(missing_docs)]
#[derive(Debug)]
pub struct About {
    pub name: &'static str,
    pub version: &'static str,
    pub description: Option<&'static str>,
    pub props: &'static [Declared],
}

/// The export `definition`.
pub fn definition(about: &About) -> String {
    #[derive(Serialize)]
    struct Definition<'a> {
        name: &'a str,
        version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        props: AsObject<'a>,
    }
    let About { name, version, description, props } = *about;
    serde_json::to_string(&Definition { name, version, description, props: AsObject(props) })
        .expect("strings, and JSON that the derive macro wrote, serialize")
}

/// The export `run`.
pub fn run<P: Props, T: Serialize, E: Into<Box<dyn StdError>>>(
    input: Input,
    step: impl FnOnce(P, Ctx) -> Result<T, E>,
) -> Result<String, Failure> {
    let (mut ctx, props) = Ctx::new(input);
    let outcome = Values::parse(&props).and_then(|mut values| {
        let props = P::read(&mut values)?;
        ctx.additional = values.into_map();
        let value = step(props, ctx).map_err(|error| Error::from_boxed(error.into()))?;
        Ok(serde_json::to_string(&value)?)
    });
    outcome.map_err(Error::into_failure)
}

/// The export `configure`, of a step that has one.
pub fn configure<E: Into<Box<dyn StdError>>>(
    prop: String,
    state: &str,
    ask: impl FnOnce(Configure) -> Result<Choices, E>,
) -> Result<String, Failure> {
    let outcome = Configure::parse(prop, state).and_then(|request| {
        let choices = ask(request).map_err(|error| Error::from_boxed(error.into()))?;
        Ok(serde_json::to_string(&choices)?)
    });
    outcome.map_err(Error::into_failure)
}

/// The export `configure`, of a step that has none.
pub fn nothing_to_configure(prop: &str) -> Result<String, Failure> {
    Err(Error::input(format!("this step has nothing to configure, for prop \"{prop}\" or any other")).into_failure())
}
