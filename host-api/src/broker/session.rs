//! One attempt at one step, as the broker sees it: the accounts that it was handed, the
//! placeholders that stand for their secrets, and the story of each request.
//!
//! The story, in [`Session::send`]: one URL → policy → survey for placeholders → grant →
//! destination → intent on disk → substitute → send → scrub. Each check that fails, or
//! can't be made, ends it before anything leaves. Tokens that expire are refreshed before
//! the credential is put in; those that a service refuses, and then it is told once more.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use url::Url;

use super::audit::AuditError;
use super::body::Body;
use super::client::{Answer, TransportError};
use super::exchange::{self, Outbound};
use super::handed::{Handed, Opened};
use super::limits::Timeouts;
use super::meter::{Meter, Tally};
use super::placeholder::label;
use super::policy;
use super::record::{self, Record, Requests};
use super::retry::Attempts;
use super::scrub::{Latest, Scrubber};
use super::signature::{self, Asked};
use super::survey::{self, BodyWatch, Format, Substituted, Survey};
use super::{AccessError, Broker, Brokered, Injected, Link, Scope, SendError, SignError};
use crate::accounts::{Account, AccountId, UseError};
use crate::apps::App;
use crate::oauth::Need;
use crate::sign::{self, oauth1, sigv4};
use crate::vault::VaultError;

/// Longest message that is signed, in bytes.
const SIGNED_BYTES: usize = 1 << 20;

/// One attempt at one step.
pub struct Session {
    broker: Arc<Broker>,
    scope: Scope,
    state: Mutex<Handed>,
    /// Made with the first request: an attempt may send none.
    traffic: OnceLock<Traffic>,
}

/// The requests of a session.
struct Traffic {
    requests: Requests,
    /// The requests that are not over.
    open: TaskTracker,
    /// Finds every secret that the attempt was handed so far, for answers under way, too.
    latest: Latest,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests: Arc::default(),
            open: TaskTracker::new(),
            latest: Arc::new(Mutex::new(Arc::new(Scrubber::new(Vec::new())))),
        }
    }
}

/// A request that was let in.
pub(super) struct Admitted {
    /// Its places among the requests at once. They are held until the answer's body has ended.
    pub(super) places: Vec<OwnedSemaphorePermit>,
    /// Who counts its bytes.
    pub(super) tally: Tally,
    /// What the step waits.
    pub(super) timeouts: Timeouts,
}

impl Admitted {
    /// Takes a turn in these books, too.
    async fn enter(&mut self, meter: &Arc<Meter>, patience: Duration) -> Result<(), SendError> {
        self.places.extend(meter.enter(patience).await?);
        self.tally.add(meter.clone());
        Ok(())
    }
}

impl Session {
    pub(super) fn new(broker: Arc<Broker>, scope: Scope) -> Self {
        Self { broker, scope, state: Mutex::default(), traffic: OnceLock::new() }
    }

    fn traffic(&self) -> &Traffic {
        self.traffic.get_or_init(Traffic::default)
    }

