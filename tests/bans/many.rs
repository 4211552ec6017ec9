//! A hundred thousand bans.

use std::{fmt::Write as _, fs, net::Ipv4Addr};

use super::*;

const MANY: u32 = 100_000;

#[test]
fn many_bans_are_set_listed_and_ended_together() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bans-many")?;
    sandbox.write_tables(ALLOW_ALL, "")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    let mut text = "# the last one is a client\n".to_owned();
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    for number in 0..MANY - 1 {
        writeln!(text, "{}", Ipv4Addr::from(first + 7 * number))?;
    }
    writeln!(text, "{CLIENT_V4}")?;
    let file = sandbox.scratch().join("list");
    fs::write(&file, &text)?;
    let list = file.display().to_string();
    let said = done(&sandbox, &["ban", "--from", &list, "--for", "1d"])?;
    assert_eq!(said, format!("banned {MANY} networks for 1d"));
    assert_refused(&sandbox, CLIENT_V4, 7001)?;
    assert_served(&sandbox, CLIENT_V4_OTHER, 7001)?;
    let listed = bans(&sandbox)?;
    assert_eq!(listed.len(), MANY as usize);
    let networks: std::collections::BTreeSet<&str> =
        listed.iter().filter_map(|ban| ban["network"].as_str()).collect();
    assert_eq!(networks.len(), MANY as usize, "each is listed once");
    // Again: they are replaced.
    let said = done(&sandbox, &["ban", "--from", &list])?;
    ensure!(said.contains(&format!("{MANY} of them had a ban before")), "{said}");
    assert_eq!(done(&sandbox, &["unban", "--from", &list])?, format!("ended {MANY} bans"));
    assert_eq!(bans(&sandbox)?.len(), 0);
    assert_served(&sandbox, CLIENT_V4, 7001)?;
    // One wrong line, and nothing is done.
    fs::write(&file, text + "nobody\n")?;
    let (said, code) = command(&sandbox, &["ban", "--from", &list])?;
    ensure!(code == Some(2) && said.contains(&format!(":{}: \"nobody\"", MANY + 2)), "{code:?}: {said}");
    assert_eq!(bans(&sandbox)?.len(), 0);
    assert_no_fault(&sandbox)
}
