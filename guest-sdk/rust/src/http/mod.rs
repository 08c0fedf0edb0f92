//! Requests, in the manner of `reqwest`. All of them leave through the host's
//! broker, which checks each and puts the credential where its placeholder is.
//!
//! ```no_run
//! # fn f(acme: keyhole_sdk::Account) -> keyhole_sdk::Result<()> {
//! use keyhole_sdk::http;
//!
//! let me: serde_json::Value = http::get("https://api.acme.example/v1/me")
//!     .bearer_auth(acme.auth("api_key")?)
//!     .query(&[("fields", "id,name")])
//!     .send()?
//!     .error_for_status()?
//!     .json()?;
//! # Ok(()) }
//! ```
//!
//! Several at once: [`RequestBuilder::start`] returns while the request is under way.
//!
//! ```no_run
//! # fn f() -> keyhole_sdk::Result<()> {
//! use keyhole_sdk::http;
//!
//! let under_way = (1..=5).map(|page| http::get("https://api.acme.example/v1/items").query(&[("page", page)]).start());
//! for response in http::wait_all(under_way.collect::<Result<Vec<_>, _>>()?) {
//!     println!("{}", response?.text()?);
//! }
//! # Ok(()) }
//! ```

mod body;
mod client;
mod failure;
mod head;
mod pending;
mod request;
mod response;
mod target;

pub use body::{Body, Upload};
pub use client::Client;
pub use head::{Headers, Method, Status};
pub use pending::{Pending, wait_all, wait_any};
pub use request::RequestBuilder;
pub use response::Response;

/// A `GET` to `url`.
pub fn get(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Get, url)
}

/// A `POST` to `url`.
pub fn post(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Post, url)
}

/// A `PUT` to `url`.
pub fn put(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Put, url)
}

/// A `PATCH` to `url`.
pub fn patch(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Patch, url)
}

/// A `DELETE` to `url`.
pub fn delete(url: impl AsRef<str>) -> RequestBuilder {
    request(Method::Delete, url)
}

/// A request with any method, such as `"PROPFIND"` or [`Method::Head`], to `url`.
pub fn request(method: impl Into<Method>, url: impl AsRef<str>) -> RequestBuilder {
    RequestBuilder::new(method.into(), url.as_ref().to_owned())
}
