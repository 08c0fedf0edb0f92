//! Whose credentials these are: the userinfo request of a definition's `[oauth]`, or its
//! `[test]`, sent by the host itself. What comes back is shown only scrubbed.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::OAuth;
use super::answer::line;
use crate::apps::{App, BaseUrlError, OAuthDef, OkCheck, Place, SigV4Def, UserInfo, first_text};
use crate::broker::scrub::Scrubber;
use crate::broker::{CallError, label};
use crate::sign::{oauth1, sigv4};
use crate::vault::Secret;

/// The plain field that, if a definition has it, is filled with what identifies the
/// account at the service.
pub(super) const OAUTH_UID: &str = "oauth_uid";
/// How long the service has for a whole answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Whose an account is, as the service says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// What identifies it there.
    pub uid: Option<String>,
    /// What a person would recognise it by.
    pub nickname: Option<String>,
}

/// Why credentials did not pass their test.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TestError {
    /// The service does not take them. The text is scrubbed.
    #[error("{service} answered {status}{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Refused {
        /// The app.
        service: String,
        /// The answer's status.
        status: u16,
        /// What it said.
        said: Option<String>,
    },
    /// The answer is not what the definition expects.
    #[error("{service} answered something else than its definition expects: {what}")]
    Unexpected {
        /// The app.
        service: String,
        /// What is missing.
        what: &'static str,
    },
    /// The request cannot be made from the fields.
    #[error(transparent)]
    Url(#[from] BaseUrlError),
    /// A field that no header can have.
    #[error("a field has characters that cannot be sent; give it anew")]
    Field,
    /// No answer came.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What of a request's answer counts.
struct Expected<'a> {
    status: Option<&'a [u16]>,
    ok: Option<&'a OkCheck>,
    error: &'a [String],
    uid: &'a [String],
    nickname: &'a [String],
}

