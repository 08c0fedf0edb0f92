//! Documents that the operator has fetched: by the client and the address guard of every other
//! request, with nothing that says who asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use url::Url;

use super::Egress;
use super::own::{CallError, OwnCalls, WayOut};

/// Most redirects that are followed.
const REDIRECTS: usize = 5;

/// Fetches documents.
pub struct Fetch {
    calls: OwnCalls,
    limit: Duration,
    most: usize,
}

/// A document and where it was.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where, after redirects.
    pub url: Url,
    /// Its bytes.
    pub body: Bytes,
}

/// Why there is no document.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// A URL that is not fetched.
    #[error("{0} is not fetched; give an https address without a user name")]
    Url(Box<Url>),
    /// No answer.
    #[error("{url} can't be fetched: {error}; check the address, or fetch the document yourself")]
    Call {
        /// Where it was asked for.
        url: Box<Url>,
        /// What went wrong.
        error: CallError,
    },
    /// The server has none, or does not give it to everyone.
    #[error("{url} answers with status {status}; check the address, or fetch the document yourself")]
    Status {
        /// Where it was asked for.
        url: Box<Url>,
        /// The answer's status.
        status: u16,
    },
    /// Redirects without end, or without where to.
    #[error("{0} leads from redirect to redirect; give the document's own address")]
    Redirects(Box<Url>),
}

impl Fetch {
    /// Fetches with this way out: documents of at most `most` bytes, each redirect within `limit`.
    /// Opens no connection.
    pub fn new(egress: Egress, limit: Duration, most: usize) -> Self {
        Self { calls: OwnCalls::new(Arc::new(WayOut::new(egress))), limit, most }
    }

    /// Fetches the document at `url`, following redirects from `https` to `https`.
    ///
    /// # Errors
    ///
    /// If there is none, or not within the limits.
    pub async fn document(&self, url: &Url) -> Result<Fetched, FetchError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.once(&url).await?;
            let status = answer.status();
            if status.is_success() {
                return Ok(Fetched { url, body: answer.into_body() });
            }
            if !status.is_redirection() {
                return Err(FetchError::Status { url: Box::new(url), status: status.as_u16() });
            }
            let target = answer.headers().get(header::LOCATION).and_then(|target| target.to_str().ok());
            match target.and_then(|target| url.join(target).ok()) {
                Some(next) => url = next,
                None => return Err(FetchError::Redirects(Box::new(url))),
            }
        }
        Err(FetchError::Redirects(Box::new(url)))
    }

    /// Fetches what is at `url` itself, and at no other: metadata, which is its issuer's word.
    ///
    /// # Errors
    ///
    /// If there is none, or not within the limits.
    pub async fn exactly(&self, url: &Url) -> Result<Fetched, FetchError> {
        let answer = self.once(url).await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(FetchError::Status { url: Box::new(url.clone()), status: status.as_u16() });
        }
        Ok(Fetched { url: url.clone(), body: answer.into_body() })
    }

    async fn once(&self, url: &Url) -> Result<http::Response<Bytes>, FetchError> {
        let refused = || FetchError::Url(Box::new(url.clone()));
        if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
            return Err(refused());
        }
        let request = http::Request::get(url.as_str())
            .header(header::ACCEPT, "application/json, application/yaml;q=0.9, */*;q=0.5")
            .body(Vec::new())
            .map_err(|_| refused())?;
        let failed = |error| FetchError::Call { url: Box::new(url.clone()), error };
        self.calls.send_for(request, self.limit, self.most).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_but_https_is_asked_and_no_closed_address() {
        let fetch = Fetch::new(Egress::default(), Duration::from_secs(5), 1024);
        for bad in ["http://acme.com/", "file:///etc/passwd", "https://a:b@acme.com/"] {
            let error = fetch.document(&bad.parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, FetchError::Url(_)), "{bad}: {error}");
        }
        for bad in ["https://127.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/"] {
            let error = fetch.document(&bad.parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, FetchError::Call { .. }), "{bad}: {error}");
        }
    }
}
