//! The host's side of wit/step.wit: accounts, flow, signer. Data stores have a file of their own.
//!
//! Nothing in here decides about access: it asks the [`StepHost`], and passes on what it says.

use wasmtime::component::Resource;

use super::bindings::keyhole::step::{accounts, flow, signer, types};
use super::host::{AccessError, Injected, SignError};
use super::json::Json;
use super::limits::size;
use super::log::Level;
use super::state::{FlowResponse, Pause, Rerun, State, Tokens};

/// Longest wait between two steps: one year, in milliseconds.
const MAX_DELAY: u64 = 366 * 24 * 60 * 60 * 1000;
/// Most header lines of an answer.
const RESPONSE_HEADERS: usize = 100;
/// Bytes of an answer's headers together.
const RESPONSE_HEADER_BYTES: usize = 32 * 1024;
/// Bytes of the reason for an exit.
const REASON_BYTES: usize = 4096;
/// Most times that a step may ask to be run again.
const RERUNS: u32 = 1000;
/// Bytes of what a step keeps for its next time.
const RERUN_BYTES: usize = 64 * 1024;
/// Bytes of an export's name.
const NAME_BYTES: usize = 128;

impl types::Host for State {}

impl accounts::Host for State {
    async fn linked(&mut self, prop: String) -> wasmtime::Result<Result<Resource<Injected>, accounts::AccessError>> {
        match self.host.account(&prop).await {
            Ok(injected) => Ok(Ok(self.table.push(injected)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl accounts::HostAccount for State {
    fn app(&mut self, account: Resource<Injected>) -> wasmtime::Result<String> {
        Ok(self.table.get(&account)?.app.clone())
    }

    fn nickname(&mut self, account: Resource<Injected>) -> wasmtime::Result<String> {
        Ok(self.table.get(&account)?.nickname.clone())
    }

    fn auth(&mut self, account: Resource<Injected>) -> wasmtime::Result<Vec<types::Field>> {
        let fields = self.table.get(&account)?.auth.iter();
        Ok(fields
            .map(|field| types::Field { name: field.name.clone(), value: field.value.clone(), secret: field.secret })
            .collect())
    }

    fn request(&mut self, account: Resource<Injected>) -> wasmtime::Result<accounts::RequestTemplate> {
        let injected = self.table.get(&account)?;
        Ok(accounts::RequestTemplate {
            base_url: injected.base_url.clone(),
            headers: injected.headers.clone(),
            query: injected.query.clone(),
        })
    }

    fn drop(&mut self, account: Resource<Injected>) -> wasmtime::Result<()> {
        self.table.delete(account)?;
        Ok(())
    }
}

impl From<AccessError> for accounts::AccessError {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::NotDeclared(..) => Self::NotDeclared(text),
            AccessError::NotLinked(..) => Self::NotLinked(text),
            AccessError::NoAccess(..) => Self::NoAccess(text),
            AccessError::WrongApp { .. } => Self::WrongApp(text),
            AccessError::ReconnectNeeded(..) => Self::ReconnectNeeded(text),
            AccessError::Deleted(..) => Self::Deleted(text),
            AccessError::Unavailable(..) => Self::Unavailable(text),
        }
    }
}

impl flow::Host for State {
    fn export(&mut self, name: String, value: String) -> wasmtime::Result<Result<(), flow::FlowError>> {
        let limits = &self.limits;
        if name.is_empty() || name.len() > NAME_BYTES {
            return Ok(Err(flow::FlowError::OutOfRange(format!("an export's name has 1 to {NAME_BYTES} bytes"))));
        }
        let old = self.exports.get(&name).map_or(0, |old| name.len() + old.as_str().len());
        let bytes = self.export_bytes - old + name.len() + value.len();
        if bytes > limits.export_bytes {
            return Ok(Err(flow::FlowError::Limit(format!(
                "a run may export {} in all; export a part, or store the rest elsewhere and export where",
                size(limits.export_bytes)
            ))));
        }
        if old == 0 && self.exports.len() >= limits.exports {
            return Ok(Err(flow::FlowError::Limit(format!("a run may have {} exports", limits.exports))));
        }
        match Json::parse(value) {
            Ok(value) => {
                // Without the spaces around it, which parsing took away.
                self.export_bytes = self.export_bytes - old + name.len() + value.as_str().len();
                self.exports.insert(name, value);
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(flow::FlowError::InvalidJson(error.to_string()))),
        }
    }

    fn log(&mut self, level: flow::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            flow::Level::Debug => Level::Debug,
            flow::Level::Info => Level::Info,
            flow::Level::Warn => Level::Warn,
            flow::Level::Error => Level::Error,
        };
        self.log.lock().line(level, message);
        Ok(())
    }

    fn respond(&mut self, response: flow::Response) -> wasmtime::Result<Result<(), flow::FlowError>> {
        if self.flow.response.is_some() {
            return Ok(Ok(()));
        }
        if !(200..=599).contains(&response.status) {
            return Ok(Err(flow::FlowError::OutOfRange("a status is a number from 200 to 599".to_owned())));
        }
        if response.body.len() > self.limits.respond_bytes {
            let limit = size(self.limits.respond_bytes);
            return Ok(Err(flow::FlowError::Limit(format!("an answer's body may have {limit}"))));
        }
        let header_bytes: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if response.headers.len() > RESPONSE_HEADERS || header_bytes > RESPONSE_HEADER_BYTES {
            return Ok(Err(flow::FlowError::Limit(format!(
                "an answer may have {RESPONSE_HEADERS} headers of {} in all",
                size(RESPONSE_HEADER_BYTES)
            ))));
        }
        for (name, value) in &response.headers {
            if http::HeaderName::try_from(name).is_err() || http::HeaderValue::try_from(value).is_err() {
                return Ok(Err(flow::FlowError::OutOfRange(
                    "a header's name is a token and its value is visible ASCII text (RFC 9110, section 5)".to_owned(),
                )));
            }
        }
        let response = FlowResponse {
            status: response.status,
            headers: response.headers,
            body: response.body.into(),
            immediate: response.immediate,
        };
        if response.immediate {
            self.host.respond(response.clone().redacted(&*self.host));
        }
        self.flow.response = Some(response);
        Ok(Ok(()))
    }

    fn exit(&mut self, mut reason: String) -> wasmtime::Result<()> {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        self.flow.exit = Some(reason);
        Ok(())
    }

    fn delay(&mut self, milliseconds: u64) -> wasmtime::Result<Result<(), flow::FlowError>> {
        Ok(within_a_year(milliseconds).map(|()| self.flow.pause = Some(Pause::Delay(milliseconds))))
    }

    fn suspend(&mut self, milliseconds: u64) -> wasmtime::Result<Result<flow::Callbacks, flow::FlowError>> {
        if let Err(error) = within_a_year(milliseconds) {
            return Ok(Err(error));
        }
        let tokens = Tokens::mint()?;
        let callbacks = self.callbacks(&tokens);
        self.flow.pause = Some(Pause::Suspend(milliseconds, tokens));
        Ok(Ok(callbacks))
    }

    fn rerun(
        &mut self,
        milliseconds: u64,
        value: String,
        most: u32,
    ) -> wasmtime::Result<Result<flow::Callbacks, flow::FlowError>> {
        if let Err(error) = within_a_year(milliseconds) {
            return Ok(Err(error));
        }
        if most > RERUNS {
            return Ok(Err(flow::FlowError::OutOfRange(format!("a step is run again {RERUNS} times at most"))));
        }
        if value.len() > RERUN_BYTES {
            let limit = size(RERUN_BYTES);
            return Ok(Err(flow::FlowError::Limit(format!("what is kept for the next time may have {limit}"))));
        }
        let value = match Json::parse(value) {
            Ok(value) => value,
            Err(error) => return Ok(Err(flow::FlowError::InvalidJson(error.to_string()))),
        };
        let tokens = Tokens::mint()?;
        let callbacks = self.callbacks(&tokens);
        self.flow.pause = Some(Pause::Rerun(milliseconds, tokens, Rerun { value, most }));
        Ok(Ok(callbacks))
    }
}

fn within_a_year(milliseconds: u64) -> Result<(), flow::FlowError> {
    match milliseconds <= MAX_DELAY {
        true => Ok(()),
        false => Err(flow::FlowError::OutOfRange(format!("at most one year: {MAX_DELAY} ms"))),
    }
}

impl State {
    fn callbacks(&self, tokens: &Tokens) -> flow::Callbacks {
        let url = |verb: &str, token: &str| self.host.callbacks().map(|base| format!("{base}/{verb}/{token}"));
        flow::Callbacks { resume_url: url("resume", &tokens.resume), cancel_url: url("cancel", &tokens.cancel) }
    }
}

impl signer::Host for State {
    async fn hmac(
        &mut self,
        prop: String,
        purpose: String,
        message: Vec<u8>,
    ) -> wasmtime::Result<Result<String, signer::SignError>> {
        Ok(self.host.sign_hmac(&prop, &purpose, &message).await.map_err(|error| {
            let text = error.to_string();
            match error {
                SignError::Access(..) => signer::SignError::Access(text),
                SignError::NotAllowed { .. } => signer::SignError::NotAllowed(text),
                SignError::TooLong(..) => signer::SignError::TooLong(text),
            }
        }))
    }
}
