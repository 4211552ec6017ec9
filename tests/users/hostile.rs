//! What the client's host and its name server say, made to look like more than a user and a name.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    Barrier, CLIENT_V4, Commands, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run,
    client::connect,
    daemons::{Unbound, Zones},
};

use super::{
    identd::{Identd, Manner},
    pairs::client,
    ready,
    seen::{SOON, Seen, see_or_reset},
};

/// What a client's host says must not look like more than a user.
#[test]
fn hostile_reply_is_one_line_and_one_word() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-hostile")?;
    sandbox.write_tables("", "markerd: ALL\nalphad: ALL: rfc931\n")?;
    let barrier = Barrier::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::Silent)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let mut marks = Vec::new();
    for (user, shown) in [
        (b"`id>/tmp/x`;$(reboot)|&".to_vec(), "`id>/tmp/x`;$(reboot)|&@1.2.3.4"),
        (b"x\x1b[2J\x07".to_vec(), "x\\x1b[2J\\x07@1.2.3.4"),
        ("x\u{2003}(6.6.6.6)".into(), "x\\xe2\\x80\\x83(6.6.6.6)@1.2.3.4"),
        (b"\xff\xc3\x28".to_vec(), "\\xff\\xc3(@1.2.3.4"),
        (b"a@b@c".to_vec(), "a@b@c@1.2.3.4"),
        (b"%u%n%s".to_vec(), "%u%n%s@1.2.3.4"),
        (b"x\nrefused connect from 6.6.6.6 (6.6.6.6)".to_vec(), "x@1.2.3.4"),
        (b"cut\0here".to_vec(), "cut@1.2.3.4"),
        ("b".repeat(255).into_bytes(), &format!("{}@1.2.3.4", "b".repeat(127))),
    ] {
        let mark = tcpw.process.mark();
        marks.push(mark);
        let connection = client(&sandbox, CLIENT_V4, server, &identd, &Manner::user(&user));
        assert_eq!(see_or_reset(connection)?, Seen::Reset);
        let line = tcpw.process.wait_for_line_after(mark, "refused connect from", SOON)?.text;
        assert!(line.ends_with(&format!(": refused connect from {shown} (1.2.3.4)")), "{line}");
    }
    barrier.pass(&sandbox, &mut tcpw)?;
    marks.push(tcpw.process.mark());
    let lines = tcpw.process.lines();
    for span in marks.windows(2) {
        let lines = lines[span[0]..span[1]].iter().filter(|line| line.text.contains("6.6.6.6")).count();
        assert!(lines <= 1, "one line for one connection");
    }
    Ok(())
}

/// Names as a zone file has them, and what libwrap's C library makes of them: nothing, but for those that are
/// names.
const LONG: &str = "nameofsixtythreebytesnameofsixtythreebytesnameofsixtythreebytes";

fn zone_text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() { char::from(*byte).to_string() } else { format!("\\{byte:03}") }
        })
        .collect()
}

