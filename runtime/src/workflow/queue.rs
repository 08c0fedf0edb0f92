//! Which run is next: workflow after workflow in turn, so that one with a hundred thousand events keeps no other
//! waiting. Nothing in here is durable; what is queued is in the store.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::file::Limits;
use super::record::WorkflowId;

/// Runs under way at once in this process. A run that waits for a time or a person is none of them.
pub(super) const AT_ONCE: usize = 1000;
/// Of one workflow at most so many, whatever it says: its steps may be slow, and others want to run, too.
const OF_ONE: u32 = 750;

/// The runs that are ready, by workflow.
#[derive(Default)]
pub(super) struct Queue {
    workflows: HashMap<WorkflowId, Line>,
    /// Workflows that have something ready and room to run it, in the order of their turns.
    turns: VecDeque<WorkflowId>,
}

/// The runs of one workflow, in the order of their ids, which is that of their events.
#[derive(Default)]
struct Line {
    /// Those that had begun. No rate and no dead account holds them.
    begun: BTreeSet<String>,
    /// Those that had not.
    fresh: BTreeSet<String>,
    /// Places for events that are on their way to the disk.
    reserved: usize,
    /// Whether nothing new begins, since an account must be reconnected.
    held: bool,
    running: u32,
    concurrency: u32,
    rate: Option<(u32, DefaultDirectRateLimiter)>,
    /// Whether it is among the turns.
    in_turn: bool,
}

impl Line {
    fn ready(&self) -> usize {
        self.begun.len() + self.fresh.len()
    }

    fn is_due(&self) -> bool {
        self.running < self.concurrency && (!self.begun.is_empty() || !(self.held || self.fresh.is_empty()))
    }
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
    /// Puts a run in its place, before all that have not begun if it has.
    pub fn push(&mut self, workflow: &WorkflowId, run: String, begun: bool) {
        let line = self.workflows.entry(workflow.clone()).or_insert_with(|| Line { concurrency: 1, ..Line::default() });
        match begun {
            true => line.begun.insert(run),
            false => line.fresh.insert(run),
        };
        self.give_turn(workflow);
    }

    /// Keeps a place for an event, unless as many wait as `limits` let: `held` beside those that are in here. Gives
    /// how many wait if so.
    pub fn reserve(&mut self, workflow: &WorkflowId, limits: &Limits, held: usize) -> Result<(), usize> {
        let line = self.workflows.entry(workflow.clone()).or_insert_with(|| Line { concurrency: 1, ..Line::default() });
        let waiting = line.fresh.len() + line.reserved + held;
        if waiting >= limits.queue as usize {
            return Err(waiting);
        }
        line.reserved += 1;
        Ok(())
    }

    /// Gives back a place that was reserved.
    pub fn give_back(&mut self, workflow: &WorkflowId) {
        if let Some(line) = self.workflows.get_mut(workflow) {
            line.reserved = line.reserved.saturating_sub(1);
        }
        self.forget_if_empty(workflow);
    }

    /// Lets nothing new of the workflow begin, or lets it again.
    pub fn hold(&mut self, workflow: &WorkflowId, held: bool) {
        match self.workflows.get_mut(workflow) {
            Some(line) => line.held = held,
            None if held => {
                let line = Line { concurrency: 1, held, ..Line::default() };
                self.workflows.insert(workflow.clone(), line);
            }
            None => {}
        }
        self.give_turn(workflow);
        self.forget_if_empty(workflow);
    }

    /// Whether nothing new of the workflow begins.
    pub fn is_held(&self, workflow: &WorkflowId) -> bool {
        self.workflows.get(workflow).is_some_and(|line| line.held)
    }

    /// The workflows of which nothing new begins.
    pub fn held(&self) -> Vec<WorkflowId> {
        self.workflows.iter().filter(|(_, line)| line.held).map(|(workflow, _)| workflow.clone()).collect()
    }

    /// Runs that are ready, and that are running.
    pub fn totals(&self) -> (usize, usize) {
        self.workflows
            .values()
            .fold((0, 0), |(ready, running), line| (ready + line.ready(), running + line.running as usize))
    }