impl OAuth {
    /// Sends the test request of `app`'s definition with these fields, whether they are
    /// keys or tokens. `None` if it has none.
    ///
    /// # Errors
    /// What the service says, or why nothing was heard from it.
    pub async fn test(
        &self,
        app: &App,
        plain: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Option<Identity>, TestError> {
        if let Some(def) = &app.sigv4
            && let Some((service, whose)) = &def.identity
        {
            return self.identify_signed(app, def, service, whose, plain, secrets).await.map(Some);
        }
        let (Some(test), Some(url)) = (&app.test, app.test_url(plain)) else { return Ok(None) };
        let request = request(app, test.method.clone(), url?, plain, secrets)?;
        let list = |pointer: &Option<String>| pointer.iter().cloned().collect::<Vec<_>>();
        let (error, uid, nickname) = (list(&test.error), list(&test.uid), list(&test.nickname));
        let expected = Expected {
            status: Some(&test.status),
            ok: test.ok.as_ref(),
            error: &error,
            uid: &uid,
            nickname: &nickname,
        };
        self.ask_whose(app, request, expected, secrets).await.map(Some)
    }

    /// Whose the keys are that sign.
    async fn identify_signed(
        &self,
        app: &App,
        def: &SigV4Def,
        service: &str,
        whose: &UserInfo,
        plain: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Identity, TestError> {
        let url = whose.url.url(plain)?;
        let mut request = Request::builder()
            .method(whose.method.clone())
            .uri(url.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| TestError::Field)?;
        let what = (&whose.method, &url, request.headers_mut());
        sigv4::sign_own(def, service, what, plain, secrets, Timestamp::now()).ok_or(TestError::Field)?;
        let error = [String::from("/Error/Message"), String::from("/Error/Code"), String::from("/message")];
        let expected =
            Expected { status: None, ok: whose.ok.as_ref(), error: &error, uid: &whose.uid, nickname: &whose.nickname };
        self.ask_whose(app, request, expected, secrets).await
    }

    /// Whose the tokens are. Nothing is known of it where the definition has no request that tells.
    pub(super) async fn identify(
        &self,
        app: &App,
        def: &OAuthDef,
        plain: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Identity, TestError> {
        let Some(userinfo) = &def.userinfo else {
            return Ok(self.test(app, plain, secrets).await?.unwrap_or_default());
        };
        let token = secrets.get(&def.access_token).ok_or(TestError::Field)?;
        let request = Request::builder()
            .method(userinfo.method.clone())
            .uri(userinfo.url.url(plain)?.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expose()))
            .body(Vec::new())
            .map_err(|_| TestError::Field)?;
        let error = [String::from("/error_description"), String::from("/error"), String::from("/message")];
        let expected = Expected {
            status: None,
            ok: userinfo.ok.as_ref(),
            error: &error,
            uid: &userinfo.uid,
            nickname: &userinfo.nickname,
        };
        let identity = self.ask_whose(app, request, expected, secrets).await?;
        if identity.uid.is_none() {
            return Err(TestError::Unexpected { service: app.title.clone(), what: "no id where userinfo.uid says" });
        }
        Ok(identity)
    }

    async fn ask_whose(
        &self,
        app: &App,
        request: Request<Vec<u8>>,
        expected: Expected<'_>,
        secrets: &BTreeMap<String, Secret>,
    ) -> Result<Identity, TestError> {
        let answer = self.calls.send(request, LIMIT).await?;
        let status = answer.status();
        let value: Option<Value> = serde_json::from_slice(answer.body()).ok();
        let fits = expected.status.map_or(status.is_success(), |list| list.contains(&status.as_u16()));
        let holds = expected.ok.is_none_or(|ok| value.as_ref().is_some_and(|value| ok.holds(value)));
        let known = secrets.iter().map(|(name, secret)| (secret.clone(), label(&app.name, name))).collect();
        let scrubber = Scrubber::new(known);
        let shown = |text: String, most: usize| line(&scrubber.scrub_text(&text), most);
        if !fits || !holds {
            let said = value.as_ref().and_then(|value| first_text(expected.error, value)).map(|said| shown(said, 300));
            return Err(TestError::Refused { service: app.title.clone(), status: status.as_u16(), said });
        }
        let Some(value) = value else {
            if expected.uid.is_empty() && expected.nickname.is_empty() {
                return Ok(Identity::default());
            }
            return Err(TestError::Unexpected { service: app.title.clone(), what: "no JSON" });
        };
        Ok(Identity {
            uid: first_text(expected.uid, &value).map(|uid| shown(uid, 200)),
            nickname: first_text(expected.nickname, &value).map(|nickname| shown(nickname, 100)),
        })
    }
}

/// A request as the definition's places have it, with the credentials themselves in them.
fn request(
    app: &App,
    method: http::Method,
    mut url: Url,
    plain: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Request<Vec<u8>>, TestError> {
    let value = |name: &str| secrets.get(name).map(Secret::expose).or_else(|| plain.get(name).map(String::as_str));
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, template) in &app.headers {
        headers.extend(template.render(|name| plain.get(name).map(String::as_str)).map(|v| (name.to_string(), v)));
    }
    for place in app.request_places(|name| value(name).is_some()) {
        match place {
            Place::Header { name, template } => {
                headers.extend(template.render(value).map(|value| (name.to_string(), value)));
            }
            Place::Encoded { name, value: encoded } => {
                let rendered = encoded.template().render(value);
                headers.extend(rendered.map(|text| (name.to_string(), encoded.write(&text).to_string())));
            }
            Place::Query { name, template } => {
                if let Some(value) = template.render(value) {
                    url.query_pairs_mut().append_pair(name, &value);
                }
            }
            Place::Basic { username, password } => {
                if let (Some(username), Some(password)) = (username.render(value), password.render(value)) {
                    let basic = STANDARD.encode(format!("{username}:{password}"));
                    headers.push(("authorization".to_owned(), format!("Basic {basic}")));
                }
            }
            // Tests send no body, and no secret in their path.
            Place::Segment { .. } | Place::Json { .. } | Place::Form { .. } | Place::Part { .. } => {}
        }
    }
    let asked = method.clone();
    let mut request = Request::builder().method(method).uri(url.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let (Some(def), Some(headers)) = (&app.oauth1, request.headers_mut()) {
        let signed = oauth1::sign_own(def, &asked, &url, secrets, plain).ok_or(TestError::Field)?;
        headers.insert(header::AUTHORIZATION, signed);
    }
    request.body(Vec::new()).map_err(|_| TestError::Field)
}
