//! Calls to a running `keyhole serve`.

pub use keyhole_tests::served::Served;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// The problem that it is.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self
    }
}

/// A client that calls from `127.0.0.x`.
pub fn client_at(x: u8) -> Client {
    // The tests bring the provider that the program brings.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, x]));
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// One call, with `Authorization` as it is given.
pub async fn call(
    client: &Client,
    method: &str,
    url: &str,
    authorization: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = client.request(Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method"), url);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a body") }
}

/// One call of a member's.
pub async fn by(token: &str, method: &str, url: &str, body: Option<&Value>) -> Answer {
    call(&client_at(1), method, url, Some(&format!("Bearer {token}")), body).await
}
