//! Requests to the operator's collector. The settings' headers go with each, and are shown by none.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use opentelemetry_http::{HttpClient, HttpError, ResponseBodyTooLarge};

use super::Options;

/// How long one request may take. A run waits for none.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are read of an answer.
const ANSWER: usize = 64 << 10;

/// Where telemetry goes.
pub(super) struct Collector {
    http: reqwest::Client,
    headers: HeaderMap,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    pub fn new(options: &Options) -> Result<Self, reqwest::Error> {
        // The program's one provider of TLS; the client takes it as the process's default.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(WITHIN)
            .timeout(WITHIN);
        if let Some(pem) = &options.ca_cert {
            builder = builder.tls_certs_merge([reqwest::Certificate::from_pem(pem.as_bytes())?]);
        }
        Ok(Self { http: builder.build()?, headers: options.headers.clone() })
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        for (name, value) in &self.headers {
            parts.headers.insert(name, value.clone());
        }
        let sent = self.http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send();
        let mut answer = sent.await?;
        let mut read = BytesMut::new();
        while let Some(piece) = answer.chunk().await? {
            if read.len() + piece.len() > ANSWER {
                return Err(ResponseBodyTooLarge::new().into());
            }
            read.extend_from_slice(&piece);
        }
        let mut response = Response::new(read.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}
