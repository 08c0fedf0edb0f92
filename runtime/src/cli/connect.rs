//! Connecting by OAuth from a terminal: the browser comes back to a loopback address that
//! this process listens on (RFC 8252, section 7.3), or a code is shown to enter elsewhere.
//! The tokens never come by here: the API fetches and seals them.

use std::time::Duration;

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Args;
use keyhole::server::model::{
    BegunView, ConnectedView, DeviceState, DeviceView, FieldView, Fields, FinishOAuth, Hidden, OAuthView, PollDevice,
    StartOAuth, hidden,
};
use keyhole_host_api::vault::Secret;
use reqwest::Method;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::client::{Acting, Client};
use super::error::{Context as _, Error, Result};
use super::output;
use super::secrets::Values;

/// The flags of OAuth.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "For an app with OAuth")]
pub struct OAuthFlags {
    /// Show a code to enter on another machine, instead of opening a browser here
    #[arg(long)]
    device: bool,

    /// Print the address only; do not open a browser
    #[arg(long)]
    no_browser: bool,

    /// The port of 127.0.0.1 that the browser comes back to, where the service wants to know it [default: any]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Ask for this scope, instead of those of the definition
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
}

impl OAuthFlags {
    /// Whether OAuth is meant: not if the values that it would bring are given.
    pub fn wanted(&self, oauth: &OAuthView, values: &Values, fields: &[FieldView]) -> bool {
        let given =
            |name: &str| values.field.iter().any(|pair| pair.split_once('=').is_some_and(|(given, _)| given == name));
        let from_file = |name: &str| {
            values.secret_file.iter().any(|pair| pair.split_once('=').is_some_and(|(given, _)| given == name))
        };
        let brought =
            fields.iter().filter(|field| field.by_oauth).any(|field| given(&field.name) || from_file(&field.name));
        // A client that asks for itself, or signs, has a secret of its own to give.
        let own = !oauth.asks_member && fields.iter().any(|field| field.secret && !field.by_oauth);
        self.device || !(brought || !own && (values.stdin || values.key_file.is_some()))
    }

    /// Refuses them for an app that has no use for them.
    pub fn must_be_empty(&self, app: &str) -> Result {
        let given = [("--device", self.device), ("--port", self.port.is_some()), ("--scope", !self.scope.is_empty())];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::usage(format!("{flag} is for OAuth, and {app} is connected with its keys"))
                .help(format!("keyhole apps show {app}"))),
            None => Ok(()),
        }
    }
}

/// The values that the service does not bring.
pub fn fields(values: &Values, fields: &[FieldView], app: &str) -> Result<Fields> {
    let asked: Vec<FieldView> = fields.iter().filter(|field| !field.by_oauth).cloned().collect();
    Ok(hidden(values.gather(&asked, app)?))
}

/// Connects, or reconnects, whichever `start` says.
pub async fn by_oauth(
    client: &Client,
    by: &Acting,
    mut start: StartOAuth,
    oauth: &OAuthView,
    flags: &OAuthFlags,
) -> Result<ConnectedView> {
    if !flags.scope.is_empty() {
        start.scopes = Some(flags.scope.clone());
    }
    if !oauth.asks_member {
        return client.send(Method::POST, Some(by), &["oauth", "client"], &start).await;
    }
    if flags.device { by_code(client, by, start).await } else { by_browser(client, by, start, flags).await }
}

async fn by_browser(client: &Client, by: &Acting, mut start: StartOAuth, flags: &OAuthFlags) -> Result<ConnectedView> {
    let listener = TcpListener::bind(("127.0.0.1", flags.port.unwrap_or(0)))
        .await
        .doing("the browser would have nowhere to come back to")
        .help("choose another --port, or use --device")?;
    let here = format!("http://{}", listener.local_addr()?);
    start.redirect_uri = Some(format!("{here}/callback"));
    let begun: BegunView = client.send(Method::POST, Some(by), &["oauth", "begin"], &start).await?;

    let (came_back, mut answers) = mpsc::channel(8);
    let routes = axum::Router::new().route("/callback", get(answer)).with_state(came_back);
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    output::stderr_line(&format!("allow it in your browser, at\n  {}", begun.url));
    if !flags.no_browser {
        // That there is none to open is no error: the address is on the screen.
        let _ = open::that_detached(&begun.url);
    }
    let finished = tokio::time::timeout(until(begun.expires), async {
        loop {
            let Some(target) = answers.recv().await else { return Err(Error::new("listening for the browser ended")) };
            let callback = format!("{here}{target}");
            // Whatever else comes to this port must not end the attempt.
            if callback_state(&callback).as_deref() == Some(begun.state.as_str()) {
                let finish = FinishOAuth { callback: Hidden(Secret::new(callback)) };
                return client.send(Method::POST, Some(by), &["oauth", "finish"], &finish).await;
            }
        }
    });
    let ended = tokio::select! {
        ended = finished => ended,
        () = super::interrupt() => return Err(Error::interrupted()),
    };
    serving.abort();
    ended.unwrap_or_else(|_| {
        Err(Error::new("nobody came back from the browser in time").help("try again, or use --device"))
    })
}

fn callback_state(callback: &str) -> Option<String> {
    let url = url::Url::parse(callback).ok()?;
    url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned())
}

async fn answer(State(came_back): State<mpsc::Sender<String>>, uri: Uri) -> impl IntoResponse {
    let _ = came_back.send(uri.to_string()).await;
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")],
        "Keyhole has the answer. How it went is on the terminal; you can close this page.\n",
    )
}

async fn by_code(client: &Client, by: &Acting, start: StartOAuth) -> Result<ConnectedView> {
    let begun: DeviceView = client.send(Method::POST, Some(by), &["oauth", "device"], &start).await?;
    output::stderr_line(&format!(
        "on any machine with a browser, open\n  {}\nand enter the code  {}",
        output::visible(&begun.verification_uri),
        output::visible(&begun.user_code)
    ));
    if let Some(address) = &begun.verification_uri_complete {
        output::stderr_line(&format!("or open\n  {}", output::visible(address)));
    }
    let poll = PollDevice { ticket: Hidden(Secret::new(begun.ticket)) };
    let asked = async {
        let mut wait = Duration::from_millis(begun.interval);
        loop {
            tokio::time::sleep(wait).await;
            match client.send(Method::POST, Some(by), &["oauth", "device", "poll"], &poll).await? {
                DeviceState::Pending(milliseconds) => wait = Duration::from_millis(milliseconds.max(100)),
                DeviceState::Connected(connected) => return Ok(connected),
            }
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(until(begun.expires), asked) => {
            ended.unwrap_or_else(|_| Err(Error::new("nobody entered the code in time").help("try again")))
        }
        () = super::interrupt() => Err(Error::interrupted()),
    }
}

/// How long it is until `then`, and a little more: that it is over is the API's word.
fn until(then: jiff::Timestamp) -> Duration {
    Duration::try_from(then.duration_since(jiff::Timestamp::now())).unwrap_or_default() + Duration::from_secs(5)
}
