//! Bans of one daemon.

use super::*;

/// The rules do not tell daemons apart: the names matter for the bans alone.
#[test]
fn ban_of_a_daemon_is_for_its_listeners_alone_also_those_that_come_later() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-daemon")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _betad = Testd::start(&sandbox, "betad", "0.0.0.0:7002")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    for port in [7001, 7002] {
        Tcpw::wait_listener(&sandbox, port, |_| true)?;
    }
    done(&sandbox, &["ban", "1.2.3.4", "--daemon", "Alphad"])?;
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_served(&sandbox, CLIENT_V4, 7002)?;
    assert_served(&sandbox, CLIENT_V4_OTHER, 7001)?;

    // No moment at which it is served: until it is tagged its clients are held.
    let _later = Testd::start(&sandbox, "alphad", "0.0.0.0:7003")?;
    assert_refused(&sandbox, CLIENT_V4, 7003)?;
    assert_served(&sandbox, CLIENT_V4_OTHER, 7003)?;
    done(&sandbox, &["ban", "1.2.3.4", "--daemon", "gammad"])?;
    let _gammad = Testd::start(&sandbox, "gammad", "0.0.0.0:7004")?;
    assert_refused(&sandbox, CLIENT_V4, 7004)?;
    assert_served(&sandbox, CLIENT_V4_OTHER, 7004)?;
    let records = wait_records(&sandbox, CLIENT_V4, 3)?;
    for (record, daemon) in records.iter().zip(["alphad", "alphad", "gammad"]) {
        assert_eq!([&record["reason"], &record["ban"]["daemon"]], ["ban", daemon], "{record}");
    }

    let (said, code) = command(&sandbox, &["unban", "1.2.3.4"])?;
    ensure!(code == Some(1) && said.contains("there is no such ban"), "{said}");
    done(&sandbox, &["unban", "1.2.3.4", "--daemon", "alphad"])?;
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    assert_refused(&sandbox, CLIENT_V4, 7004)?;
    assert_no_fault(&sandbox)
}

/// What the address does not decide is asked for, unless its client is banned.
#[test]
fn banned_client_is_not_asked_for() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-ask")?;
    sandbox.write_tables("alphad: *3.4 *4.4\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    ban(&sandbox, CLIENT_V4)?;
    let before = Tcpw::counters(&sandbox)?["asked"];
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_eq!(Tcpw::counters(&sandbox)?["asked"], before);
    assert_served(&sandbox, CLIENT_V4_OTHER, 7001)?;
    unban(&sandbox, CLIENT_V4)?;
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    // An answer in the kernel does not outdo a ban.
    ban(&sandbox, CLIENT_V4)?;
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_no_fault(&sandbox)
}
