//! Which tests run in a machine, and which do not.
//!
//! In: what was asked for. Out: programs with libtest's arguments. Invariant: a test is left out by
//! its own name and with a reason; a name that no test has is an error.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, anyhow, bail};

use crate::command::{Prerequisite, output};

/// A test program and the arguments it is run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its name in tests/Cargo.toml.
    pub(super) test: String,
    /// Arguments of libtest.
    pub(super) arguments: Vec<String>,
}

/// What runs in a machine, in this order, each so many tests at once: most of their time is waiting. `SUITE::FILTER` is a
/// part of one of [`MORE`].
const SUITES: [(&str, u8); 11] = [
    ("kernel", 2),
    ("namespaces", 1),
    // Each is a race of two threads.
    ("failures", 1),
    ("gate", 4),
    ("held", 3),
    ("early::vlan", 1),
    ("modules", 2),
    ("lifecycle", 3),
    ("upgrade", 3),
    ("listeners", 2),
    // They judge every connection of the machine: one at a time, and nowhere else.
    ("root", 1),
];

/// What runs there too, if it is named or everything is asked for. These wait for real daemons and
/// tell an answer at once from a client's retransmit: an emulated processor that is busy with
/// anything else is too slow for some of them, so a failure is to be looked at, and is no verdict.
const MORE: [(&str, u8); 10] = [
    ("early", 2),
    // Two, though it is one test: its line is then written as a whole.
    ("bypass", 2),
    ("udp", 3),
    ("refused", 3),
    ("users", 3),
    ("effects", 2),
    ("names", 2),
    ("twist", 2),
    ("rights", 2),
    ("daemons", 2),
];

/// Tests of these that run elsewhere alone, and why.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "held",
        "bounds::source_that_is_held_too_often_is_counted_and_no_other_feels_it",
        "a few thousand SYNs in a second are too many for an emulated processor",
    ),
    (
        "held",
        "bounds::address_of_ipv4_is_a_source_of_its_own",
        "612 SYNs within the 0.8 s for which a stopped daemon counts as alive are too many for it, too",
    ),
    (
        "held",
        "first_daemon_that_a_glob_refuses_is_closed_before_it_is_known",
        "no daemon starts there within the 0.8 s for which a stopped tcpw counts as alive",
    ),
    (
        "udp",
        "datagram_to_a_socket_that_nobody_has_identified_is_delivered",
        "no daemon starts there within the 0.8 s for which a stopped tcpw counts as alive",
    ),
    (
        "held",
        "bounds::packets_beyond_those_that_may_wait_are_counted_and_left_to_their_clients",
        "4,096 SYNs in the second between two looks at all processes are too many for an emulated processor",
    ),
    (
        "users",
        "storm::silent_ident_server_costs_its_own_clients_time_and_nobody_else",
        "512 connections within libwrap's ten seconds are too many for an emulated processor",
    ),
    (
        "effects",
        "flood::flood_of_refused_attempts_stays_within_the_limits",
        "10,000 SYNs in a second are too many for an emulated processor",
    ),
    (
        "effects",
        "mail::seeds_own_line_works_with_postfix",
        "a mailer's own matter, not the kernel's: the image has OpenSMTPD alone",
    ),
    (
        "effects",
        "mail::seeds_own_line_works_with_exim_once_it_may_be_root",
        "a mailer's own matter, not the kernel's: the image has OpenSMTPD alone",
    ),
    (
        "effects",
        "mail::command_that_cannot_work_is_warned_of_by_daemon_and_check",
        "it compares mailers, of which the image has OpenSMTPD alone",
    ),
    (
        "twist",
        "hostile::floods_resets_forks_and_a_dead_helper_leave_enforcement_intact",
        "it floods, which is too much for an emulated processor",
    ),
    (
        "names",
        "storm::storm_at_a_slow_resolver_ends_with_the_right_verdicts",
        "5,000 clients at once are too many for an emulated processor",
    ),
    (
        "names",
        "storm::storm_at_a_dead_resolver_lets_nobody_in",
        "5,000 clients at once are too many for an emulated processor",
    ),
    (
        "names",
        "retransmits_start_no_more_look_ups_and_the_syn_is_sent_again_once",
        "it tells a SYN sent again from its client's own by tenths of a second",
    ),
];

