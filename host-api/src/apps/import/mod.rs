//! Drafts of definitions, made from what a service publishes of itself: an OpenAPI document,
//! or the metadata of its authorization server. Or from what a person says of it.
//!
//! Nothing in here opens a connection or follows a reference out of the document, and no
//! text of a document is trusted: what is drafted has passed the loader that reads
//! definitions, and every guess is marked for the operator to check.

mod credential;
mod deny;
mod discovery;
mod draft;
mod listed;
mod openapi;
mod parse;
mod said;
mod security;
mod server;
mod servers;
#[cfg(test)]
mod tests;
mod text;

use url::Url;

use super::AppError;

pub use discovery::{discovery, discovery_urls};
pub use openapi::openapi;
pub use parse::{SyntaxError, parse};
pub use said::said;

/// Most bytes of a document that [`parse`] reads: the longest OpenAPI document in wide use
/// has 47 MB.
pub const MAX_DOCUMENT: usize = 64 << 20;

/// What the operator says beside the document.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The app's name, instead of one made from the document's.
    pub name: Option<String>,
    /// Where requests start, instead of the document's servers. `https` alone.
    pub base_url: Option<Url>,
    /// Where the document is from, for servers that it gives relative to itself.
    pub document: Option<Url>,
}

/// A definition for the operator to look through.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Draft {
    /// The app's name.
    pub name: String,
    /// The definition's TOML, with a comment at everything that was guessed or left out.
    /// It passes [`check`](super::check).
    pub definition: String,
    /// The same comments, in the order of the definition.
    pub notes: Vec<String>,
    /// Whether it says where a credential goes. If not, accounts of the app have none.
    pub usable: bool,
    /// Whether members connect by OAuth, so that the operator configures a client.
    pub oauth: bool,
}

/// Why a document gave no draft, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Another kind of document.
    #[error("this is no OpenAPI document: it has neither 'openapi' nor 'swagger' at its top; give the document itself")]
    NotOpenApi,
    /// Swagger 1, or a version to come.
    #[error("the document is of OpenAPI {0}; convert it to OpenAPI 3, which is read, as is Swagger 2.0")]
    Version(String),
    /// The document does not say where the service is.
    #[error("the document names no server that it can be reached at{}; say where requests start: --base-url https://…", because(.0))]
    NoServer(Vec<String>),
    /// Credentials would cross the network in the clear.
    #[error(
        "the document has servers over plain HTTP alone ({0}); if the service has HTTPS, say so: --base-url https://…"
    )]
    OnlyHttp(String),
    /// What the service wants cannot be put in a place.
    #[error("no credential that the document asks for can be put in a request{}; ask the service for a key or a token that is sent as it is", because(.0))]
    Credentials(Vec<String>),
    /// `--base-url` is not fit for a definition.
    #[error("the base URL {url} can't be used: {reason}; give one such as https://api.example.com/v1/")]
    BaseUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--name` is not fit for a definition.
    #[error("'{0}' cannot be an app's name; use a-z, 0-9, '_' and '-', at most 64, and not 'custom'")]
    Name(String),
    /// An issuer that RFC 8414 (section 2) does not allow.
    #[error("'{0}' cannot be an issuer; give an https URL without a query and a fragment")]
    Issuer(String),
    /// Metadata of somebody else (RFC 8414, section 3.3).
    #[error(
        "the metadata is of the issuer '{found}', not of '{asked}'; if that is who you mean, ask for it as it is written"
    )]
    OtherIssuer {
        /// Who was asked for.
        asked: String,
        /// Who answered.
        found: String,
    },
    /// Metadata without what an account is connected by.
    #[error("the metadata has no {0}, without which no account can be connected; ask the server's operator for it")]
    Metadata(&'static str),
    /// A way for a client to prove itself, or a flow, that Keyhole does not have.
    #[error("the server wants {wanted}, which Keyhole does not do; configure the server to allow {instead}")]
    NotDone {
        /// What the server wants.
        wanted: String,
        /// What would do.
        instead: &'static str,
    },
    /// The loader refused what was drafted.
    #[error("the document leads to a definition that is not allowed: {}; write one by hand", first(.0))]
    Refused(Vec<AppError>),
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

fn first(errors: &[AppError]) -> &str {
    errors.first().map_or("no reason was given", |error| &error.message)
}
