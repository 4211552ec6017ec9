//! What daemons send arrives whole and in order behind the text, however they send it; and real clients see it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V6, Requirement, SERVER_V4, SERVER_V6, Tcpw, Testd, can_run,
    daemons::{Nginx, SshKey, Sshd, SshdSockets},
};

use crate::place::{Place, SOON, read_all, ready};

const TEXT: &str = "Hello %a,\nbehave.\n";

/// A place where everybody is let in, with that text for some daemons.
fn place(name: &str, daemons: &[&str]) -> Result<Place> {
    let place = Place::new(name)?;
    for daemon in daemons {
        fs::write(place.banners.join(daemon), TEXT)?;
    }
    place.sandbox.write_tables(&format!("ALL: ALL: banners {}\n", place.banners.display()), "ALL: ALL\n")?;
    Ok(place)
}

/// Bytes that are no others shifted.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

#[test]
fn whatever_the_daemon_sends_by_whichever_call_arrives_whole_behind_the_text() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let daemons = ["alphad", "betad", "gammad", "deltad", "epsilond", "zetad", "etad"];
    let place = place("banner-calls", &daemons)?;
    let ways = ["write", "writev", "bytes", "sendfile", "splice", "nonblocking", "zerocopy"];
    let mut running = Vec::new();
    let mut wanted = Vec::new();
    for (number, bytes) in [1, 100_000, 20_000_000].into_iter().enumerate() {
        let file = place.sandbox.scratch().join(format!("content-{number}"));
        let content = content(bytes);
        fs::write(&file, &content)?;
        for (way, (daemon, by)) in daemons.iter().zip(ways).enumerate() {
            for waits in [false, true] {
                let port = 7001 + u16::try_from(number * 100 + way * 10 + usize::from(waits))?;
                let style = format!(
                    "--send {} --by {by} {} [::]:{port}",
                    file.display(),
                    if waits { "--wait" } else { "" }
                );
                running.push(Testd::start(&place.sandbox, daemon, &style)?);
                wanted.push((port, waits, content.clone(), format!("{by} of {bytes}, waits: {waits}")));
            }
        }
    }
    let tcpw = place.tcpw("", &[])?;
    let mut sent = 0;
    for (port, waits, content, what) in &wanted {
        for client in [CLIENT_V4, CLIENT_V6] {
            let server = if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
            let mut stream = place.open(client, SocketAddr::new(server, *port))?;
            stream.set_read_timeout(Some(3 * SOON))?;
            if *waits {
                stream.write_all(b"?")?;
            }
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            let text = format!("Hello {client},\r\nbehave.\r\n");
            ensure!(
                all.starts_with(text.as_bytes()),
                "{what}: {:?} came first\n{}",
                String::from_utf8_lossy(&all[..all.len().min(80)]),
                tcpw.process.tail()
            );
            let rest = &all[text.len()..];
            let differs = rest.iter().zip(content).position(|(ours, theirs)| ours != theirs);
            ensure!(
                differs.is_none() && rest.len() == content.len(),
                "{what}: {} bytes of {}, differ at {differs:?}",
                rest.len(),
                content.len()
            );
            sent += 1;
        }
    }
    place.wait_counter("banners_sent", sent)?;
    place.wait_counter("banners_waiting", 0)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_missed"], 0);
    // The daemons were told of their own bytes alone.
    for daemon in &running {
        for line in daemon.process.lines() {
            ensure!(!line.text.starts_with("sent") || line.text == "sent: Ok(())", "{}", line.text);
        }
    }
    Ok(())
}

