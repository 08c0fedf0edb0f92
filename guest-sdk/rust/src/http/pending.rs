//! Requests under way. Waiting is always for all that may happen next: the
//! answer, room for more of the body, the timeout.

use std::time::Duration;

use super::Response;
use super::body::{Progress, Sending};
use super::failure::{from_code, timed_out};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::http::types::FutureIncomingResponse;
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::error::placed;
use crate::{Error, Result};

/// A request under way. Dropping it gives the request up.
#[must_use = "dropping a request that is under way gives it up"]
#[derive(Debug)]
pub struct Pending {
    exchange: Exchange,
    future: FutureIncomingResponse,
}

/// What request and answer share until the last byte of either.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Method and URL, for messages.
    pub what: String,
    sending: Option<Sending>,
    deadline: Option<Deadline>,
    /// What went wrong with the body: told if no answer comes.
    problem: Option<Error>,
}

#[derive(Debug)]
struct Deadline {
    /// Nanoseconds of the monotonic clock.
    at: u64,
    timer: Pollable,
}

impl Exchange {
    /// Sends more of the body, if there is more and there is room.
    fn advance(&mut self) {
        if let Some(sending) = self.sending.take() {
            match sending.advance(&self.what) {
                Ok(Progress::Blocked(sending)) => self.sending = Some(sending),
                Ok(Progress::Done) => {}
                Err(problem) => self.problem = Some(problem),
            }
        }
    }

    /// Waits until `event` is ready, or more of the body can be sent (and sends it).
    pub fn wait_for(&mut self, event: &Pollable) -> Result<()> {
        let room = self.sending.as_ref().map(Sending::pollable);
        let mut wanted = vec![event];
        wanted.extend(room.as_ref());
        wanted.extend(self.deadline.as_ref().map(|deadline| &deadline.timer));
        if wanted.len() == 1 {
            event.block();
        } else {
            poll(&wanted);
        }
        drop(room);
        self.advance();
        self.check_deadline()
    }

    fn check_deadline(&self) -> Result<()> {
        match &self.deadline {
            Some(deadline) if monotonic_clock::now() >= deadline.at => Err(timed_out(&self.what)),
            _ => Ok(()),
        }
    }
}

impl Pending {
    pub(super) fn new(what: String, future: FutureIncomingResponse, timeout: Option<Duration>) -> Pending {
        let deadline = timeout.map(|timeout| {
            let length = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            let at = monotonic_clock::now().saturating_add(length);
            Deadline { at, timer: monotonic_clock::subscribe_instant(at) }
        });
        Pending { exchange: Exchange { what, sending: None, deadline, problem: None }, future }
    }

    /// Starts to send a body.
    pub(super) fn attach(&mut self, sending: Sending) {
        self.exchange.sending = Some(sending);
        self.exchange.advance();
    }

    pub(super) fn describe(&self) -> &str {
        &self.exchange.what
    }

    /// Waits for one event within the request's timeout.
    pub(super) fn wait_for(&self, event: &Pollable) -> Result<()> {
        match &self.exchange.deadline {
            Some(deadline) => {
                poll(&[event, &deadline.timer]);
                self.exchange.check_deadline()
            }
            None => {
                event.block();
                Ok(())
            }
        }
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// As for [`RequestBuilder::send`](super::RequestBuilder::send).
    #[track_caller]
    pub fn wait(self) -> Result<Response> {
        placed(|| {
            let mut this = self;
            loop {
                match this.take() {
                    Taken::Done(result) => return result,
                    Taken::NotYet(pending) => this = pending,
                }
                let answered = this.future.subscribe();
                this.exchange.wait_for(&answered)?;
            }
        })
    }

    /// The answer, if it is there.
    fn take(mut self) -> Taken {
        self.exchange.advance();
        let answer = match self.future.get() {
            None if self.exchange.problem.is_none() => return Taken::NotYet(self),
            None => None,
            Some(answer) => Some(answer),
        };
        let Pending { mut exchange, .. } = self;
        Taken::Done(match (answer, exchange.problem.take()) {
            (Some(Ok(Ok(incoming))), _) => Response::new(exchange, incoming),
            (_, Some(problem)) => Err(problem),
            (Some(Ok(Err(code))), None) => Err(from_code(&exchange.what, &code)),
            (Some(Err(())) | None, None) => Err(Error::step("the answer was taken already")),
        })
    }
}

enum Taken {
    Done(Result<Response>),
    NotYet(Pending),
}

/// Waits for all of them, and gives the answers in the same order. The bodies of
/// all go out, and the answers come in, at the same time.
pub fn wait_all(requests: impl IntoIterator<Item = Pending>) -> Vec<Result<Response>> {
    let mut waiting: Vec<Option<Pending>> = requests.into_iter().map(Some).collect();
    let mut answers: Vec<Option<Result<Response>>> = Vec::new();
    answers.resize_with(waiting.len(), || None);
    while let Some((index, answer)) = next(&mut waiting) {
        answers[index] = Some(answer);
    }
    answers.into_iter().flatten().collect()
}

/// Waits for the first answer, takes its request out of the list, and gives its
/// index there with the answer. `None` if the list is empty.
pub fn wait_any(requests: &mut Vec<Pending>) -> Option<(usize, Result<Response>)> {
    let mut waiting: Vec<Option<Pending>> = requests.drain(..).map(Some).collect();
    let first = next(&mut waiting);
    requests.extend(waiting.into_iter().flatten());
    first
}

/// The next answer of those that are still waited for.
fn next(waiting: &mut [Option<Pending>]) -> Option<(usize, Result<Response>)> {
    loop {
        for (index, slot) in waiting.iter_mut().enumerate() {
            match slot.take().map(Pending::take) {
                Some(Taken::Done(answer)) => return Some((index, answer)),
                Some(Taken::NotYet(pending)) => match pending.exchange.check_deadline() {
                    Ok(()) => *slot = Some(pending),
                    Err(error) => return Some((index, Err(error))),
                },
                None => {}
            }
        }
        let under_way = || waiting.iter().flatten();
        let events: Vec<Pollable> = under_way()
            .flat_map(|pending| {
                let room = pending.exchange.sending.as_ref().map(Sending::pollable);
                room.into_iter().chain([pending.future.subscribe()])
            })
            .collect();
        if events.is_empty() {
            return None;
        }
        let timers = under_way().filter_map(|pending| Some(&pending.exchange.deadline.as_ref()?.timer));
        poll(&events.iter().chain(timers).collect::<Vec<_>>());
    }
}
