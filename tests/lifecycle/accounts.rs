//! Users and groups that options name, looked up where it takes long.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, Sandbox, Tcpw, Testd, client::connect};

use crate::{DENY, PORT, is_allowed, ready};

/// Less than five seconds: see [`Nscd`].
const SOON: Duration = Duration::from_secs(4);

/// The reload of a rule that names a user, while its look-up takes long. Prefixes cannot express the rules
/// here: each attempt is decided in user space.
struct Slow {
    tcpw: Tcpw,
    /// When the reload began.
    mark: usize,
    /// What nscd was asked, and answers no more: dropped, the library looks elsewhere.
    client: UnixStream,
    nscd: Nscd,
    _alphad: Testd,
    sandbox: Sandbox,
}

/// In the place of nscd(8), which the C library asks first: as a directory service, it knows nobody, and
/// then does not answer at all for five seconds, the library's patience.
struct Nscd {
    is_silent: Arc<AtomicBool>,
    asked: Receiver<UnixStream>,
}

impl Nscd {
    /// GETPWBYNAME. Source: glibc/nscd/nscd-client.h.
    const USER_BY_NAME: i32 = 0;

    /// A `pw_response_header` whose `found` is 0. Source: the same.
    const NOBODY: [i32; 9] = [2, 0, 0, 0, 0, 0, 0, 0, 0];

    fn start(sandbox: &Sandbox) -> Result<Self> {
        let directory = sandbox.scratch().join("run/nscd");
        fs::create_dir_all(&directory)?;
        let listener = UnixListener::bind(directory.join("socket"))?;
        let (tell, asked) = channel();
        let is_silent = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&is_silent);
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                // Version and type of the request; all others are not served.
                let mut head = [0; 8];
                let by_name =
                    client.read_exact(&mut head).is_ok() && head[4..] == Self::USER_BY_NAME.to_ne_bytes();
                if by_name && of_thread.load(Ordering::Relaxed) {
                    if tell.send(client).is_err() {
                        return;
                    }
                } else if by_name {
                    let answer: Vec<u8> = Self::NOBODY.iter().flat_map(|word| word.to_ne_bytes()).collect();
                    drop(client.write_all(&answer));
                }
            }
        });
        Ok(Self { is_silent, asked })
    }
}

fn slow(name: &str) -> Result<Slow> {
    let sandbox = Sandbox::new(name)?;
    sandbox.write_tables("alphad: *2.3.4\n", DENY)?;
    let alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let nscd = Nscd::start(&sandbox)?;
    let tcpw = Tcpw::start(&sandbox, &[])?;
    nscd.is_silent.store(true, Ordering::Relaxed);
    let mark = tcpw.process.mark();
    sandbox.write_tables("alphad: *2.4.4: user root\n", DENY)?;
    let client = nscd.asked.recv_timeout(SOON).context("nobody was looked up")?;
    Ok(Slow { tcpw, mark, client, nscd, _alphad: alphad, sandbox })
}

/// How many threads prepare a policy.
fn reloads(tcpw: &Tcpw) -> Result<usize> {
    let tasks = fs::read_dir(format!("/proc/{}/task", tcpw.process.pid()))?.collect::<Result<Vec<_>, _>>()?;
    // One that has ended meanwhile has no name.
    let names = tasks.iter().map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    Ok(names.filter(|name| name.trim() == "reload").count())
}

/// Waits until every policy that was being prepared is in force or dropped.
fn wait_reloads_over(tcpw: &Tcpw, sandbox: &Sandbox) -> Result<()> {
    tcpw_tests::wait_until("no reload is under way", SOON, || Ok(reloads(tcpw)? == 0))?;
    // What a thread left to the loop has been taken from it before a later request is answered.
    Tcpw::status(sandbox).map(drop)
}

