//! Held clients that do more with their SYN than ask for a connection.

use std::{fs, net::SocketAddr, time::Instant};

use anyhow::{Result, ensure};
use tcpw_tests::{Tcpw, Testd, client::fast_open};

use super::{CLIENTS, DENY, SOON, patience, ready, sandbox};

/// What the daemon has read.
fn read(daemon: &Testd) -> Vec<String> {
    let lines = daemon.process.lines().into_iter().map(|line| line.text);
    lines.filter(|line| line.starts_with("read: ")).collect()
}

/// 519: neither side asks for cookies. 3: the first connection fetches one, the second uses it.
#[test]
fn held_fast_open_is_connected_without_trying_again_and_its_data_come_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = sandbox("fastopen", "alphad: *3.4 *3456\n", DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "--fast-open --tell [::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let mut expected = Vec::new();
    for (round, mode) in ["519", "3", "3"].into_iter().enumerate() {
        for netns in [sandbox.server(), sandbox.client()] {
            netns.run(|| Ok(fs::write("/proc/sys/net/ipv4/tcp_fastopen", mode)?))?;
        }
        for (client, server, allowed) in CLIENTS.into_iter().take(4) {
            let text = format!("{round} of {client}");
            let (server, time) = (SocketAddr::new(server, 7001), patience(client, allowed));
            let mut attempt = sandbox.client().run(|| fast_open(client, server, text.as_bytes(), time))?;
            let greeting = attempt.greeting(time);
            ensure!(greeting.starts_with("hello") == allowed, "{text}: \"{greeting}\", {attempt:?}");
            if allowed {
                expected.push(format!("read: {text}"));
                let deadline = Instant::now() + SOON;
                while read(&alphad).len() < expected.len() {
                    ensure!(Instant::now() < deadline, "{text} was not read: {:?}", read(&alphad));
                }
            }
        }
        // Answers die with the policy: all are held again.
        let asked = Tcpw::counters(&sandbox)?["asked"];
        let mark = tcpw.process.mark();
        sandbox.write_tables(&format!("alphad: *3.4 *3456 9.9.9.{round}\n"), DENY)?;
        tcpw.wait_applied(mark)?;
        ensure!(asked >= 4 * (round as u64 + 1), "not all were held: {asked}");
    }
    assert_eq!(read(&alphad), expected);
    Ok(())
}
