//! `tcpw explain`: the files, the running daemon and the kernel, side by side.

use anyhow::{Context as _, Result};
use tcpw_tests::{Sandbox, Tcpw, Testd};

use super::{PORT, SOON, ready, shown::allow_everything};

/// What it says, and its exit code.
fn explain(sandbox: &Sandbox, daemon: &str, client: &str) -> Result<(String, Option<i32>)> {
    let (allow, deny) = (sandbox.hosts_allow(), sandbox.hosts_deny());
    let tables = [allow.to_str().context("a path")?, deny.to_str().context("a path")?];
    let arguments = ["explain", daemon, client, "--hosts-allow", tables[0], "--hosts-deny", tables[1]];
    let mut process = Tcpw::spawn_command(sandbox, &arguments)?;
    let code = process.wait(SOON)?.code();
    let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
    Ok((lines.join("\n"), code))
}

#[track_caller]
fn assert_says((text, code): &(String, Option<i32>), expected: i32, parts: &[&str]) {
    assert_eq!(*code, Some(expected), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn explanation_holds_the_files_the_daemon_and_the_kernel_against_each_other() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("explained")?;
    sandbox.write_tables("alphad: 1.2.3.\nalphad: .example.com\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    Tcpw::wait_listener(&sandbox, PORT, |_| true)?;

    let allowed = explain(&sandbox, "alphad", "1.2.3.4")?;
    let kernel = "kernel:   allows: what the daemon says (generation 1)";
    assert_says(
        &allowed,
        0,
        &["allowed: alphad from 1.2.3.4: ", "in force: allowed: by ", ":1 (generation 1)", kernel],
    );
    // Its name decides.
    let refused = explain(&sandbox, "alphad", "1.2.4.4")?;
    let kernel = "kernel:   leaves the client to the daemon: a look-up, a user or a command decides";
    let missed = "client list: nothing in it matches address 1.2.4.4";
    assert_says(&refused, 1, &["refused: alphad from 1.2.4.4: ", missed, "in force: refused: by ", kernel]);
    let nobody = explain(&sandbox, "betad", "1.2.4.4")?;
    assert_says(&nobody, 1, &["no known listener has that name", "kernel:   not asked: no known listener"]);

    // An edit with an error is not in force.
    sandbox.write_tables("alphad 1.2.4.\nalphad: 1.2.4.\n", "ALL: ALL\n")?;
    let differs = "note:     the files say otherwise";
    let edited = explain(&sandbox, "alphad", "1.2.3.4")?;
    assert_says(&edited, 0, &["refused: alphad from 1.2.3.4: ", "in force: allowed: by ", differs]);
    tcpw.apply(&sandbox, "alphad: 1.2.3.\n", "ALL: ALL\n")?;

    // A kernel that decides otherwise is seen.
    sandbox.mounts().run(allow_everything)?;
    let wrong = explain(&sandbox, "alphad", "1.2.4.4")?;
    let kernel = "kernel:   allows: NOT what the daemon says: please report this";
    assert_says(&wrong, 2, &["in force: refused: by ", kernel]);

    drop(tcpw);
    let alone = explain(&sandbox, "alphad", "1.2.4.4")?;
    assert_says(&alone, 1, &["refused: alphad", "in force: unknown: no daemon is running"]);
    Ok(())
}
