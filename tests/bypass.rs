//! Ways to slip past a refused service, each tried for real: nothing refused gets in, nothing
//! allowed is lost.
//!
//! Out: a table of every way with what was expected and what was seen. `TCPW_WAYS=WORD` tries only
//! those with that word in their theme or name.

#[path = "bypass/addresses.rs"]
mod addresses;
#[path = "bypass/alone.rs"]
mod alone;
#[path = "bypass/borrowed.rs"]
mod borrowed;
#[path = "bypass/client.rs"]
mod client;
#[path = "bypass/datagrams.rs"]
mod datagrams;
#[path = "bypass/flags.rs"]
mod flags;
#[path = "bypass/handed.rs"]
mod handed;
#[path = "bypass/headers.rs"]
mod headers;
#[path = "bypass/liars.rs"]
mod liars;
#[path = "bypass/listeners.rs"]
mod listeners;
#[path = "bypass/moments.rs"]
mod moments;
#[path = "bypass/packet.rs"]
mod packet;
#[path = "bypass/services.rs"]
mod services;
#[path = "bypass/streams.rs"]
mod streams;
#[path = "bypass/wire.rs"]
mod wire;
#[path = "bypass/world.rs"]
mod world;

use std::{
    env,
    fmt::Write as _,
    io::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use tcpw_tests::{Requirement, can_run};
use world::{Fate, Leg, Theme, Way};

/// Those that wait longest come first.
const THEMES: &[Theme] = &[
    services::THEME,
    services::BY_ICMP,
    services::MOMENTS,
    alone::THEME,
    moments::THEME,
    listeners::THEME,
    headers::THEME,
    flags::THEME,
    addresses::THEME,
    liars::THEME,
    borrowed::THEME,
    handed::THEME,
    liars::NETFILTER,
    datagrams::THEME,
    datagrams::BY_ICMP,
];

/// A suite that shrinks is no suite.
const FEWEST: usize = 280;

const NEEDED: &[Requirement] = &[
    Requirement::Root,
    Requirement::Program("/usr/bin/python3"),
    Requirement::Program("/usr/sbin/nft"),
    Requirement::Program("/usr/sbin/ethtool"),
];

/// Themes tried at once: they wait most of the time.
const AT_ONCE: usize = 3;

#[test]
fn nothing_refused_gets_in_and_nothing_allowed_is_lost() {
    if !can_run("bypass", NEEDED) {
        return;
    }
    let wanted = env::var("TCPW_WAYS").ok();
    let results = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(theme) = THEMES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried = run(theme, wanted.as_deref());
                    results.lock().unwrap_or_else(PoisonError::into_inner).extend(tried);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let wrong: Vec<&Tried> = results.iter().filter(|result| result.is_wrong()).collect();
    let (ways, legs) = (results.len(), results.iter().map(|result| result.legs()).sum::<usize>());
    let shown = table(&results);
    // Not the test's own output, which is shown for a failure only.
    drop(writeln!(std::io::stderr(), "{shown}{ways} ways, {legs} attempts, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "wrong verdicts:\n{}", table(wrong));
    assert!(wanted.is_some() || ways >= FEWEST, "only {ways} ways were tried");
}

/// One way and what came of it.
struct Tried {
    theme: &'static str,
    way: &'static str,
    legs: Result<Vec<Leg>>,
}

impl Tried {
    fn is_wrong(&self) -> bool {
        // A way that tries nobody proves nothing.
        self.legs.as_ref().map_or(true, |legs| legs.is_empty() || legs.iter().any(Leg::is_wrong))
    }

    fn legs(&self) -> usize {
        self.legs.as_ref().map_or(0, Vec::len)
    }
}

fn run(theme: &Theme, wanted: Option<&str>) -> Vec<Tried> {
    let is_wanted =
        |way: &&Way| wanted.is_none_or(|word| way.name.contains(word) || theme.name.contains(word));
    let ways: Vec<&Way> = theme.ways.iter().filter(is_wanted).collect();
    if ways.is_empty() {
        return Vec::new();
    }
    let tried = |way: &Way, legs| Tried { theme: theme.name, way: way.name, legs };
    match (theme.start)(theme.name) {
        Ok(world) => ways.into_iter().map(|way| tried(way, world.run(way))).collect(),
        Err(error) => vec![tried(ways[0], Err(error.context("the place for these ways")))],
    }
}

fn table<'a>(results: impl IntoIterator<Item = &'a Tried>) -> String {
    let mut text = format!("{:<12} {:<44} {:<10} {:<10} verdict\n", "theme", "way", "expected", "seen");
    for result in results {
        let (expected, seen) = match &result.legs {
            Ok(legs) => (fates(legs.iter().map(|leg| leg.expected)), fates(legs.iter().map(|leg| leg.seen))),
            Err(_) => ("-".into(), "error".into()),
        };
        let verdict = if result.is_wrong() { "WRONG" } else { "right" };
        let _ = writeln!(text, "{:<12} {:<44} {expected:<10} {seen:<10} {verdict}", result.theme, result.way);
        match &result.legs {
            Err(error) => _ = writeln!(text, "    {error:#}"),
            Ok(legs) => {
                for leg in legs.iter().filter(|leg| leg.is_wrong()) {
                    let _ = writeln!(text, "    {}: {:?}, not {:?}", leg.who, leg.seen, leg.expected);
                }
            }
        }
    }
    text
}

/// How many stayed out and how many got in.
fn fates(fates: impl Iterator<Item = Fate>) -> String {
    let (mut out, mut into) = (0, 0);
    for fate in fates {
        match fate {
            Fate::In => into += 1,
            Fate::Out => out += 1,
        }
    }
    format!("{out} out {into} in")
}
