//! Requests of a browser without the browser: for what a browser of our own would not send.

use keyhole_tests::served::Served;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};

/// A client that sends what it is told, calls from `127.0.0.x`, and goes nowhere by itself.
pub fn client(x: u8) -> Client {
    // The tests bring the provider that the program brings.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, x]));
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends it.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a body") }
}

/// A form as a browser writes it.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A member who is signed in.
pub struct Visit {
    client: Client,
    url: String,
    /// `keyhole=…`
    pub cookie: String,
    /// What the pages of this session have in their forms.
    pub form_key: String,
}

impl Visit {
    /// Signs `member` in with a token.
    pub async fn of(served: &Served, member: &str) -> Self {
        let (token, _) = served.token(member, &[]);
        let client = client(1);
        let signed_in = send(posting(&client, &format!("{}/sign-in", served.url), &[("token", &token)])).await;
        assert_eq!(signed_in.status, 303, "{}", signed_in.text);
        let cookie = signed_in.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let visit = Self { client, url: served.url.clone(), cookie, form_key: String::new() };
        let page = visit.get("/accounts").await;
        let (_, after) = page.text.split_once("name=\"form_key\" value=\"").expect("a form");
        let form_key = after.split('"').next().unwrap_or_default().to_owned();
        Self { form_key, ..visit }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.client.get(format!("{}{path}", self.url)).header("cookie", &self.cookie)).await
    }

    /// An answer that has begun.
    pub async fn begin(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url)).header("cookie", &self.cookie);
        request.send().await.expect("an answer")
    }

    /// Posts these fields and no other.
    pub fn posting(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        posting(&self.client, &format!("{}{path}", self.url), fields).header("cookie", &self.cookie)
    }

    /// Posts them as one of its own pages does.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = [fields, &[("form_key", self.form_key.as_str())]].concat();
        send(self.posting(path, &fields)).await
    }
}

/// A form that is sent to `url`.
pub fn posting(client: &Client, url: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form(fields))
}
