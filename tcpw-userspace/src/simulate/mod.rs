//! The whole daemon in memory: the core, a simulated kernel and host, and a scheduler whose chance is a seed.
//!
//! In: a seed. Out: whether a rule was broken, which one, and the history that broke it, as short as it can be.
//! Invariant: pure. No I/O, no thread, no clock, no time: a seed gives the same history always. What is
//! simulated of the kernel is what tcpw-ebpf does; of the rest only what the core's inputs and actions show.
//!
//! `plan` says what will happen, `history` lets it happen, `daemon` hands it to the core, `outside`
//! carries the core's actions out, `kernel` and `host` are what they act on. `ledger` has the rules,
//! `oracle` asks the reference evaluator, `shrink` makes a failing history short.

mod at_end;
mod clients;
mod daemon;
mod disk;
mod helper;
mod history;
mod host;
mod kernel;
mod ledger;
mod oracle;
mod outside;
mod plan;
mod plant;
mod policies;
mod random;
mod scans;
mod shrink;

pub use plant::Plant;

use history::{Broken, History};
use plan::Plan;

/// What a history came to.
struct HistoryResult {
    broken: Option<Broken>,
    trace: Vec<String>,
    /// How many things happened.
    happened: u64,
}

/// A seed whose history breaks a rule.
#[derive(Clone, Debug)]
pub struct BrokenSeed {
    /// The seed.
    pub seed: u64,
    /// The rule.
    pub rule: &'static str,
    /// What broke it.
    pub what: String,
    /// The shortest history found that breaks it: files, steps, and what happened of the attempt.
    pub history: Vec<String>,
}

/// Runs the history of a seed; how many things happened in it.
///
/// # Errors
/// It breaks a rule.
pub fn run(seed: u64, plant: Option<Plant>) -> Result<u64, Box<BrokenSeed>> {
    let plan = Plan::new(seed);
    let HistoryResult { broken, happened, .. } = History::new(plan.clone(), plant, false).run();
    match broken {
        None => Ok(happened),
        Some(broken) => Err(Box::new(shrink::failure(plan, plant, broken))),
    }
}

/// Which rule the history of a seed breaks, if it breaks one; and how many things happened in it. Nothing is
/// made shorter.
pub fn breaks(seed: u64, plant: Option<Plant>) -> (Option<&'static str>, u64) {
    let HistoryResult { broken, happened, .. } = History::new(Plan::new(seed), plant, false).run();
    (broken.map(|broken| broken.rule), happened)
}

/// Everything that happens in the history of a seed.
pub fn trace(seed: u64) -> Vec<String> {
    History::new(Plan::new(seed), None, true).run().trace
}
