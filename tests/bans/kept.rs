//! Bans over restarts and reboots, and their ends.

use std::fs;

use nix::sys::signal::Signal;
use tcpw_tests::STATE_DIR;

use super::*;

fn is_over(sandbox: &Sandbox, client: IpAddr) -> Result<()> {
    wait_until("the ban is over", SOON, || is_served(sandbox, client, 7001))
}

/// The gate stays, no daemon runs.
#[test]
fn kernel_alone_ends_a_ban_in_time() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-clock")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    done(&sandbox, &["ban", "1.2.3.4", "--for", "4s"])?;
    done(&sandbox, &["ban", "1.2.4.4"])?;
    let began = std::time::Instant::now();
    tcpw.process.signal(Signal::SIGKILL)?;
    tcpw.process.wait(SOON)?;
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    is_over(&sandbox, CLIENT_V4)?;
    ensure!(began.elapsed() > Duration::from_secs(3), "after {:?}", began.elapsed());
    assert_refused(&sandbox, CLIENT_V4_OTHER, 7001)?;

    let _again = Tcpw::start(&sandbox, &["--pin"])?;
    let listed = bans(&sandbox)?;
    ensure!(listed.len() == 1 && listed[0]["network"] == "1.2.4.4/32", "{listed:?}");
    assert_refused(&sandbox, CLIENT_V4_OTHER, 7001)?;
    wait_until("its listener is known", SOON, || is_served(&sandbox, CLIENT_V4, 7001))?;
    unban(&sandbox, CLIENT_V4_OTHER)?;
    is_over(&sandbox, CLIENT_V4_OTHER)?;
    assert_no_fault(&sandbox)
}

/// Nothing of the kernel's tables is left, as after a reboot.
#[test]
fn bans_are_kept_over_a_reboot_with_what_is_left_of_their_time() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-reboot")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    done(&sandbox, &["ban", "1.2.3.4", "--for", "1h", "--reason", "kept"])?;
    done(&sandbox, &["ban", "192.0.2.1", "--for", "1s"])?;
    done(&sandbox, &["ban", "1.2.4.0/24", "--daemon", "alphad"])?;
    done(&sandbox, &["ban", "192.0.2.2"])?;
    unban(&sandbox, "192.0.2.2".parse()?)?;
    // As by a loss of power.
    tcpw.process.signal(Signal::SIGKILL)?;
    tcpw.process.wait(SOON)?;
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    let stored = sandbox.mounts().run(|| {
        let file = format!("{STATE_DIR}/bans");
        let text = fs::read_to_string(&file)?;
        // And its last write was not whole.
        fs::write(&file, format!("{text}{{\"ban\":{{\"netw"))?;
        Ok(text)
    })?;
    ensure!((5..=6).contains(&stored.lines().count()), "{stored}");

    let mut again = Tcpw::start(&sandbox, &[])?;
    again.process.wait_for_line("of the stored bans: it has no end", SOON)?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_refused(&sandbox, CLIENT_V4_OTHER, 7001)?;
    let listed = wait_for("one is over", SOON, || Ok(Some(bans(&sandbox)?).filter(|all| all.len() == 2)))?;
    assert_eq!([&listed[0]["network"], &listed[0]["reason"]], ["1.2.3.4/32", "kept"], "{listed:?}");
    assert_eq!([&listed[1]["network"], &listed[1]["daemon"]], ["1.2.4.0/24", "alphad"], "{listed:?}");
    unban(&sandbox, CLIENT_V4)?;
    drop(again);
    let _third = Tcpw::start(&sandbox, &[])?;
    assert_eq!(bans(&sandbox)?.len(), 1);
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    assert_no_fault(&sandbox)
}

/// A ban is in force, and it is said that it is not stored.
#[test]
fn ban_that_cannot_be_stored_is_in_force_and_told() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-unstored")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let file = sandbox.scratch().join("no-directory");
    fs::write(&file, "")?;
    let path = file.display().to_string();
    let _tcpw = Tcpw::start(&sandbox, &["--state-dir", &path])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    let (said, code) = command(&sandbox, &["ban", "1.2.3.4"])?;
    ensure!(code == Some(1) && said.contains("done, but not stored"), "{code:?}: {said}");
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    // Once it can be stored, it is.
    fs::remove_file(&file)?;
    done(&sandbox, &["ban", "1.2.3.4"])?;
    ensure!(file.join("bans").is_file());
    Ok(())
}
