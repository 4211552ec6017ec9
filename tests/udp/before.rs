//! Sockets that were bound before tcpw started.

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
    assert_eq!(client.receive()?.as_deref(), Some("question"));
    client.send(server, b"again")?;
    other.send(server, b"marker")?;
    wait_heard(&mut daemon, "marker")?;
    assert_eq!(heard(&daemon), 2, "only the trigger and the marker: {:?}", all_heard(&daemon));
    Ok(())
}