    /// What the session was made for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The account linked to `prop`: the grant is read from the store, and a placeholder
    /// stands for each of its secrets.
    pub async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        if let Some(app) = self.without_account(prop) {
            return Injected::without_account(app).map_err(|error| AccessError::Unavailable(error.to_string()));
        }
        let (account, app) = self.linked(prop).await.inspect_err(|error| self.refused(prop, error))?;
        let mut state = self.state();
        if let Some((id, injected)) = state.injected.get(prop)
            && *id == account.id
        {
            return Ok(injected.clone());
        }
        let injected = state.inject(prop, &account, &app)?;
        state.injected.insert(prop.to_owned(), (account.id.clone(), injected.clone()));
        state.hold(&account);
        // The placeholder is new, and is what takes the secret's place from now on.
        state.known = false;
        Ok(injected)
    }

    /// Signs `message` for a purpose that the definition of the account's app lists.
    pub async fn sign_hmac(&self, prop: &str, purpose: &str, message: &[u8]) -> Result<String, SignError> {
        let (account, app) = self.linked(prop).await.inspect_err(|error| self.refused(prop, error))?;
        let Some(signing) = app.signing.get(purpose) else {
            let listed = app.signing.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let listed = if listed.is_empty() { "nothing".to_owned() } else { listed };
            return Err(SignError::NotAllowed { app: app.name.clone(), purpose: purpose.to_owned(), listed });
        };
        if message.len() > SIGNED_BYTES {
            return Err(SignError::TooLong(message.len()));
        }
        let key = self
            .broker
            .accounts
            .secret(&account, &signing.key)
            .map_err(|error| AccessError::Unavailable(error.to_string()))?;
        self.state().hold(&account);
        Ok(sign::hmac::hmac(signing, &key, message))
    }

    /// Puts a label where `text` holds a placeholder. Whatever is recorded goes through here.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Handed { table, redactor, .. } = &mut *self.state();
        redactor.redact(table, text)
    }

    /// The requests so far, in the order in which they were made.
    pub fn requests(&self) -> Vec<Brokered> {
        let Some(Traffic { requests, .. }) = self.traffic.get() else { return Vec::new() };
        requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Sends one request of the step, or refuses it. Again, where the scope asks for that and it does no harm.
    pub async fn send(
        self: Arc<Self>,
        request: Request<Body>,
        timeouts: Timeouts,
    ) -> Result<Response<Body>, SendError> {
        if self.scope.retries == 0 || !request.method().is_idempotent() {
            return self.once(request, timeouts).await;
        }
        let (parts, body) = request.into_parts();
        let body = match Outbound::read(body, &parts.headers, self.scope.books.limits(), false).await {
            Ok(Outbound::Whole(body)) => body,
            Ok(Outbound::Streaming(body)) => return self.once(Request::from_parts(parts, body), timeouts).await,
            Err(error) => {
                self.record(&parts.method)?.failed(&error);
                return Err(error);
            }
        };
        let mut attempts = Attempts::new(self.scope.retries, self.first_byte(timeouts));
        loop {
            let request = Request::from_parts(parts.clone(), exchange::whole(body.clone()));
            let outcome = self.once(request, attempts.within(timeouts)).await;
            let Some(again) = attempts.next(&outcome) else { return outcome };
            drop(outcome);
            tokio::time::sleep_until(again).await;
        }
    }

    async fn once(&self, request: Request<Body>, timeouts: Timeouts) -> Result<Response<Body>, SendError> {
        let mut record = self.record(request.method())?;
        let outcome = self.attempt(request, timeouts, &mut record).await.map_err(|error| self.cleaned(error));
        if let Err(error) = &outcome {
            record.failed(error);
        }
        outcome
    }

    /// The record of one more request, if the run may send one more.
    fn record(&self, method: &Method) -> Result<Record, SendError> {
        self.scope.books.count()?;
        let traffic = self.traffic();
        Ok(Record::new(&self.scope, method, &self.broker.audit, &traffic.requests, traffic.open.token()))
    }

    async fn attempt(
        &self,
        request: Request<Body>,
        timeouts: Timeouts,
        record: &mut Record,
    ) -> Result<Response<Body>, SendError> {
        let limits = self.scope.books.limits();
        let (mut parts, body) = request.into_parts();
        let url = policy::url(&parts.uri)?;
        record.destination(&url, &self.shown_path(&url));
        // A signature may cover what is taken out next.
        let as_signed = sigv4::is_signed(&parts.headers).then(|| parts.headers.clone());
        policy::clean(&parts.method, &mut parts.headers)?;

        let mut admitted = self.admitted(timeouts).await?;
        let must_be_whole = self.has_body_place(&parts.headers)
            || as_signed.as_ref().is_some_and(signature::needs_whole_body)
            || (oauth1::is_form(&parts.headers) && self.has_oauth1());
        let body = Outbound::read(body, &parts.headers, limits, must_be_whole).await?;
        let Some(survey) = self.survey(&url, &parts.headers, body.whole().as_deref())? else {
            self.plain_may_reach(&url).await?;
            if let Some(meter) = self.broker.meters().workspace() {
                admitted.enter(meter, self.first_byte(timeouts)).await?;
            }
            let answer = self.forward(&parts.method, url, parts.headers, body, record, &admitted).await?;
            return exchange::answer(answer, &parts.method, self.traffic().latest.clone(), limits, record, admitted)
                .await;
        };
        let again = body.again();
        let asked = Asked { parts: &parts, url: &url, as_signed: as_signed.as_ref() };
        let (account, with) = self.credentialed(&survey, asked, body.whole(), record, &mut admitted).await?;
        let body = body.or_rewritten(with.body).signed_again(with.chunks)?;
        let mut answer = self.forward(&parts.method, with.url, with.headers, body, record, &admitted).await?;
        record.status(answer.status());
        // Once: the tokens that come of it are fresh, so a second refusal is the service's word.
        if answer.status() == StatusCode::UNAUTHORIZED
            && self.refreshed(&account, Need::Refusal, timeouts).await.is_ok_and(|changed| changed)
            && let Some(body) = again
        {
            let (_, with) = self.credentialed(&survey, asked, body.whole(), record, &mut admitted).await?;
            let body = body.or_rewritten(with.body).signed_again(with.chunks)?;
            answer = self.forward(&parts.method, with.url, with.headers, body, record, &admitted).await?;
        }
        exchange::answer(answer, &parts.method, self.traffic().latest.clone(), limits, record, admitted).await
    }

    /// Waits until every request is over. They end by themselves when the step's instance is gone.
    pub async fn ended(&self) {
        if let Some(Traffic { open, .. }) = self.traffic.get() {
            open.close();
            open.wait().await;
        }
    }

    /// An error as the step and the records may have it.
    fn cleaned(&self, error: SendError) -> SendError {
        let scrubber = self.traffic().latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        error.cleaned(|text| scrubber.scrub_text(text).into_owned())
    }

    /// The path for the records. A step may have encoded a placeholder in it.
    fn shown_path(&self, url: &Url) -> String {
        let decoded = percent_decode_str(url.path()).decode_utf8_lossy();
        match self.state().table.redact_names(&decoded) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => url.path().to_owned(),
        }
    }

    /// Whether an account that the step was handed has a place in a body with these headers.
    fn has_body_place(&self, headers: &HeaderMap) -> bool {
        let Some(format) = Format::of(headers) else { return false };
        self.state().parties.values().any(|party| party.app.all_places().any(|place| format.has(place)))
    }

    /// Whether an account that the step was handed signs by OAuth 1.0a, a form's fields included.
    fn has_oauth1(&self) -> bool {
        self.state().parties.values().any(|party| party.app.oauth1.is_some())
    }

    /// Sends what passed every check.
    async fn forward(
        &self,
        method: &Method,
        url: Url,
        mut headers: HeaderMap,
        body: Outbound,
        record: &mut Record,
        admitted: &Admitted,
    ) -> Result<Answer, SendError> {
        let limits = self.scope.books.limits();
        let body = body.into_client_body(method, &mut headers, self.watch(), limits, &record.sent, &admitted.tally)?;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers;
        // What can't be scrubbed must not be asked for.
        self.know_secrets().await?;
        let line = self.broker.way_out.line();
        let client = line.client().map_err(TransportError::from)?;
        // It is sent a second time where the first was answered 401.
        let left_before = std::mem::replace(&mut record.left, true);
        let answer = tokio::time::timeout(self.first_byte(admitted.timeouts), client.send(&url, request)).await;
        let answer = answer.map_err(|_| TransportError::Timeout).and_then(|answer| answer);
        if matches!(answer, Err(TransportError::Closed(_))) {
            record.left = left_before;
        }
        Ok(answer?)
    }

    fn first_byte(&self, timeouts: Timeouts) -> Duration {
        let limit = self.scope.books.limits().first_byte;
        timeouts.first_byte.map_or(limit, |asked| asked.min(limit))
    }

    /// Sees to it that the account's tokens are fresh. Whether it is to be read again.
    async fn refreshed(&self, account: &Account, need: Need, timeouts: Timeouts) -> Result<bool, SendError> {
        match tokio::time::timeout(self.first_byte(timeouts), self.broker.oauth.fresh(account, need)).await {
            Ok(outcome) => outcome.map_err(|error| SendError::Unavailable(error.to_string())),
            Err(_) => Err(TransportError::Timeout.into()),
        }
    }

    /// Lets a request in, as far as the run itself goes.
    async fn admitted(&self, timeouts: Timeouts) -> Result<Admitted, SendError> {
        let books = &self.scope.books;
        let place = books.enter(self.first_byte(timeouts)).await?;
        Ok(Admitted { places: vec![place], tally: Tally::new(books.clone()), timeouts })
    }

    /// The request carries a placeholder: reads the grant again, holds the destination
    /// against the account's hosts, puts the intent on disk, and only then the credential
    /// in its place.
    async fn credentialed(
        &self,
        survey: &Survey,
        asked: Asked<'_>,
        body: Option<Bytes>,
        record: &mut Record,
        admitted: &mut Admitted,
    ) -> Result<(Arc<Account>, Substituted), SendError> {
        let Asked { parts, url, .. } = asked;
        let id = &survey.party().account.id;
        record.used.account = Some(id.to_string());
        record.used.app = Some(survey.party().account.app.clone());
        let refused = |error| match error {
            UseError::Store(error) => SendError::Unavailable(error.to_string()),
            other => SendError::Refused(other.to_string()),
        };
        let mut account = self.usable(id).await.map_err(refused)?;
        let meters = self.broker.meters();
        if !record.intended && meters.any() {
            // Who would be refused takes nobody's turn.
            self.may_reach(&account, asked)?;
            if let Some(meter) = meters.account(id) {
                admitted.enter(&meter, self.first_byte(admitted.timeouts)).await?;
            }
            if let Some(meter) = meters.workspace() {
                admitted.enter(meter, self.first_byte(admitted.timeouts)).await?;
            }
            // It may have been revoked while the turn was waited for.
            account = self.usable(id).await.map_err(refused)?;
        }
        if self.refreshed(&account, Need::Expiry, admitted.timeouts).await? {
            // The grant, too: it may have been revoked while the refresh was waited for.
            account = self.usable(id).await.map_err(refused)?;
        }
        self.may_reach(&account, asked)?;
        self.state().hold(&account);

        let secrets = self.open(&mut self.state(), &account)?;
        if let Some(field) = survey.fields().into_iter().find(|field| !secrets.contains_key(*field)) {
            return Err(SendError::Unavailable(VaultError::NoField { field: field.to_owned() }.to_string()));
        }
        let mut substituted =
            survey::substitute(survey, url, &parts.headers, body.as_deref(), |field| secrets.get(field))?;
        let placeholder = |field: &str| self.state().table.placeholder_of(&account.id, field).map(str::to_owned);
        signature::sign(survey, asked, body.as_deref(), &account, &secrets, placeholder, &mut substituted)?;
        // One use, one intent, also if it is sent again with refreshed tokens.
        if !record.intended {
            let intended = self.broker.audit.intent(&record.used).await;
            record.intended = matches!(intended, Ok(()) | Err(AuditError::Late(_)));
            intended.map_err(|error| SendError::Unavailable(error.to_string()))?;
            self.broker.accounts.usage().note(&account.id);
        }
        Ok((account, substituted))
    }

    /// Whether a request that carries this account's placeholder may go where it says.
    fn may_reach(&self, account: &Account, Asked { parts, url, .. }: Asked<'_>) -> Result<(), SendError> {
        let app = self.app_of(account).map_err(|error| SendError::Refused(error.to_string()))?;
        let hosts = account.hosts(&app).map_err(|error| SendError::Refused(error.to_string()))?;
        Ok(policy::account_may_reach(&app, &hosts, &parts.method, url, &parts.headers)?)
    }

    /// A request without a placeholder goes to hosts that the workflow opened, and to
    /// those of the accounts that it is linked to.
    async fn plain_may_reach(&self, url: &Url) -> Result<(), SendError> {
        if self.scope.allow_hosts.iter().any(|host| host.matches(url)) {
            return Ok(());
        }
        for link in self.scope.props.values() {
            let Some(id) = &link.account else { continue };
            // An account that can't be used opens no host.
            let Ok(account) = self.usable(id).await else { continue };
            let Ok(app) = self.app_of(&account) else { continue };
            let Ok(hosts) = account.hosts(&app) else { continue };
            if app.allows_scheme(url) && hosts.iter().any(|host| host.matches_url(url)) {
                return Ok(());
            }
        }
        Err(policy::host_not_allowed(url).into())
    }

    async fn usable(&self, id: &AccountId) -> Result<Arc<Account>, UseError> {
        self.broker.accounts.usable(id, &self.scope.member).await
    }

    fn app_of(&self, account: &Account) -> Result<Arc<App>, AccessError> {
        account.app(&self.broker.catalog).ok_or_else(|| {
            AccessError::Unavailable(format!(
                "the catalog has no app '{}'; add its definition with --apps DIR",
                account.app
            ))
        })
    }

    /// The app of `prop`, if nothing is linked to it and nothing needs to be.
    fn without_account(&self, prop: &str) -> Option<&Arc<App>> {
        let link = self.scope.props.get(prop).filter(|link| link.account.is_none())?;
        self.broker.catalog.get(&link.app).filter(|app| !app.takes_account())
    }

    /// The account linked to `prop`, after the grant check.
    async fn linked(&self, prop: &str) -> Result<(Arc<Account>, Arc<App>), AccessError> {
        let Link { app: wanted, account } =
            self.scope.props.get(prop).ok_or_else(|| AccessError::NotDeclared(prop.to_owned()))?;
        let id = account.as_ref().ok_or_else(|| AccessError::NotLinked(prop.to_owned()))?;
        let account = self.usable(id).await?;
        if account.app != *wanted {
            return Err(AccessError::WrongApp {
                prop: prop.to_owned(),
                wanted: wanted.clone(),
                got: account.app.clone(),
            });
        }
        let app = self.app_of(&account)?;
        Ok((account, app))
    }

    /// Records that a linked account was refused to the step, once a prop.
    fn refused(&self, prop: &str, error: &AccessError) {
        let link = self.scope.props.get(prop);
        let Some((link, id)) = link.and_then(|link| Some((link, link.account.as_ref()?))) else { return };
        if self.state().refused.insert(prop.to_owned()) {
            let used = record::refused_account(&self.scope, link, id, error);
            if let Err(error) = self.broker.audit.refusal(&used) {
                tracing::debug!(%error, "a refusal could not be recorded");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, Handed> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Session {
    /// Every placeholder in the request, judged. `None` if there is none.
    fn survey(&self, url: &Url, headers: &HeaderMap, body: Option<&[u8]>) -> Result<Option<Survey>, SendError> {
        let state = self.state();
        Ok(survey::survey(&state.table, &state.parties, url, headers, body)?)
    }

    fn watch(&self) -> BodyWatch {
        BodyWatch::new(&self.state().table)
    }

    /// The account's secrets, which the vault opens once for as long as the record stays as it is.
    fn open(&self, state: &mut Handed, account: &Arc<Account>) -> Result<Opened, SendError> {
        if let Some(opened) = state.opened(account) {
            return Ok(opened);
        }
        let open = |field: &str| {
            let secret = self.broker.accounts.secret(account, field);
            secret.map(|secret| (field.to_owned(), secret)).map_err(|error| SendError::Unavailable(error.to_string()))
        };
        let opened: Opened = Arc::new(account.secret_fields().map(open).collect::<Result<_, _>>()?);
        state.keep(account, &opened);
        Ok(opened)
    }

    /// Makes sure that every secret is found that an answer to this attempt could show.
    async fn know_secrets(&self) -> Result<(), SendError> {
        let all_held = self.state().all_held;
        if !all_held {
            for id in self.scope.props.values().filter_map(|link| link.account.as_ref()) {
                match self.usable(id).await {
                    Ok(account) => self.state().hold(&account),
                    Err(UseError::Store(error)) => return Err(SendError::Unavailable(error.to_string())),
                    // It stays closed to the step, and so do its secrets and its hosts.
                    Err(_) => {}
                }
            }
        }
        let mut state = self.state();
        state.all_held = true;
        if state.known {
            return Ok(());
        }
        let mut secrets = Vec::new();
        for account in state.held.clone() {
            for (field, secret) in &*self.open(&mut state, &account)? {
                let shown = state.table.placeholder_of(&account.id, field);
                let shown = shown.map_or_else(|| label(&account.app, field), str::to_owned);
                secrets.push((secret.clone(), shown));
            }
        }
        state.known = true;
        *self.traffic().latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
            Arc::new(Scrubber::new(secrets));
        Ok(())
    }
}
