//! Sockets that were bound before tcpw started.

use tcpw_tests::wait_for;
use tcpw_userspace::host::boot_ns;

use super::*;

/// What a socket of before the start answers just after it was asked before the start.
#[test]
fn answer_to_a_question_of_before_the_start_makes_no_peer() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpold")?;
    sandbox.write_tables("ALL: 1.2.4.\n", DENY)?;
    // It writes to 1.2.3.4 when somebody else speaks to it: right after the start.
    let mut daemon =
        Testd::start(&sandbox, "alphad", "--udp --quiet --late --ask 1.2.3.4:9000 0.0.0.0:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let client = Client::new(sandbox.client(), CLIENT_V4, 9000)?;
    let other = Client::new(sandbox.client(), CLIENT_V4_OTHER, 0)?;
    other.send(server, b"trigger")?;
    assert_eq!(client.receive_as(true)?.as_deref(), Some("question"));
    client.send(server, b"again")?;
    other.send(server, b"marker")?;
    wait_heard(&mut daemon, "marker")?;
    assert_eq!(heard(&daemon), 2, "only the trigger and the marker: {:?}", all_heard(&daemon));
    Ok(())
}

/// Fills the option memory of its socket, binds it, and says what it hears.
const FULL: &str = "\
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
lo = socket.if_nametoindex('lo').to_bytes(4, sys.byteorder)
try:
    for group in range(1, 1 << 20):
        address = b'\\xff\\x05' + bytes(10) + group.to_bytes(4, 'big')
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, address + lo)
except OSError as error:
    assert error.errno == 12, error
s.bind(('::', PORT))
print('bound', flush=True)
while True:
    data, peer = s.recvfrom(2048)
    print('heard', data.decode(), flush=True)
    if data == b'ask':
        s.sendto(b'question', ('::ffff:1.2.4.4', 9000))
        print('asked', flush=True)
    else:
        s.sendto(b'hello from python', peer)
";

fn socket_with_full_memory(sandbox: &Sandbox, port: u16) -> Result<Process> {
    let mut python = Command::new("/usr/bin/python3");
    python.arg("-c").arg(FULL.replace("PORT", &port.to_string()));
    let mut process = sandbox.spawn(Place::Guarded, python)?;
    process.wait_for_line("bound", Duration::from_secs(20))?;
    Ok(process)
}

/// What a process has heard up to `last`, which it has said by now, or says soon.
fn heard_until(process: &Process, last: &str) -> Result<Vec<String>> {
    wait_for(&format!("it says \"heard {last}\""), PATIENCE * 20, || {
        let lines = process.lines().into_iter().map(|line| line.text);
        let heard: Vec<String> = lines.filter(|line| line.starts_with("heard ")).collect();
        Ok(heard.iter().any(|line| line.ends_with(last)).then_some(heard))
    })
}

/// By the rules for any daemon at first, and by those for its names once a scan has found them.
#[test]
fn socket_that_can_carry_no_mark_is_judged_by_the_rules_of_its_names() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpfull")?;
    sandbox.write_tables("python3: 1.2.3.\nbetad: ALL\n", DENY)?;
    let full = socket_with_full_memory(&sandbox, 7001)?;
    // Sockets that were not bound are not judged: they are told apart.
    let mut free = Testd::start(&sandbox, "alphad", "--udp 0.0.0.0:0")?;
    let free_port = chosen_port(&mut free)?;
    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    let refused = Client::new(sandbox.client(), CLIENT_V4_OTHER, 9000)?;
    let allowed = Client::new(sandbox.client(), CLIENT_V4, 0)?;
    for _round in 0..3 {
        refused.send(server, b"intruder")?;
    }
    assert!(allowed.is_answered(server, true)?, "allowed by its name: {}", tcpw.process.tail());
    assert!(is_answered(&sandbox, CLIENT_V4_OTHER, SERVER_V4, free_port, true)?, "the kernel chose its port");
    let row = Tcpw::wait_listener(&sandbox, 7001, |row| row["tag"] == "written")?;
    assert!(row["names"].to_string().contains("python3"), "{row}");
    assert_eq!(heard_until(&full, "hello?")?, ["heard hello?"]);
    // What it asks for it hears, from where it asked, once what it writes is surely no answer from before the start.
    let other_port = Client::new(sandbox.client(), CLIENT_V4_OTHER, 9001)?;
    wait_until("a reply is heard", PATIENCE * 40, || {
        allowed.send(server, b"ask")?;
        assert_eq!(refused.receive_as(true)?.as_deref(), Some("question"));
        other_port.send(server, b"intruder")?;
        refused.send(server, b"reply")?;
        // Behind them on the same socket: what came before was heard before.
        let marker = format!("marker {}", boot_ns());
        allowed.send(server, marker.as_bytes())?;
        Ok(heard_until(&full, &marker)?.contains(&"heard reply".to_owned()))
    })?;
    // An edit is followed.
    let mark = tcpw.process.mark();
    sandbox.write_tables("python3: 1.2.4.\n", DENY)?;
    tcpw.wait_applied(mark)?;
    allowed.send(server, b"intruder")?;
    other_port.send(server, b"the last")?;
    let heard = heard_until(&full, "the last")?;
    assert!(!heard.contains(&"heard intruder".to_owned()), "{heard:?}");
    Ok(())
}

/// Without a daemon, too: what it left pinned judges the socket.
#[test]
fn socket_that_can_carry_no_mark_is_judged_after_the_daemon_was_killed() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("udpfullpin")?;
    sandbox.write_tables("python3: 1.2.3.\n", DENY)?;
    let full = socket_with_full_memory(&sandbox, 7001)?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    Tcpw::wait_listener(&sandbox, 7001, |row| row["tag"] == "written")?;
    tcpw.process.signal(Signal::SIGKILL)?;
    tcpw.process.wait(PATIENCE * 20)?;
    let server = SocketAddr::new(SERVER_V4, 7001);
    Client::new(sandbox.client(), CLIENT_V4_OTHER, 0)?.send(server, b"intruder")?;
    assert!(is_answered(&sandbox, CLIENT_V4, SERVER_V4, 7001, true)?);
    assert_eq!(heard_until(&full, "hello?")?, ["heard hello?"]);
    Ok(())
}
