//! Which run is next: workflow after workflow in turn, so that one with a hundred thousand events keeps no other
//! waiting. Nothing in here is durable; what is queued is in the store.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::file::Limits;
use super::record::WorkflowId;

/// The runs that are ready, by workflow.
#[derive(Default)]
pub(super) struct Queue {
    workflows: HashMap<WorkflowId, Line>,
    /// Workflows that have something ready and room to run it, in the order of their turns.
    turns: VecDeque<WorkflowId>,
}

#[derive(Default)]
struct Line {
    ready: VecDeque<String>,
    running: u32,
    concurrency: u32,
    rate: Option<(u32, DefaultDirectRateLimiter)>,
    /// Whether it is among the turns.
    in_turn: bool,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This run of this workflow.
    Run(WorkflowId, String),
    /// Nothing before so many milliseconds: a rate holds everything that is ready.
    After(u64),
    /// Nothing until something comes or ends.
    Nothing,
}

impl Queue {
    /// Puts a run last, or first if it had begun already.
    pub fn push(&mut self, workflow: &WorkflowId, run: String, begun: bool) {
        let line = self.workflows.entry(workflow.clone()).or_insert_with(|| Line { concurrency: 1, ..Line::default() });
        match begun {
            true => line.ready.push_front(run),
            false => line.ready.push_back(run),
        }
        self.give_turn(workflow);
    }

    /// How many runs of `workflow` are ready and not begun.
    pub fn waiting(&self, workflow: &WorkflowId) -> usize {
        self.workflows.get(workflow).map_or(0, |line| line.ready.len())
    }

    /// Runs that are ready, and that are running.
    pub fn totals(&self) -> (usize, usize) {
        self.workflows
            .values()
            .fold((0, 0), |(ready, running), line| (ready + line.ready.len(), running + line.running as usize))
    }

    /// What the workflow's limits are now.
    pub fn limits(&mut self, workflow: &WorkflowId, limits: &Limits) {
        let line = self.workflows.entry(workflow.clone()).or_default();
        line.concurrency = limits.concurrency.max(1);
        match limits.runs_per_minute.and_then(NonZeroU32::new) {
            None => line.rate = None,
            Some(rate) if line.rate.as_ref().is_some_and(|(now, _)| *now == rate.get()) => {}
            Some(rate) => line.rate = Some((rate.get(), RateLimiter::direct(Quota::per_minute(rate)))),
        }
        self.give_turn(workflow);
    }

    /// Takes the run whose turn it is.
    pub fn next(&mut self) -> Next {
        let mut soonest: Option<u64> = None;
        for _ in 0..self.turns.len() {
            let Some(workflow) = self.turns.pop_front() else { break };
            let Some(line) = self.workflows.get_mut(&workflow) else { continue };
            line.in_turn = false;
            if line.ready.is_empty() || line.running >= line.concurrency {
                continue;
            }
            if let Some((_, rate)) = &line.rate
                && let Err(until) = rate.check()
            {
                let wait = until.wait_time_from(DefaultClock::default().now()).as_millis();
                let wait = u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(1);
                soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
                self.give_turn(&workflow);
                continue;
            }
            let Some(run) = line.ready.pop_front() else { continue };
            line.running += 1;
            self.give_turn(&workflow);
            return Next::Run(workflow, run);
        }
        soonest.map_or(Next::Nothing, Next::After)
    }

    /// A run that was taken is not running any more.
    pub fn ended(&mut self, workflow: &WorkflowId) {
        if let Some(line) = self.workflows.get_mut(workflow) {
            line.running = line.running.saturating_sub(1);
            if line.running == 0 && line.ready.is_empty() && line.rate.is_none() {
                self.workflows.remove(workflow);
                return;
            }
        }
        self.give_turn(workflow);
    }

    fn give_turn(&mut self, workflow: &WorkflowId) {
        if let Some(line) = self.workflows.get_mut(workflow)
            && !line.in_turn
            && !line.ready.is_empty()
            && line.running < line.concurrency
        {
            line.in_turn = true;
            self.turns.push_back(workflow.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> WorkflowId {
        WorkflowId(format!("alice/{name}"))
    }

    fn queue(workflows: &[(&str, u32, Option<u32>)]) -> Queue {
        let mut queue = Queue::default();
        for (name, concurrency, runs_per_minute) in workflows {
            let limits = Limits { concurrency: *concurrency, runs_per_minute: *runs_per_minute, ..Limits::default() };
            queue.limits(&id(name), &limits);
        }
        queue
    }

    #[test]
    fn a_workflow_with_many_events_keeps_no_other_waiting() {
        let mut queue = queue(&[("many", 1000, None), ("few", 1000, None)]);
        for number in 0..100_000 {
            queue.push(&id("many"), number.to_string(), false);
        }
        queue.push(&id("few"), "a".into(), false);
        queue.push(&id("few"), "b".into(), false);
        let taken: Vec<_> = (0..4).map(|_| queue.next()).collect();
        let few = |run: &str| Next::Run(id("few"), run.into());
        assert!(taken.contains(&few("a")) && taken.contains(&few("b")), "{taken:?}");
    }

    #[test]
    fn no_more_run_at_once_than_the_workflow_says() {
        let mut queue = queue(&[("w", 2, None)]);
        for run in ["a", "b", "c"] {
            queue.push(&id("w"), run.into(), false);
        }
        assert_eq!(queue.next(), Next::Run(id("w"), "a".into()));
        assert_eq!(queue.next(), Next::Run(id("w"), "b".into()));
        assert_eq!(queue.next(), Next::Nothing);
        queue.ended(&id("w"));
        assert_eq!(queue.next(), Next::Run(id("w"), "c".into()));
        assert_eq!(queue.totals(), (0, 2));
    }

    #[test]
    fn what_had_begun_goes_on_first() {
        let mut queue = queue(&[("w", 9, None)]);
        queue.push(&id("w"), "new".into(), false);
        queue.push(&id("w"), "begun".into(), true);
        assert_eq!(queue.next(), Next::Run(id("w"), "begun".into()));
    }

    #[test]
    fn a_rate_holds_one_workflow_and_no_other() {
        let mut queue = queue(&[("slow", 9, Some(1)), ("fast", 9, None)]);
        for run in ["a", "b"] {
            queue.push(&id("slow"), run.into(), false);
        }
        queue.push(&id("fast"), "c".into(), false);
        assert_eq!(queue.next(), Next::Run(id("slow"), "a".into()));
        assert_eq!(queue.next(), Next::Run(id("fast"), "c".into()));
        match queue.next() {
            Next::After(wait) => assert!((1..=60_001).contains(&wait), "{wait}"),
            other => panic!("{other:?}"),
        }
    }
}
