//! Clients that try again and again, while tcpw starts, takes other rules, or gives way to another.
//!
//! In: how one of them tries once. Out: what became of those who are refused, of those who are allowed, and
//! of one whom the rules let in by turns.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use tcpw_tests::{CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, SERVER_V4, SERVER_V6, Sandbox, Tcpw, Tries};

use crate::world::{ALLOW, DENY, Leg, World};

/// One try, from an address to another: whether it came through in time.
pub(crate) type Try<'a> = &'a (dyn Fn(&Sandbox, IpAddr, IpAddr, Duration) -> Result<bool> + Sync);

/// Enough for anybody who is let in.
const PATIENT: Duration = Duration::from_secs(3);

/// One of many tries.
struct One {
    began: Instant,
    ended: Instant,
    is_through: bool,
}

/// How long a client waits that the rules refuse at present, and whether they do.
struct Patience {
    of_refused: Duration,
    is_refused: AtomicBool,
}

impl Patience {
    fn new(of_refused: Duration, is_refused: bool) -> Self {
        Self { of_refused, is_refused: is_refused.into() }
    }

    fn refuse(&self, is_refused: bool) {
        self.is_refused.store(is_refused, Ordering::Relaxed);
    }

    /// That of a try that begins now: one that may come through has time, on a busy machine too.
    fn now(&self) -> Duration {
        if self.is_refused.load(Ordering::Relaxed) { self.of_refused } else { PATIENT }
    }
}

/// Tries again and again, a few thousand times at most.
fn stream(
    sandbox: &Sandbox,
    (from, to): (IpAddr, IpAddr),
    patience: &Patience,
    stop: &AtomicBool,
    tries: &Tries,
    attempt: Try<'_>,
) -> Result<Vec<One>> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) && all.len() < 5000 {
        let began = Instant::now();
        let is_through = attempt(sandbox, from, to, patience.now())?;
        all.push(One { began, ended: Instant::now(), is_through });
        tries.tried();
        thread::sleep(Duration::from_millis(3));
    }
    Ok(all)
}

fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.map_err(|_| anyhow!("a client panicked"))?
}

/// From "ready" on nobody refused comes through, though he did before; nobody allowed is ever lost.
pub(crate) fn while_starting(
    sandbox: &Sandbox,
    flags: &[&str],
    patience: Duration,
    attempt: Try<'_>,
) -> Result<Vec<Leg>> {
    let (stop, out, into) = (AtomicBool::new(false), Tries::default(), Tries::default());
    let (of_refused, of_allowed) = (Patience::new(patience, false), Patience::new(PATIENT, false));
    thread::scope(|scope| {
        let refused =
            scope.spawn(|| stream(sandbox, (CLIENT_V4_OTHER, SERVER_V4), &of_refused, &stop, &out, attempt));
        let allowed =
            scope.spawn(|| stream(sandbox, (CLIENT_V6, SERVER_V6), &of_allowed, &stop, &into, attempt));
        let mut ready = Instant::now();
        let tcpw = out.wait_more(1).and_then(|()| {
            of_refused.refuse(true);
            let tcpw = Tcpw::start(sandbox, flags)?;
            ready = Instant::now();
            out.wait_more(7)?;
            into.wait_more(7)?;
            Ok(tcpw)
        });
        stop.store(true, Ordering::Relaxed);
        let (refused, allowed) = (joined(refused.join())?, joined(allowed.join())?);
        drop(tcpw?);
        let (before, after): (Vec<_>, Vec<_>) = refused.into_iter().partition(|one| one.began < ready);
        Ok(vec![
            Leg::new("before the start", true, before.first().is_some_and(|one| one.is_through)),
            Leg::new("refused", false, after.is_empty() || after.iter().any(|one| one.is_through)),
            Leg::new("allowed", true, allowed.len() > 10 && allowed.iter().all(|one| one.is_through)),
        ])
    })
}