#[test]
fn ssh_nc_and_curl_show_the_text_and_go_on() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/sbin/nginx", "/usr/bin/curl", "/bin/nc.openbsd"]
        .map(Requirement::Program);
    if !ready() || !can_run("banner: clients", &programs) {
        return Ok(());
    }
    let place = place("banner-real", &["sshd", "nginx"])?;
    let key = SshKey::generate(&place.sandbox)?;
    let dual = Sshd::start(&place.sandbox, &key, 2201, SshdSockets::DualStack)?;
    let sshd = Sshd::start(&place.sandbox, &key, 2202, SshdSockets::PerFamily)?;
    let _nginx = Nginx::start(&place.sandbox, 8001)?;
    let _tcpw = place.tcpw("", &[])?;
    for (client, server) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, SERVER_V6)] {
        for sshd in [&sshd, &dual] {
            // Lines before the version are RFC 4253's own; ssh shows them, and logs in.
            assert_eq!(key.log_in(&place.sandbox, client, server, sshd.port, "echo in")?, "in");
            let ssh =
                "-F none -v -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
            let said = place.printed("ssh", &format!("{ssh} -b {client} -p {} root@{server}", sshd.port))?;
            for line in [&format!("Hello {client},"), "behave.", "Remote protocol version 2.0"] {
                ensure!(said.contains(line), "{line}: {said}");
            }
            let said =
                place.printed("/bin/nc.openbsd", &format!("-w 1 -s {client} {server} {}", sshd.port))?;
            ensure!(said.starts_with(&format!("Hello {client},\nbehave.\nSSH-2.0-")), "{said}");
        }
        let url = if server.is_ipv4() { format!("{server}") } else { format!("[{server}]") };
        let said = place.printed(
            "curl",
            &format!(
                "-s -S -i -HConnection:close --http0.9 --noproxy * --interface {client} http://{url}:8001/"
            ),
        )?;
        ensure!(said.starts_with(&format!("Hello {client},\nbehave.\nHTTP/1.1 200 OK\n")), "{said}");
        ensure!(said.ends_with("hello\n") && said.matches("Hello").count() == 1, "{said}");
    }
    place.wait_counter("banners_waiting", 0)?;
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["banners_sent"], counters["banners_missed"]), (14, 0), "{counters:?}");
    Ok(())
}

/// From then on the kernel's map does not have it, and its daemon reads and writes as ever.
#[test]
fn socket_is_the_daemons_alone_once_the_text_is_out() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-alone", &["alphad", "betad"])?;
    let file = place.sandbox.scratch().join("content");
    let content = content(5_000_000);
    fs::write(&file, &content)?;
    let mut alphad = Testd::start(&place.sandbox, "alphad", "--tell [::]:7001")?;
    let _betad = Testd::start(&place.sandbox, "betad", &format!("--send {} [::]:7002", file.display()))?;
    let _tcpw = place.tcpw("", &[])?;
    let at = |port| SocketAddr::new(SERVER_V4, port);
    let text = "Hello 1.2.3.4,\r\nbehave.\r\n";
    let mut says = place.open(CLIENT_V4, at(7001))?;
    let mut greeting = vec![0; text.len() + "hello from alphad\n".len()];
    says.read_exact(&mut greeting)?;
    assert_eq!(String::from_utf8_lossy(&greeting), format!("{text}hello from alphad\n"));
    // It sends more than anybody reads so far.
    let mut reads = place.open(CLIENT_V4, at(7002))?;
    let mut first = vec![0; text.len()];
    reads.read_exact(&mut first)?;
    assert_eq!(String::from_utf8_lossy(&first), text);
    place.wait_counter("banners_waiting", 0)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_sent"], 2);
    says.write_all(b"still here")?;
    alphad.process.wait_for_line("read: still here", SOON)?;
    let mut rest = Vec::new();
    reads.read_to_end(&mut rest)?;
    ensure!(rest == content, "{} bytes of {}", rest.len(), content.len());
    Ok(())
}

/// The kernel's own way with sockets in its maps: a read that would go on ends. Once it does not, this shall be
/// no difference from libwrap any more.
#[test]
fn signal_in_a_read_before_the_text_is_out() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = place("banner-signals", &["alphad"])?;
    let file = place.sandbox.scratch().join("content");
    fs::write(&file, "content")?;
    let style = format!("--send {} --wait --alarm [::]:7001", file.display());
    let mut alphad = Testd::start(&place.sandbox, "alphad", &style)?;
    let ask = || -> Result<String> {
        let mut stream = place.open(CLIENT_V4, SocketAddr::new(SERVER_V4, 7001))?;
        thread::sleep(Duration::from_millis(300));
        // The daemon may be gone.
        let _ = stream.write_all(b"?");
        read_all(&mut stream)
    };
    assert_eq!(ask()?, "content", "without a banner signals do no harm");
    let _tcpw = place.tcpw("", &[])?;
    let mark = alphad.process.mark();
    assert_eq!(ask()?, "");
    alphad.process.wait_for_line_after(mark, "sent: Err(Resource temporarily unavailable", SOON)?;
    place.wait_counter("banners_waiting", 0)?;
    assert_eq!(Tcpw::counters(&place.sandbox)?["banners_sent"], 0);
    Ok(())
}