/// The runs of these suites, or `SUITE::FILTER`; if none is named, those that always run, or all.
pub(super) fn chosen(named: &[String], all: bool) -> Result<Vec<Run>> {
    if named.is_empty() {
        let more = if all { &MORE[..] } else { &[] };
        let of = |(test, threads): &(&str, u8)| {
            let (name, filter) = parts(test);
            of(name, *threads, filter)
        };
        // A part of a suite that runs whole does not run again.
        let is_wanted = |(test, _): &&(&str, u8)| !all || parts(test).1.is_none();
        return Ok(SUITES.iter().filter(is_wanted).chain(more).map(of).collect());
    }
    named
        .iter()
        .map(|wanted| {
            let (name, filter) = parts(wanted);
            let mut suites = SUITES.iter().chain(&MORE);
            let Some((test, threads)) = suites.find(|(test, _)| *test == name) else {
                let known: Vec<_> = SUITES.iter().chain(&MORE).map(|(test, _)| *test).collect();
                let known = known.join(", ");
                return Err(anyhow!(Prerequisite(format!(
                    "no test {name} runs there: name some of {known}"
                ))));
            };
            Ok(of(test, *threads, filter))
        })
        .collect()
}

/// A suite, and the filter behind `::`.
fn parts(wanted: &str) -> (&str, Option<&str>) {
    wanted.split_once("::").map_or((wanted, None), |(name, filter)| (name, Some(filter)))
}

fn of(test: &str, threads: u8, filter: Option<&str>) -> Run {
    let left_out = LEFT_OUT.iter().filter(|(suite, ..)| *suite == test).map(|(_, name, _)| *name);
    // Some are ignored elsewhere because they need a machine like this.
    let mut arguments = vec!["--include-ignored".to_owned(), format!("--test-threads={threads}")];
    arguments.extend(left_out.map(|name| format!("--skip={name}")));
    arguments.extend(filter.map(str::to_owned));
    Run { test: test.into(), arguments }
}

/// Whether every test that is left out is there, under its whole name and no other's.
pub(super) fn check_left_out(test: &str, program: &PathBuf) -> Result<()> {
    let names: Vec<_> = LEFT_OUT.iter().filter(|(suite, ..)| *suite == test).collect();
    if names.is_empty() {
        return Ok(());
    }
    let listed = output(Command::new(program).args(["--list", "--format", "terse"]))?;
    for (_, name, _) in names {
        // libtest leaves out whatever has the name in its own.
        let tests: Vec<_> = listed.lines().filter(|line| line.contains(name)).collect();
        if tests != [format!("{name}: test")] {
            bail!("{test}: the one test {name} shall be left out, there is {tests:?}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_with_a_filter_and_must_exist() {
        assert_eq!(chosen(&[], false).map(|runs| runs.len()).ok(), Some(SUITES.len()));
        assert_eq!(chosen(&[], true).map(|runs| runs.len()).ok(), Some(SUITES.len() - 1 + MORE.len()));
        let runs = chosen(&["gate::mptcp".into()], false).expect("a test of that name");
        assert_eq!(runs[0].test, "gate");
        assert_eq!(runs[0].arguments.last().map(String::as_str), Some("mptcp"));
        assert!(chosen(&["golden".into()], true).is_err());
    }

    #[test]
    fn what_is_left_out_is_of_a_suite_and_has_a_reason() {
        for (suite, name, reason) in LEFT_OUT {
            assert!(SUITES.iter().chain(&MORE).any(|(test, _)| test == suite), "{suite}");
            assert!(!name.is_empty() && reason.len() > 10, "{name}: {reason}");
        }
    }
}
