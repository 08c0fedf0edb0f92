//! Write Keyhole steps in Rust.
//!
//! A step is a function from props to a value. It asks for an account with an
//! app prop, and uses it as if it held the key:
//!
//! ```no_run
//! use keyhole_sdk::prelude::*;
//!
//! #[derive(Props)]
//! struct Input {
//!     /// The workspace to post to.
//!     #[prop(app = "slack")]
//!     slack: Account,
//!     #[prop(default = "#general", description = "Where to post.")]
//!     channel: String,
//!     text: String,
//! }
//!
//! #[keyhole_sdk::step(name = "slack-post")]
//! fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
//!     ctx.info(format!("posting to {}", input.channel));
//!     let message = json!({ "channel": input.channel, "text": input.text });
//!     let answer: Value = input.slack.post("chat.postMessage").json(&message).send()?.error_for_status()?.json()?;
//!     Ok(answer)
//! }
//! # fn main() {}
//! ```
//!
//! # What stands where the key would
//! [`Account::auth`] gives a *placeholder*: an unguessable string that is worth
//! nothing outside this attempt at a run. Put it where the service wants its key
//! (`.bearer_auth(..)`, `.basic_auth(..)`, a header, a query parameter). On the
//! way out the host's broker checks the request and swaps it for the credential,
//! towards the account's own hosts and in the places that the app's definition
//! names; anything else is refused with [`ErrorKind::Refused`]. What the service
//! echoes of the credential comes back as the placeholder.
//! [`Account::get`] and its kin do all that from the app's definition.
//!
//! # Building
//! The crate is a `cdylib`; `keyhole build <folder>` makes it a component. So
//! does `cargo build --release --target wasm32-wasip2`, with a larger file.

mod account;
#[doc(hidden)]
pub mod bindings;
mod configure;
mod ctx;
mod data;
mod error;
pub mod http;
mod props;
mod step;

pub use account::Account;
pub use configure::{Choice, Choices, Configure};
pub use ctx::{Callbacks, Ctx, Level, Reply};
pub use data::{DataStore, Entries, Entry, Expect};
pub use error::{Error, ErrorKind, Result};
pub use props::{AppProp, Json, PropType, Props};

/// Makes a function a step: the three exports of the world `keyhole:step/step`.
///
/// The function takes the step's props and its [`Ctx`], either, or none, and returns a
/// `Result` of anything that serializes. Its error is [`Error`], `anyhow::Error`,
/// `Box<dyn std::error::Error>`, or any error type.
///
/// | argument | |
/// | --- | --- |
/// | `name = ".."` | `[a-z0-9-]`, 1 to 64 of them. Default: the package's name |
/// | `version = ".."` | semver. Default: the package's version |
/// | `description = ".."` | for whoever picks the step. Default: the function's doc comment |
/// | `configure = path` | a `fn(Configure) -> Result<Choices, _>`; see [`Configure`] |
pub use keyhole_sdk_macros::step;

/// Declares a step's props: one for each field of the struct.
///
/// A field's type is its prop's type: see [`PropType`], and [`Account`] with
/// `#[prop(app = "..")]`. `Option<T>` is a prop that may be left out.
///
/// | in `#[prop(..)]` | |
/// | --- | --- |
/// | `app = "slack"` | an app prop, of type [`Account`] or `Option<Account>` |
/// | `scopes = [".."]` | of an app prop: the scopes that its account must have been granted |
/// | `default = ..` | a string, number, boolean, or a list of these in `[ ]` |
/// | `description = ".."` | default: the field's doc comment |
/// | `label = ".."` | what to show in place of the name |
/// | `name = ".."` | default: the field's name |
/// | `options = [..]` | the values to choose from |
/// | `configure` | the step's `configure` is asked for options, or for additional props |
/// | `secret` | a value of the wrong type is not quoted; else it is kept and shown as any other, so a credential belongs in an account |
///
/// ```
/// #[derive(keyhole_sdk::Props)]
/// struct Input {
///     #[prop(app = "github", scopes = ["repo"])]
///     github: keyhole_sdk::Account,
///     /// Whose issues to list.
///     #[prop(configure)]
///     repo: String,
///     #[prop(default = "open", options = ["open", "closed", "all"])]
///     state: String,
///     labels: Option<Vec<String>>,
///     #[prop(default = 30, label = "Per page")]
///     limit: u64,
/// }
/// ```
pub use keyhole_sdk_macros::Props;

pub use serde;
pub use serde_json;

/// What most steps use.
///
/// `#[derive(Serialize)]` and `#[derive(Deserialize)]` want `serde` among the step's own dependencies.
pub mod prelude {
    pub use crate::http;
    pub use crate::{Account, Ctx, DataStore, Error, ErrorKind, Props, Result};
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
}

/// For the code that the macros generate. Not public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::bindings::Guest;
    pub use crate::bindings::export_step;
    pub use crate::bindings::keyhole::step::types::{Failure, Input};
    pub use crate::props::{Declared, Kind, Values};
    pub use crate::step::{About, configure, definition, nothing_to_configure, run};
}
