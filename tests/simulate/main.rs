//! The daemon in memory: histories of many seeds, until time or seeds are over.
//!
//! Out: the range of seeds, and how fast they were. Exit code 1: a history broke a rule; it is printed.

use std::{
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tcpw_userspace::simulate::{BrokenSeed, Plant, breaks, run, trace};

#[derive(Parser)]
struct Arguments {
    /// The first seed; by default the time
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long)]
    seeds: Option<u64>,
    /// Ends after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Goes on after a rule is broken, and counts which
    #[arg(long)]
    count: bool,
    /// Puts a bug in, and says how many seeds it takes to find it
    #[arg(long)]
    plant: Option<Plant>,
    /// Prints everything that happens under the first seed
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments.seed.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    });
    if arguments.trace {
        trace(first).iter().for_each(|line| say(line));
        return ExitCode::SUCCESS;
    }
    let most = arguments.seeds.unwrap_or(if arguments.seconds.is_some() { u64::MAX } else { 1000 });
    let end = arguments.seconds.map(Duration::from_secs);
    let begin = Instant::now();
    let (mut happened, mut count) = (0, 0);
    let mut broken = Vec::new();
    for seed in first..first.saturating_add(most) {
        if end.is_some_and(|end| begin.elapsed() >= end) {
            break;
        }
        count += 1;
        if arguments.count {
            let (rule, more) = breaks(seed, arguments.plant);
            happened += more;
            broken.extend(rule.map(|rule| (rule, seed)));
            continue;
        }
        match run(seed, arguments.plant) {
            Ok(more) => happened += more,
            Err(failure) => {
                tell(&failure);
                if let Some(plant) = arguments.plant {
                    say(&format!("the bug {plant} was found after {count} seeds"));
                    return ExitCode::SUCCESS;
                }
                return ExitCode::FAILURE;
            }
        }
    }
    for (rule, seed) in &broken {
        say(&format!("seed {seed}: {rule}"));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let last = first + count.max(1) - 1;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = count as f64 / seconds;
    say(&format!(
        "seeds {first} to {last}: {count} histories of {} things each in {seconds:.1} s, {rate:.0} a second",
        happened / count.max(1)
    ));
    if broken.is_empty() && arguments.plant.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(failure: &BrokenSeed) {
    failure.history.iter().for_each(|line| say(line));
    say(&format!("seed {}: broken: {}: {}", failure.seed, failure.rule, failure.what));
}

fn say(line: &str) {
    // A closed pipe is its reader's choice.
    let _ = writeln!(std::io::stdout(), "{line}");
}
