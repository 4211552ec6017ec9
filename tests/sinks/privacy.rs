//! Clients that are not shown: no sink has their addresses, and fail2ban finds none.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use anyhow::ensure;
use nix::sys::signal::Signal;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6_OTHER, Place, Testd, client::knock_from, daemons::Journald,
};

use super::{schema::Schema, *};

const CLIENTS: [(IpAddr, IpAddr); 3] =
    [(CLIENT_V4, SERVER_V4), (CLIENT_V4_OTHER, SERVER_V4), (CLIENT_V6_OTHER, SERVER_V6)];

#[test]
fn no_sink_shows_a_client_and_its_hash_outlives_the_daemon_with_its_key() -> Result<()> {
    let programs = [Journald::PROGRAM, "/usr/bin/journalctl", "/usr/bin/fail2ban-regex"];
    if !ready() || !can_run("sinks", &programs.map(Requirement::Program)) {
        return Ok(());
    }
    let sandbox = Sandbox::new("privacy")?;
    sandbox.write_tables("", "ALL: 1.2.4.4\nALL: ALL\n")?;
    let _journald = Journald::start(&sandbox)?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let key = sandbox.scratch().join("key");
    fs::write(&key, "0123456789abcdef")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let hashed = format!("addresses = \"hashed\"\nkey-file = \"{}\"\n", key.display());
    let log = sandbox.scratch().join("log");
    let mut shown = Vec::new();
    for (count, settings) in
        (1..).zip(["addresses = \"truncated\"\n", &hashed, &hashed, "addresses = \"hashed\"\n"])
    {
        let settings = sandbox.write_settings(&format!("[privacy]\n{settings}"))?;
        let names = [format!("{count}.log"), format!("{count}.json")];
        let to = [format!("file:/var/log/{}", names[0]), format!("json:/var/log/{}", names[1])];
        let mut tcpw = Tcpw::start(
            &sandbox,
            &["--config", &settings, "--log", &to[0], "--log", "journald", "--log", &to[1]],
        )?;
        ensure!(
            tcpw.process.lines().iter().any(|line| line.text.contains("fail2ban cannot ban")),
            "{}",
            tcpw.process.tail()
        );
        sandbox.client().run(|| {
            let knock = |(client, server): &(IpAddr, IpAddr)| {
                knock_from(SocketAddr::new(*client, 40_000 + count), SocketAddr::new(*server, 7001))
            };
            CLIENTS.iter().try_for_each(knock)
        })?;
        let [text, json] = names.map(|name| log.join(name));
        wait_for_lines(&text, CLIENTS.len())?;
        wait_for_lines(&json, CLIENTS.len())?;
        let entries = Journald::wait_for_entries(&sandbox, CLIENTS.len() * usize::from(count))?;
        let entries = &entries[entries.len() - CLIENTS.len()..];
        let own = entries.iter().map(|entry| {
            let fields = entry.as_object().into_iter().flatten();
            let fields = fields.filter(|(name, _)| name.starts_with("TCPW_") || *name == "MESSAGE");
            fields.map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
        });
        let all = [fs::read_to_string(&text)?, fs::read_to_string(&json)?, own.collect()].concat();
        for (client, _) in CLIENTS {
            ensure!(!all.contains(&client.to_string()), "{client} is in {all}");
        }
        let objects = objects(&json)?;
        Schema::read()?.check(&objects)?;
        let in_json: Vec<String> =
            objects.iter().filter_map(|it| Some(it["client"]["address"].as_str()?.to_owned())).collect();
        for address in &in_json {
            let line = format!("refused connect from {address} ({address})");
            ensure!(lines(&text).iter().any(|it| it.ends_with(&line)), "{line}: {all}");
            let is_it = |entry: &&Value| entry["MESSAGE"] == line && entry["TCPW_CLIENT"] == **address;
            ensure!(entries.iter().any(|entry| is_it(&entry)), "{line}: {entries:#?}");
        }
        shown.push(in_json);
        let mut fail2ban = Command::new("/usr/bin/fail2ban-regex");
        fail2ban.args(["-o", "ip"]).arg(&text);
        fail2ban.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fail2ban.conf"));
        let found = sandbox.run(Place::Server, fail2ban, SOON)?.lines();
        ensure!(found.iter().all(|line| line.text.is_empty()), "{found:?}");
        tcpw.process.signal(Signal::SIGTERM)?;
        tcpw.process.wait(SOON)?;
    }
    assert_eq!(shown[0], ["1.2.3.0/24", "1.2.4.0/24", "3ffe:ffff:100::/48"]);
    assert_eq!(shown[1], shown[2], "the same key");
    assert_ne!(shown[2], shown[3], "a key of its own");
    ensure!(shown[1].iter().all(|hash| hash.starts_with('#')) && shown[1][0] != shown[1][1], "{shown:?}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let settings = sandbox.write_settings(&format!("[privacy]\n{hashed}"))?;
    let mut refused = Tcpw::spawn(&sandbox, &["--config", &settings])?;
    let line = refused.wait_for_line("others may read or write it: chmod 600 it", SOON)?;
    ensure!(line.text.contains(&format!("[privacy] key-file {}", key.display())), "{line:?}");
    ensure!(!refused.wait(SOON)?.success(), "a start with a key that others can read");
    Ok(())
}