/// Rules that open and close the door for one client: another one is never let in, a third never lost.
pub(crate) fn while_rules_change(world: &World, patience: Duration, attempt: Try<'_>) -> Result<Vec<Leg>> {
    let stop = AtomicBool::new(false);
    let [out, into, by_turns] = [Tries::default(), Tries::default(), Tries::default()];
    let sandbox = &world.sandbox;
    let [of_refused, of_allowed, of_changing] = [(patience, true), (PATIENT, false), (patience, true)]
        .map(|(time, is_refused)| Patience::new(time, is_refused));
    thread::scope(|scope| {
        let refused =
            scope.spawn(|| stream(sandbox, (CLIENT_V6_OTHER, SERVER_V6), &of_refused, &stop, &out, attempt));
        let allowed =
            scope.spawn(|| stream(sandbox, (CLIENT_V6, SERVER_V6), &of_allowed, &stop, &into, attempt));
        let changing = scope
            .spawn(|| stream(sandbox, (CLIENT_V4_OTHER, SERVER_V4), &of_changing, &stop, &by_turns, attempt));
        let mut spans = Vec::new();
        let mut changed = Ok(());
        for round in 0..8 {
            let is_open = round % 2 == 0;
            let allow = if is_open { "alphad: 1.2. [3ffe:ffff:100:200::]/64\n" } else { ALLOW };
            // Before the rules refuse it, after they allow it.
            of_changing.refuse(true);
            changed = changed.and_then(|()| world.apply(allow, DENY));
            of_changing.refuse(!is_open);
            let began = Instant::now();
            changed = changed.and_then(|()| {
                by_turns.wait_more(4)?;
                out.wait_more(2)?;
                into.wait_more(2)
            });
            spans.push((began, Instant::now(), is_open));
        }
        stop.store(true, Ordering::Relaxed);
        let (refused, allowed, changing) =
            (joined(refused.join())?, joined(allowed.join())?, joined(changing.join())?);
        changed?;
        let wrong = changing.iter().any(|one| {
            let within = |(from, to, _): &&(Instant, Instant, bool)| one.began > *from && one.ended < *to;
            spans.iter().filter(within).any(|(_, _, is_open)| one.is_through != *is_open)
        });
        Ok(vec![
            Leg::new("refused", false, refused.len() < 10 || refused.iter().any(|one| one.is_through)),
            Leg::new("allowed", true, allowed.len() > 10 && allowed.iter().all(|one| one.is_through)),
            Leg::new("by turns, at odds with the rules", false, wrong),
        ])
    })
}

/// The next daemon replaces the programs of one that is gone.
pub(crate) fn while_adopted(
    world: &World,
    flags: &[&str],
    patience: Duration,
    attempt: Try<'_>,
) -> Result<Vec<Leg>> {
    let (stop, out, into) = (AtomicBool::new(false), Tries::default(), Tries::default());
    let sandbox = &world.sandbox;
    let (of_refused, of_allowed) = (Patience::new(patience, true), Patience::new(PATIENT, false));
    thread::scope(|scope| {
        let refused =
            scope.spawn(|| stream(sandbox, (CLIENT_V4_OTHER, SERVER_V4), &of_refused, &stop, &out, attempt));
        let allowed =
            scope.spawn(|| stream(sandbox, (CLIENT_V6, SERVER_V6), &of_allowed, &stop, &into, attempt));
        let adopted = Tcpw::start(sandbox, flags).and_then(|adopted| {
            out.wait_more(4)?;
            into.wait_more(4)?;
            Ok(adopted)
        });
        stop.store(true, Ordering::Relaxed);
        let (refused, allowed) = (joined(refused.join())?, joined(allowed.join())?);
        let adopted = adopted?;
        world.tcpw(|tcpw| {
            *tcpw = adopted;
            Ok(())
        })?;
        Ok(vec![
            Leg::new("refused", false, refused.len() < 5 || refused.iter().any(|one| one.is_through)),
            Leg::new("allowed", true, allowed.len() > 5 && allowed.iter().all(|one| one.is_through)),
        ])
    })
}