#[test]
fn accounts_that_are_long_in_coming_hold_up_nothing_but_their_own_reload() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let Slow { tcpw, mark, client, sandbox, .. } = &mut slow("accounts")?;
    let began = Instant::now();
    assert!(is_allowed(sandbox, CLIENT_V4)?);
    assert!(!is_allowed(sandbox, CLIENT_V4_OTHER)?);
    // A listener that nobody knows yet.
    let _second = Testd::start(sandbox, "alphad", "0.0.0.0:7002")?;
    let second = SocketAddr::new(SERVER_V4, PORT + 1);
    let attempt = connect(sandbox.client(), CLIENT_V4, second, Duration::from_millis(900))?;
    assert!(attempt.is_connected(), "{attempt:?}");
    Tcpw::counters(sandbox)?;
    let took = began.elapsed();
    ensure!(took < SOON, "{took:?}");
    let has_applied = tcpw.process.lines().iter().skip(*mark).any(|line| line.text.contains("applied"));
    ensure!(!has_applied, "it did not wait for the user");
    let line = "stays in force until then: the look-up of a user or group that the tables name has taken";
    tcpw.process.wait_for_line_after(*mark, line, SOON)?;
    client.shutdown(Shutdown::Both)?;
    tcpw.wait_applied(*mark)?;
    assert!(!is_allowed(sandbox, CLIENT_V4)?);
    assert!(is_allowed(sandbox, CLIENT_V4_OTHER)?, "the user is there");
    Ok(())
}

#[test]
fn of_two_reloads_the_later_one_counts_though_it_is_ready_first() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let Slow { tcpw, mark, client, sandbox, .. } = &mut slow("later")?;
    sandbox.write_tables("alphad: *2.3.4 9.9.9.9\n", DENY)?;
    tcpw.wait_applied(*mark)?;
    client.shutdown(Shutdown::Both)?;
    wait_reloads_over(tcpw, sandbox)?;
    assert!(is_allowed(sandbox, CLIENT_V4)?);
    assert!(!is_allowed(sandbox, CLIENT_V4_OTHER)?);
    Ok(())
}

/// A directory that does not answer takes no more threads than that, and the last edit is not lost.
#[test]
fn reloads_at_once_are_bounded_and_the_last_edit_comes_into_force() -> Result<()> {
    /// As many as tcpw has.
    const MOST: usize = 4;
    if !ready() {
        return Ok(());
    }
    let Slow { tcpw, mark, client, nscd, sandbox, .. } = &mut slow("many")?;
    let mut clients = Vec::new();
    for number in 2..=MOST {
        sandbox.write_tables(&format!("alphad: *2.4.4 9.9.9.{number}: user root\n"), DENY)?;
        clients.push(nscd.asked.recv_timeout(SOON).with_context(|| format!("no reload {number}"))?);
    }
    let edited = tcpw.process.mark();
    sandbox.write_tables("alphad: 1.2.4.4: user root\n", DENY)?;
    tcpw.process.wait_for_line_after(edited, "while 4 reloads wait for users and groups", SOON)?;
    sandbox.write_tables("alphad: 1.2.3.4 9.9.9.9\n", DENY)?;
    assert_eq!(reloads(tcpw)?, MOST);
    let has_applied = tcpw.process.lines().iter().skip(*mark).any(|line| line.text.contains("applied"));
    ensure!(!has_applied, "it did not wait for the user");
    for client in [&*client].into_iter().chain(&clients) {
        client.shutdown(Shutdown::Both)?;
    }
    tcpw_tests::wait_until("the last edit is in force", 3 * SOON, || {
        Ok(is_allowed(sandbox, CLIENT_V4)? && !is_allowed(sandbox, CLIENT_V4_OTHER)?)
    })?;
    // No older one comes after it.
    wait_reloads_over(tcpw, sandbox)?;
    assert!(is_allowed(sandbox, CLIENT_V4)? && !is_allowed(sandbox, CLIENT_V4_OTHER)?);
    Ok(())
}