    /// What the workflow's limits are now.
    pub fn limits(&mut self, workflow: &WorkflowId, limits: &Limits) {
        let line = self.workflows.entry(workflow.clone()).or_default();
        line.concurrency = limits.concurrency.clamp(1, OF_ONE);
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
            if !line.is_due() {
                continue;
            }
            let run = match line.begun.pop_first() {
                Some(run) => run,
                None => {
                    if let Some((_, rate)) = &line.rate
                        && let Err(until) = rate.check()
                    {
                        let wait = until.wait_time_from(DefaultClock::default().now()).as_millis();
                        let wait = u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(1);
                        soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
                        self.give_turn(&workflow);
                        continue;
                    }
                    let Some(run) = line.fresh.pop_first() else { continue };
                    run
                }
            };
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
        }
        self.give_turn(workflow);
        self.forget_if_empty(workflow);
    }

    /// Forgets a line with nothing in it, and nothing to remember.
    fn forget_if_empty(&mut self, workflow: &WorkflowId) {
        let is_empty = |line: &Line| {
            line.running == 0 && line.reserved == 0 && !line.held && line.rate.is_none() && line.ready() == 0
        };
        if self.workflows.get(workflow).is_some_and(is_empty) {
            self.workflows.remove(workflow);
        }
    }

    fn give_turn(&mut self, workflow: &WorkflowId) {
        if let Some(line) = self.workflows.get_mut(workflow)
            && !line.in_turn
            && line.is_due()
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
    fn runs_go_in_the_order_of_their_events_however_they_come() {
        let mut queue = queue(&[("w", 9, None)]);
        for (run, begun) in [("3", false), ("1", false), ("4", true), ("2", false), ("5", true)] {
            queue.push(&id("w"), run.into(), begun);
        }
        let taken: Vec<_> = (0..5).map(|_| queue.next()).collect();
        assert_eq!(taken, ["4", "5", "1", "2", "3"].map(|run| Next::Run(id("w"), run.into())));
    }

    #[test]
    fn one_workflow_leaves_a_quarter_of_all_places_to_others() {
        let mut queue = queue(&[("many", 10_000, None), ("few", 10_000, None)]);
        for number in 0..2000 {
            queue.push(&id("many"), number.to_string(), false);
        }
        let taken = (0..).take_while(|_| matches!(queue.next(), Next::Run(..))).count();
        assert_eq!(taken, AT_ONCE * 3 / 4);
        queue.push(&id("few"), "a".into(), false);
        assert_eq!(queue.next(), Next::Run(id("few"), "a".into()));
    }

    #[test]
    fn a_place_is_kept_for_an_event_on_its_way_to_the_disk() {
        let mut queue = Queue::default();
        let limits = Limits { queue: 3, ..Limits::default() };
        assert_eq!([0; 4].map(|held| queue.reserve(&id("w"), &limits, held)), [Ok(()), Ok(()), Ok(()), Err(3)]);
        queue.give_back(&id("w"));
        assert_eq!(queue.reserve(&id("w"), &limits, 1), Err(3), "a run that is held waits, too");
        assert_eq!(queue.reserve(&id("w"), &limits, 0), Ok(()));
        for _ in 0..3 {
            queue.give_back(&id("w"));
        }
        assert!(queue.workflows.is_empty(), "nothing is left of a workflow with nothing to do");
    }

    #[test]
    fn what_is_held_lets_go_on_what_had_begun_and_nothing_new() {
        let mut queue = queue(&[("w", 9, None)]);
        queue.hold(&id("w"), true);
        queue.push(&id("w"), "1".into(), false);
        queue.push(&id("w"), "2".into(), true);
        assert_eq!((queue.next(), queue.next()), (Next::Run(id("w"), "2".into()), Next::Nothing));
        assert_eq!(queue.held(), [id("w")]);
        queue.hold(&id("w"), false);
        assert_eq!(queue.next(), Next::Run(id("w"), "1".into()));
    }

    #[test]
    fn a_rate_is_for_beginning_and_not_for_going_on() {
        let mut queue = queue(&[("w", 9, Some(1))]);
        for run in ["1", "2"] {
            queue.push(&id("w"), run.into(), false);
        }
        assert_eq!(queue.next(), Next::Run(id("w"), "1".into()));
        assert!(matches!(queue.next(), Next::After(_)));
        queue.push(&id("w"), "1".into(), true);
        assert_eq!(queue.next(), Next::Run(id("w"), "1".into()));
        assert!(matches!(queue.next(), Next::After(_)));
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
