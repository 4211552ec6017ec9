//! What the daemon has counted, for metrics.
//!
//! In: counts of the duties, and facts of the kernel. Out: [`Metrics`].
//! Invariant: a number is in one place of it: what has a form of its own is not among the other counters.

use std::time::{SystemTime, UNIX_EPOCH};

use tcpw_common::metric::Metric;

use super::{
    report::AttemptRecords,
    status::{log, problems},
};
use crate::{
    control::{Histogram, Metrics, NamedCount},
    core::{input::MetricsFacts, problems::ProblemSource, shared::SharedState},
};

/// They have a form of their own.
const MISMATCHES: [&str; 2] = ["disagreements", "index_disagreements"];

/// How long something took, counted by duties.
pub(in crate::core) struct Times<'a> {
    pub(in crate::core) held: &'a Histogram,
    pub(in crate::core) user_waits: &'a Histogram,
    pub(in crate::core) lookups: &'a Histogram,
}

/// What was counted; `own` are the counters of the duties.
pub(in crate::core) fn metrics(
    facts: MetricsFacts,
    own: Vec<(Metric, u64)>,
    enforcing_since: SystemTime,
    (report, times): (&AttemptRecords, &Times<'_>),
    shared: &SharedState,
) -> Metrics {
    let current = shared.policies.current.as_ref();
    let mut counters: Vec<NamedCount> = Vec::new();
    // Counters of the same name are added up: the kernel's part and user space's.
    for counted in facts.counters.into_iter().chain(own).filter(|(it, _)| !MISMATCHES.contains(&it.name)) {
        match counters.iter_mut().find(|other| other.name == counted.0.name) {
            Some(other) => other.value += counted.1,
            None => counters.push(counted.into()),
        }
    }
    let (disagreements, index_disagreements) = report.mismatches();
    let has = |source| shared.problems.has(source);
    let problems = problems(report, shared);
    Metrics {
        version: env!("CARGO_PKG_VERSION").into(),
        mode: shared.config.mode,
        enforcing_since: seconds(enforcing_since),
        generation: current.map_or(0, |current| current.generation),
        applied_at: current.map_or(0, |current| seconds(current.applied_at)),
        is_last_reload_in_force: !has(ProblemSource::Files) && !has(ProblemSource::Following),
        has_problem: !problems.is_empty(),
        problems,
        log_allowed: shared.config.log_allowed,
        attempts: report.tally.attempts(),
        rules: report.tally.rules(),
        held: times.held.clone(),
        user_waits: times.user_waits.clone(),
        lookups: times.lookups.clone(),
        disagreements,
        index_disagreements,
        counters,
        maps: facts.maps,
        log: log(&facts.lines),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, RunArgs},
        control::{Request, Response},
        core::{Action, Core, Input, input::StatusFacts, tests::now},
    };

    /// What the core replies to a request, once it has the facts it wants.
    fn asked(core: &mut Core, body: Request, facts: Input) -> Response {
        core.on(Input::Request { request: 1, body }, now());
        let actions = core.on(facts, now());
        let replies = actions.into_iter().find_map(|action| {
            if let Action::Reply { request: 1, response } = action { Some(*response) } else { None }
        });
        replies.expect("a reply")
    }

    #[test]
    fn verdict_that_differs_is_a_problem() {
        let flags = RunArgs { cgroup: Some("/".into()), ..RunArgs::default() };
        let config = Config::load(Some("/dev/null".as_ref()), &flags).expect("the defaults");
        let mut core = Core::new(config, now());
        let metrics = |core: &mut Core| {
            let facts = Input::MetricsFacts { request: 1, facts: MetricsFacts::default() };
            let Response::Metrics(metrics) = asked(core, Request::Metrics, facts) else { panic!("metrics") };
            assert_eq!(metrics.has_problem, !metrics.problems.is_empty());
            (metrics.index_disagreements, metrics.has_problem)
        };
        let status = |core: &mut Core| {
            let facts = Box::new(StatusFacts {
                all: Vec::new(),
                answers: Err("not asked".into()),
                hashes: None,
                marks_bound: true,
                counters: Vec::new(),
                reset_namespaces: (0, 0),
                reset_places: [].into(),
                waiting: 0,
                banner_sockets: 0,
                lines: Vec::new(),
                turned_away: 0,
            });
            let facts = Input::StatusFacts { request: 1, facts };
            let Response::Status(status) = asked(core, Request::Status, facts) else { panic!("a status") };
            status.problem
        };
        assert_eq!((metrics(&mut core), status(&mut core)), ((0, false), None));
        core.on(Input::Walked("the index says allow, the walk refuse".into()), now());
        assert_eq!(metrics(&mut core), (1, true));
        let problem = status(&mut core).expect("a problem");
        assert!(problem.contains(" 1 of the index from those of a walk"), "{problem}");
    }
}