/// A name server that tells lies of every kind: one line each, and nothing of it reaches a shell.
#[test]
fn hostile_names_are_one_line_and_no_command() -> Result<()> {
    if !ready() || !can_run("users", &[Requirement::Program("/usr/sbin/unbound")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("name-hostile")?;
    let commands = Commands::prepare(&sandbox, 64210)?;
    let out = commands.out.display().to_string();
    let touch = format!("touch {out}/pwned");
    let whole = format!("{LONG}.{LONG}.{LONG}.{}", &LONG[..48]);
    ensure!(whole.len() + ".example.test.".len() == 254, "255 bytes on the wire");
    let kept = "name-that-is-kept.example.test";
    // What the name server says, what the line has in the name's place, and what %n is.
    let names: Vec<(Vec<u8>, &str, &str)> = vec![
        (format!("`{touch}`").into(), "", "unknown"),
        (format!("$({touch})").into(), "", "unknown"),
        (format!("x;{touch};").into(), "", "unknown"),
        (format!("x|{touch}").into(), "", "unknown"),
        (format!("x\n{touch}\n").into(), "", "unknown"),
        (b"x\nrefused connect from 6.6.6.6 (6.6.6.6)".to_vec(), "", "unknown"),
        (b"x (6.6.6.6)".to_vec(), "", "unknown"),
        (b"\x1b[2J\x07".to_vec(), "", "unknown"),
        (b"\xff\xfe\xc3\x28".to_vec(), "", "unknown"),
        (b"nul\0name".to_vec(), "", "unknown"),
        (b"%u%n%s".to_vec(), "", "unknown"),
        (b"-rf".to_vec(), "", "unknown"),
        (b"name-that-is-kept".to_vec(), kept, kept),
        // libwrap keeps 127 bytes of a name, which lead nowhere.
        (whole.clone().into_bytes(), "", "paranoid"),
        (LONG.as_bytes().to_vec(), "LONG", "LONG"),
    ];
    let mut zones = Zones::default();
    for (number, (name, ..)) in (1u8..).zip(&names) {
        let label = if name.contains(&b'.') && name.starts_with(LONG.as_bytes()) {
            whole.clone()
        } else {
            zone_text(name)
        };
        let address = IpAddr::from([1, 2, 6, number]);
        sandbox.client().address("tcpw0", address, 16)?;
        zones.record(&format!("{label} A {address}"));
        zones.pointer(address, &format!("{label}.example.test."));
    }
    let _unbound = Unbound::start(&sandbox, &zones)?;
    // /etc/hosts is not asked whether it is a name.
    let odd = "a$(id)`id`;|&\\b";
    fs::write(sandbox.etc().join("hosts"), format!("127.0.0.1 localhost\n{CLIENT_V4} {odd}\n"))?;
    sandbox.write_tables(
        "alphad: good.example.test\n",
        &format!("ALL: ALL: spawn echo \"%h|%n|%c|%a\" >> {out}/said\n"),
    )?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let settings = commands.settings(&sandbox, "per-minute-and-source = 100\n")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--config", &settings.to_string_lossy()])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let attempt = |client: IpAddr| connect(sandbox.client(), client, server, Duration::from_millis(300));
    let long = format!("{LONG}.example.test");
    for (number, (name, shown, expanded)) in (1u8..).zip(&names) {
        let address = IpAddr::from([1, 2, 6, number]);
        let (shown, expanded) = match *shown {
            "" => (address.to_string(), expanded.to_string()),
            "LONG" => (long.clone(), long.clone()),
            shown => (shown.to_owned(), expanded.to_string()),
        };
        let mark = tcpw.process.mark();
        ensure!(!attempt(address)?.is_connected(), "{address}");
        let line = tcpw.process.wait_for_line_after(mark, "refused connect from", SOON)?.text;
        let text = String::from_utf8_lossy(name);
        ensure!(line.ends_with(&format!(": refused connect from {shown} ({address})")), "{text}: {line}");
        let said = commands.lines("said", usize::from(number), SOON)?;
        let host = if expanded == "unknown" || expanded == "paranoid" {
            address.to_string()
        } else {
            expanded.clone()
        };
        ensure!(
            said.last().is_some_and(|said| *said == format!("{host}|{expanded}|{host}|{address}")),
            "{text}: {said:?}"
        );
    }
    let mark = tcpw.process.mark();
    ensure!(!attempt(CLIENT_V4)?.is_connected());
    let line = tcpw.process.wait_for_line_after(mark, "refused connect from", SOON)?.text;
    let name = "a__id__id_____b";
    ensure!(line.ends_with(&format!(": refused connect from {name} (1.2.3.4)")), "{line}");
    let said = commands.lines("said", names.len() + 1, SOON)?;
    ensure!(said.last().is_some_and(|said| said.starts_with(&format!("{name}|{name}|{name}|"))), "{said:?}");
    // All that is due has run, and nothing else.
    Tcpw::wait_counter(&sandbox, "commands_run", names.len() as u64 + 1, SOON)?;
    let made: Vec<_> = fs::read_dir(&commands.out)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(made.iter().all(|name| name.as_bytes() == b"said"), "a command of theirs ran: {made:?}");
    let refused =
        tcpw.process.lines().iter().filter(|line| line.text.contains("refused connect from")).count();
    ensure!(refused == names.len() + 1, "{refused} lines");
    Ok(())
}

/// What the ident server says comes to a command as a harmless word.
#[test]
fn hostile_user_reaches_no_shell() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("user-shell")?;
    let commands = Commands::prepare(&sandbox, 64211)?;
    let out = commands.out.display();
    sandbox.write_tables("", &format!("ALL: ALL: rfc931 5: spawn echo \"%u\" %c >> {out}/said\n"))?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let identd = Identd::start(sandbox.client(), Manner::Silent)?;
    let settings = commands.settings(&sandbox, "per-minute-and-source = 100\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &settings.to_string_lossy()])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let users: [(Vec<u8>, &str); 5] = [
        (format!("`touch>{out}/pwned`").into(), "_touch_"),
        (format!("$(touch${{IFS}}{out}/pwned)").into(), "__touch__IFS_"),
        (b"x\";id;\"&".to_vec(), "x__id___"),
        (b"\xff\xc3\x28".to_vec(), "___"),
        (b"alice".to_vec(), "alice"),
    ];
    for (number, (user, shown)) in (1..).zip(&users) {
        let connection = client(&sandbox, CLIENT_V4, server, &identd, &Manner::user(user));
        assert_eq!(see_or_reset(connection)?, Seen::Reset);
        let said = commands.lines("said", number, SOON)?;
        let last = said.last().context("a line")?;
        ensure!(last.starts_with(shown) && last.contains("@1.2.3.4"), "{last}");
        ensure!(!last.contains(['`', '$', ';', '&', '"', '(']), "{last}");
    }
    Tcpw::wait_counter(&sandbox, "commands_run", users.len() as u64, SOON)?;
    assert_eq!(fs::read_dir(&commands.out)?.count(), 1, "a command of theirs ran");
    Ok(())
}
