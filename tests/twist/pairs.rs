//! The same tables and clients put to the real libwrap: byte for byte the same comes out.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Requirement, SERVER_V4, SERVER_V6, Testd,
    can_run, daemons::Tcpd,
};

use super::place::{Place, SOON, lines_with, ready};

const OURS: u16 = 7001;
const THEIRS: u16 = 7100;
pub(crate) const CLIENTS: [IpAddr; 4] = [CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER];

/// After the last byte. tcpd keeps a refused client for five seconds.
const QUIET: Duration = Duration::from_millis(800);

/// What stands behind `alphad: CLIENT:`; `B` is the directory of banners.
const OPTIONS: &[&str] = &[
    "twist /bin/echo 421 go away %a",
    "twist echo \"%a %A %c %d %h %H %n %N %s %%\"; echo %x %",
    "twist echo out; echo err >&2; exit 3",
    "banners B/plain",
    "banners B/letters",
    "banners B/end",
    "banners B/empty",
    "banners B/crlf",
    "banners B/nul",
    "banners B/brackets",
    "banners B/long",
    "banners B/none",
    "banners B/gone",
    "banners B/plain: twist echo then %a",
    "banners B/plain: banners B/letters: setenv A one two: nice 3: umask 027: twist echo \"$A `nice` `umask`\"",
    "keepalive: linger 5: twist echo \"lingers\\: %d\"",
    "severity local1.notice: banners B/end: deny",
    "twist cat /proc/self/mountinfo > /dev/null; printf 'no newline'",
    "twist i=0; while test $i -lt 2000; do echo line $i; i=$((i+1)); done",
    "spawn true: twist echo after spawn",
    "rfc931 1: twist echo user %u",
    "nice 2: twist nice",
    "banners=B/plain: severity mail.info: twist echo = %h",
    "setenv X %h: twist echo $X; cat < /dev/null",
];

/// Files of the directories of banners.
pub(crate) fn write_banners(place: &Place) -> Result<()> {
    let long = "y".repeat(9000) + " %a\n" + &"z".repeat(8190) + "%a\nend\n";
    for (directory, text) in [
        ("plain", "Hello\nworld\n".to_owned()),
        ("letters", "%a %A %c %d %h %H %n %N %s %% %x %\n%a\n".to_owned()),
        ("end", "one\ntwo without end %a".to_owned()),
        ("empty", String::new()),
        ("crlf", "one\r\ntwo\r\n\r\n".to_owned()),
        ("nul", "\0\0a\0b\nc\0d %a\ne\n".to_owned()),
        ("brackets", "[ %a\n] x\n]] y [\n".to_owned()),
        ("long", long),
    ] {
        let directory = place.banners.join(directory);
        fs::create_dir(&directory)?;
        fs::write(directory.join("alphad"), text)?;
    }
    fs::create_dir(place.banners.join("none"))?;
    Ok(())
}

/// All that comes until nothing does.
fn drain(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    stream.set_read_timeout(Some(3 * QUIET))?;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(all),
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => {
                return Ok(all);
            }
            Err(error) => return Err(error).context("read"),
        }
        stream.set_read_timeout(Some(QUIET))?;
    }
}

#[test]
fn live_pairs_give_the_same_bytes() -> Result<()> {
    let programs = ["/usr/sbin/xinetd", "/usr/sbin/tcpd"].map(Requirement::Program);
    if !ready() || !can_run("twist: pairs", &programs) {
        return Ok(());
    }
    let place = Place::new("twist-pairs")?;
    write_banners(&place)?;
    let banners = place.banners.display().to_string();
    fs::write(place.sandbox.etc().join("hosts"), "127.0.0.1 localhost\n1.2.3.4 good.example.test\n")?;
    let tcpd = Tcpd::start(&place.sandbox, "alphad", THEIRS)?;
    let listen = format!("{SERVER_V4}:{OURS} [{SERVER_V6}]:{OURS}");
    let alphad = Testd::start(&place.sandbox, "alphad", &format!("--tell {listen}"))?;
    place.sandbox.write_tables("", "ALL: ALL\n")?;
    let mut tcpw = place.tcpw("at-once = 32\n", &["--on-deny", "reset"])?;
    let (mut pairs, mut bytes) = (0, 0);
    for chunk in OPTIONS.chunks(CLIENTS.len()) {
        let mut table = String::new();
        for (client, options) in CLIENTS.iter().zip(chunk) {
            let client = if client.is_ipv6() { format!("[{client}]") } else { client.to_string() };
            table += &format!("alphad: {client}: {}\n", options.replace("B/", &format!("{banners}/")));
        }
        table += "alphad: ALL\n";
        fs::write(place.sandbox.etc().join("hosts.deny"), &table)?;
        tcpw.apply(&place.sandbox, "", &table)?;
        if pairs == 0 {
            // The first time the listener has to be certified for redirects.
            let mark = tcpw.process.mark();
            for (client, text) in [(CLIENT_V4, "421 go away"), (CLIENT_V6, "out\n")] {
                place.wait_served(client, OURS, text)?;
                tcpw.process.wait_for_line_after(mark, &format!("]: twist {client} to "), SOON)?;
            }
        }
        let (mark, their_mark) = (tcpw.process.mark(), tcpd.mark());
        let ask = |client: IpAddr| -> Result<(Vec<u8>, Vec<u8>)> {
            let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
            let get = |port| match place.open(client, SocketAddr::new(server, port)) {
                Ok(mut stream) => drain(&mut stream),
                // A refusal by reset is no byte either.
                Err(error) if error.to_string().contains("Refused") => Ok(Vec::new()),
                Err(error) => Err(error),
            };
            Ok((get(OURS)?, get(THEIRS)?))
        };
        let answers: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = CLIENTS.iter().map(|client| scope.spawn(move || ask(*client))).collect();
            all.into_iter()
                .map(|one| one.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
                .collect::<Result<_>>()
        })?;
        for ((client, options), (ours, theirs)) in CLIENTS.iter().zip(chunk).zip(answers) {
            ensure!(
                ours == theirs,
                "{client} under \"{options}\":\nours   {:?}\ntheirs {:?}\n{}",
                String::from_utf8_lossy(&ours),
                String::from_utf8_lossy(&theirs),
                tcpw.process.tail()
            );
            ensure!(!String::from_utf8_lossy(&ours).contains("hello"), "the daemon was reached");
            pairs += 1;
            bytes += ours.len();
            // Its line is libwrap's own.
            if let Some(theirs) = tcpd.line_with(their_mark, &format!("twist {client} to ")) {
                let found = lines_with(&tcpw, mark, &theirs);
                ensure!(
                    found.len() == 1 && found[0].ends_with(&format!("]: {theirs}")),
                    "{theirs}: {found:?}"
                );
            }
        }
    }
    writeln!(std::io::stderr(), "twist: {pairs} live pairs, {bytes} bytes of each, the same")?;
    ensure!(pairs == OPTIONS.len() && bytes > 20_000, "{pairs} pairs, {bytes} bytes");
    ensure!(!alphad.process.lines().iter().any(|line| line.text.starts_with("read")));
    Ok(())
}
