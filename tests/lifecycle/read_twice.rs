//! Notices of a change that come while it is being put in force.

use std::{fmt::Write as _, fs, fs::OpenOptions, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{DENY, Sandbox, Tcpw};

use super::{START, ready};

/// More lines than are compared rule by rule.
const LINES: u32 = 400_000;

/// Between two notices, less than it takes to put the lines in force.
const PAUSE: Duration = Duration::from_millis(30);

#[test]
fn files_that_are_read_again_without_a_change_are_put_in_force_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("twice")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let before = generation(&sandbox)?;
    for round in 1..=2 {
        let mut text = String::new();
        for line in 0..LINES {
            writeln!(text, "ALL: {}.{}.{}.{round}", 10 + (line >> 16), line >> 8 & 255, line & 255)?;
        }
        let mark = tcpw.process.mark();
        fs::write(sandbox.hosts_deny(), text)?;
        let mut notices = 0;
        while tcpw.process.wait_for_line_after(mark, "applied", PAUSE).is_err() {
            // Closed after writing: the kernel gives notice, and nothing has changed.
            drop(OpenOptions::new().append(true).open(sandbox.hosts_deny())?);
            notices += 1;
            ensure!(PAUSE * notices < START, "not in force");
        }
        ensure!(notices > 1, "in force at once");
        assert_eq!(generation(&sandbox)?, before + round, "put in force, or filled, more than once");
    }
    Ok(())
}

fn generation(sandbox: &Sandbox) -> Result<u64> {
    Tcpw::status(sandbox)?["generation"].as_u64().context("no generation")
}
