//! Not one byte of a connection that has to wait passes, whatever the kernel cannot store, and whatever else is sent
//! meanwhile: the gate, loaded by the test itself, with failures acted out.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, sendto, setsockopt, socket,
    sockopt,
};
use tcpw_common::{
    answer::NEVER,
    counter::Counter,
    fault::{BIND_NOT_STORED, HANDSHAKE_FORGOTTEN, HANDSHAKE_NOT_STORED, SOCKET_NOT_MARKED, WAITING_FULL},
    key::AnswerKey,
    limits::{HANDSHAKE_ENDS_NS, MAX_USER_HANDSHAKES},
    outcome::Outcome,
    user::UserDecides,
};
use tcpw_tests::{
    Cgroup, Netns, RawClient, Requirement, can_run,
    policy::{address, compile_with, tables},
    wait_for, wait_until,
};
use tcpw_userspace::{
    compile::Names,
    host::boot_ns,
    kernel::{Alive, CounterMap, Kernel, LoadOptions},
    names::NamesSet,
};
use tokio::runtime::Runtime;

const PORT: u16 = 7001;
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SERVER_AT: SocketAddrV4 = SocketAddrV4::new(SERVER, PORT);
const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const BY_USER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// For an emulated machine.
const SOON: Duration = Duration::from_secs(30);

/// Races of each kind.
const TRIES: u16 = 10_000;

/// The gate of a policy in which the user decides for one client, and is not asked for. A listener in its scope.
struct Guarded {
    listener: TcpListener,
    netns: Netns,
    kernel: Kernel,
    alive: Alive,
    cgroup: Cgroup,
    /// When users had begun to decide: CLOCK_BOOTTIME, nanoseconds.
    began_ns: u64,
    _runtime: Runtime,
}

impl Guarded {
    fn new(name: &str, faults: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let in_runtime = runtime.enter();
        let cgroup = Cgroup::new(&format!("tcpw-failures-{name}-{}", std::process::id()))?;
        let mut kernel = Kernel::load(&LoadOptions { resets: true, faults, ..LoadOptions::default() })?;
        let alive = kernel.stay_alive()?;
        kernel.attach_identity(cgroup.path());
        kernel.begin_users(cgroup.path())?;
        let began_ns = boot_ns();
        put_in_force(&mut kernel)?;
        kernel.attach_gate(cgroup.path())?;
        let netns = Netns::new()?;
        let listener = cgroup.run(|| netns.run(|| Ok(TcpListener::bind((SERVER, PORT))?)))?;
        listener.set_nonblocking(true)?;
        drop(in_runtime);
        Ok(Self { listener, netns, kernel, alive, cgroup, began_ns, _runtime: runtime })
    }

    /// Connects, and sends one byte; the connection as the server has it, if there is one.
    fn sends(&self, from: SocketAddrV4) -> Result<Option<(TcpStream, TcpStream)>> {
        self.alive.sign();
        self.netns.run(|| {
            let Some(mut client) = connected(from)? else { return Ok(None) };
            client.write_all(b"x")?;
            let (server, _from) = self.listener.accept().context("the server has no connection")?;
            server.set_nonblocking(true)?;
            Ok(Some((client, server)))
        })
    }

    /// Before, a handshake that is not known may be from before users decided.
    fn wait_until_handshakes_are_known(&self) -> Result<()> {
        wait_until("users have decided long enough", SOON, || {
            Ok(boot_ns() >= self.began_ns + HANDSHAKE_ENDS_NS)
        })
    }

    fn counted(&self, counter: Counter) -> u64 {
        counted(&self.kernel.counters, counter)
    }

    /// What came of a byte that was sent: it arrives, or the gate has dropped more than `before` segments.
    fn arrives(&self, server: &TcpStream, before: u64) -> Result<usize> {
        arrives(&self.kernel.counters, server, before)
    }
}

fn counted(counters: &CounterMap, counter: Counter) -> u64 {
    let all = counters.read();
    all.into_iter().find(|(metric, _)| *metric == counter.metric()).map_or(0, |(_, value)| value)
}

fn arrives(counters: &CounterMap, server: &TcpStream, before: u64) -> Result<usize> {
    // What was dropped before is sent again, at longer and longer intervals.
    wait_for("the byte arrives or is dropped", SOON, || {
        let bytes = received(server)?;
        let is_dropped = counted(counters, Counter::UserSegments) > before;
        Ok((bytes > 0 || is_dropped).then_some(bytes))
    })
}

/// Puts the policy in force, and the answer of a daemon that would ask for the user.
fn put_in_force(kernel: &mut Kernel) -> Result<()> {
    let rules = tables(Some("ALL: 127.0.0.1 joe@127.0.0.3\n"), Some("ALL: ALL\n"), BTreeMap::new());
    let policy = compile_with(Names::LookedUp, &rules, &[NamesSet::default()])?;
    let generation = kernel.apply(&policy, 0)?.generation;
    let decides = UserDecides { if_unknown: Outcome::Refuse, timeout_s: 600 };
    for index in 0..8 {
        let [client, server] = [BY_USER, SERVER].map(|ip| address(IpAddr::V4(ip)));
        let key = AnswerKey { generation, policy: index, client, server };
        kernel.answers.answer(key, decides.to_answer(), 0, NEVER)?;
    }
    Ok(())
}

fn connected(from: SocketAddrV4) -> Result<Option<TcpStream>> {
    let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&client, sockopt::ReuseAddr, &true)?;
    setsockopt(&client, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(0, 200_000))?;
    // No connection stays behind in TIME_WAIT.
    setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    bind(client.as_raw_fd(), &SockaddrIn::from(from))?;
    let done = connect(client.as_raw_fd(), &SockaddrIn::from(SERVER_AT));
    Ok(done.is_ok().then(|| TcpStream::from(client)))
}

/// What has come so far.
fn received(mut server: &TcpStream) -> Result<usize> {
    match server.read(&mut [0]) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).context("read as the server"),
    }
}

fn ready() -> bool {
    can_run("failures", &[Requirement::Root])
}

/// What a client's byte came to: `None` if it could not connect.
fn bytes_of(guarded: &Guarded, from: SocketAddrV4) -> Result<Option<usize>> {
    let before = guarded.counted(Counter::UserSegments);
    let Some((_client, server)) = guarded.sends(from)? else { return Ok(None) };
    guarded.arrives(&server, before).map(Some)
}

fn by_user(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(BY_USER, port)
}

fn allowed(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ALLOWED, port)
}

#[test]
fn without_a_failure_the_allowed_client_is_served_and_the_other_waits() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("none", 0)?;
    assert_eq!(bytes_of(&guarded, by_user(40_001))?, Some(0));
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, Some(1));
    assert_eq!(guarded.counted(Counter::UserNotKnown), 0);
    Ok(())
}

#[test]
fn handshake_that_cannot_be_stored_does_not_go_on() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("stored", HANDSHAKE_NOT_STORED)?;
    assert_eq!(bytes_of(&guarded, by_user(40_001))?, None);
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, None);
    Ok(())
}

#[test]
fn data_of_a_connection_whose_handshake_is_forgotten_do_not_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("forgotten", HANDSHAKE_FORGOTTEN)?;
    guarded.wait_until_handshakes_are_known()?;
    assert_eq!(bytes_of(&guarded, by_user(40_001))?, Some(0));
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, Some(0));
    assert_eq!(guarded.counted(Counter::UserNotKnown), 2);
    // A daemon ends them: until then no end of the programs lets their data pass.
    let waiting = guarded.kernel.users.waiting()?;
    let refused = waiting.iter().filter(|waiting| waiting.pending.answer == Outcome::Refuse as u32).count();
    assert_eq!((waiting.len(), refused), (2, 2));
    Ok(())
}

#[test]
fn data_of_a_socket_that_cannot_be_marked_do_not_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("marked", SOCKET_NOT_MARKED)?;
    let before = guarded.counted(Counter::UserSegments);
    let (mut client, server) = guarded.sends(by_user(40_001))?.context("the client connects")?;
    assert_eq!(guarded.arrives(&server, before)?, 0);
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, Some(1));
    // Nor do those of the server, or any later ones, whatever is evicted meanwhile.
    guarded.netns.run(|| {
        let raw = RawClient::new(ALLOWED, SERVER_AT)?;
        (0..2 * MAX_USER_HANDSHAKES)
            .try_for_each(|number| raw.send_syn(1024 + u16::try_from(number % 60_000)?))
    })?;
    let before = guarded.counted(Counter::UserSegments);
    client.write_all(b"z")?;
    assert_eq!(guarded.arrives(&server, before)?, 0);
    let before = guarded.counted(Counter::UserSegments);
    (&server).write_all(b"y")?;
    wait_until("the server's byte is dropped", SOON, || Ok(guarded.counted(Counter::UserSegments) > before))?;
    client.set_nonblocking(true)?;
    let answer = client.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(answer, Err(ErrorKind::WouldBlock), "the client got the server's data");
    Ok(())
}

/// Both ends of a connection to itself send a SYN: no listener accepts it, and no gate judges it.
#[test]
fn connection_of_the_host_s_own_that_is_opened_from_both_ends_passes_data() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("itself", 0)?;
    guarded.wait_until_handshakes_are_known()?;
    let echoed = guarded.cgroup.run(|| {
        guarded.netns.run(|| {
            let own = SockaddrIn::new(127, 0, 0, 1, 40_100);
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &own)?;
            connect(socket.as_raw_fd(), &own).context("connect to itself")?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"x")?;
            let mut byte = [0];
            stream.read_exact(&mut byte).context("its own byte comes back")?;
            Ok(byte)
        })
    })?;
    assert_eq!(&echoed, b"x");
    assert_eq!(guarded.counted(Counter::UserNotKnown), 0);
    Ok(())
}

#[test]
fn handshake_and_mark_that_both_fail_let_no_data_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("both", SOCKET_NOT_MARKED | HANDSHAKE_FORGOTTEN)?;
    guarded.wait_until_handshakes_are_known()?;
    assert_eq!(bytes_of(&guarded, by_user(40_001))?, Some(0));
    Ok(())
}

#[test]
fn user_is_unknown_where_no_more_connections_can_wait() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("waiting", WAITING_FULL)?;
    assert_eq!(bytes_of(&guarded, by_user(40_001))?, Some(0));
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, Some(1));
    assert_eq!(guarded.counted(Counter::UserNoRoom), 1);
    Ok(())
}

#[test]
fn udp_socket_that_cannot_be_marked_gets_no_port() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("bind", BIND_NOT_STORED)?;
    let bound = |port: u16| {
        let socket = guarded.cgroup.run(|| guarded.netns.run(|| Ok(UdpSocket::bind((SERVER, port)))))?;
        Ok::<_, anyhow::Error>(socket.map(|_| ()).map_err(|error| error.raw_os_error()))
    };
    assert_eq!([bound(7002)?, bound(0)?], [Err(Some(libc::EPERM)); 2]);
    assert_eq!(bytes_of(&guarded, allowed(40_002))?, Some(1));
    Ok(())
}

/// Copies of a client's own SYN come while its handshake ends: what is remembered of it stays.
#[test]
fn copies_of_the_syn_let_no_data_of_a_waiting_client_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut guarded = Guarded::new("copies", 0)?;
    RawClient::keep_silent(&guarded.netns, BY_USER)?;
    let (port, copies, is_over) = (AtomicU16::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let passed = thread::scope(|scope| -> Result<u16> {
        let netns = &guarded.netns;
        let copying = scope.spawn(|| {
            netns.run(|| {
                let raw = RawClient::new(BY_USER, SERVER_AT)?;
                while !is_over.load(Ordering::Relaxed) {
                    raw.send_syn(port.load(Ordering::Relaxed))?;
                    copies.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let passed =
            netns.run(|| tries(&guarded.alive, &guarded.listener, |own| port.store(own, Ordering::Relaxed)));
        is_over.store(true, Ordering::Relaxed);
        copying.join().map_err(|_| anyhow::anyhow!("the sender of copies panicked"))??;
        passed
    })?;
    let waited = guarded.counted(Counter::UserWaits);
    let copies = copies.load(Ordering::Relaxed);
    println!("{waited} connections waited, {copies} copies of their SYNs came, data of {passed} passed");
    ensure!(waited > u64::from(TRIES), "only {waited} of {TRIES} connections waited");
    ensure!(copies >= 2 * u64::from(TRIES), "only {copies} copies");
    assert_eq!(passed, 0, "data of waiting clients passed");
    stop_waiting(&mut guarded.kernel)
}

/// So many other handshakes come that what is remembered of one is soon evicted.
#[test]
fn flood_of_handshakes_lets_no_data_of_a_waiting_client_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut guarded = Guarded::new("flood", 0)?;
    RawClient::keep_silent(&guarded.netns, BY_USER)?;
    guarded.wait_until_handshakes_are_known()?;
    let (others, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let passed = thread::scope(|scope| -> Result<u16> {
        let netns = &guarded.netns;
        let flooding = scope.spawn(|| {
            netns.run(|| {
                let raw = RawClient::new(ALLOWED, SERVER_AT)?;
                while !is_over.load(Ordering::Relaxed) {
                    let number = others.fetch_add(1, Ordering::Relaxed);
                    raw.send_syn(1024 + u16::try_from(number % 60_000)?)?;
                }
                Ok(())
            })
        });
        let passed = netns.run(|| tries(&guarded.alive, &guarded.listener, |_port| ()));
        is_over.store(true, Ordering::Relaxed);
        flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        passed
    })?;
    let (waited, others) = (guarded.counted(Counter::UserWaits), others.load(Ordering::Relaxed));
    let forgotten = guarded.counted(Counter::UserNotKnown);
    println!("{waited} connections waited, {forgotten} were forgotten, {others} others, {passed} passed");
    ensure!(waited + forgotten >= u64::from(TRIES), "only {waited} and {forgotten} of {TRIES}");
    ensure!(others > u64::from(MAX_USER_HANDSHAKES), "only {others} others");
    assert_eq!(passed, 0, "data of waiting clients passed");
    stop_waiting(&mut guarded.kernel)
}

/// The policy is replaced again and again, by one that says the same.
#[test]
fn reloads_let_no_data_of_a_waiting_client_pass() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut guarded = Guarded::new("reloads", 0)?;
    RawClient::keep_silent(&guarded.netns, BY_USER)?;
    let Guarded { netns, listener, kernel, alive, .. } = &mut guarded;
    let (netns, listener, alive) = (&*netns, &*listener, &*alive);
    let is_over = AtomicBool::new(false);
    let mut reloads = 0_u32;
    let passed = thread::scope(|scope| -> Result<u16> {
        let is_over = &is_over;
        let trying = scope.spawn(move || {
            let passed = netns.run(|| tries(alive, listener, |_port| ()));
            is_over.store(true, Ordering::Relaxed);
            passed
        });
        while !is_over.load(Ordering::Relaxed) {
            put_in_force(kernel)?;
            reloads += 1;
        }
        trying.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })?;
    let waited = guarded.counted(Counter::UserWaits);
    println!("{waited} connections waited, {reloads} reloads, data of {passed} passed");
    ensure!(waited >= u64::from(TRIES), "only {waited} of {TRIES} connections waited");
    ensure!(reloads >= 20, "only {reloads} reloads");
    assert_eq!(passed, 0, "data of waiting clients passed");
    stop_waiting(&mut guarded.kernel)
}

/// [`TRIES`] connections of the client whose user decides: the data of how many passed.
fn tries(alive: &Alive, listener: &TcpListener, next: impl Fn(u16)) -> Result<u16> {
    let raw = RawClient::new(BY_USER, SERVER_AT)?;
    let (mut passed, mut last) = (0, None);
    for number in 0..=TRIES {
        alive.tick();
        next(20_000 + number);
        let server = connects_and_sends(&raw, 20_000 + number, listener)?;
        // A byte is there, if it comes, once the next connection is.
        if let Some(last) = last.replace(server) {
            passed += u16::from(received(&last)? != 0);
        }
    }
    Ok(passed)
}

fn stop_waiting(kernel: &mut Kernel) -> Result<()> {
    for waiting in kernel.users.waiting()? {
        kernel.users.stop_waiting(waiting.socket)?;
    }
    Ok(())
}

/// Makes a connection and sends a byte: the connection as the server has it.
fn connects_and_sends(client: &RawClient, from: u16, listener: &TcpListener) -> Result<TcpStream> {
    let ack = client.open(from)?;
    // The gate holds the ACK if the policy has just changed.
    let server = wait_for("the server has the connection", Duration::from_secs(5), || {
        client.send(from, ack, &[])?;
        Ok(listener.accept().ok().map(|(server, _from)| server))
    })?;
    server.set_nonblocking(true)?;
    client.send(from, ack, b"x")?;
    // No state of it stays.
    setsockopt(&server, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    Ok(server)
}

/// Two threads bind one UDP socket at the same time, one to a port of its choice: if it gets that port, the socket is
/// judged.
#[test]
fn socket_that_gets_a_port_it_named_is_judged_whatever_else_is_bound() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let guarded = Guarded::new("binds", 0)?;
    let (mut named, mut unjudged) = (0_u32, 0_u32);
    let (turn, is_over) = (AtomicI32::new(-1), AtomicBool::new(false));
    guarded.cgroup.run(|| {
        thread::scope(|scope| {
            // Both threads call bind(2) at the same time, again and again.
            let other = scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let fd = turn.load(Ordering::Acquire);
                    if fd >= 0 {
                        let _ = bind(fd, &SockaddrIn::new(127, 0, 0, 1, 0));
                        turn.store(-1, Ordering::Release);
                    } else {
                        thread::yield_now();
                    }
                }
            });
            let done = guarded.netns.run(|| {
                let client = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
                bind(client.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 2, 40_000))?;
                for number in 0..u32::from(TRIES) {
                    let server = socket(
                        AddressFamily::Inet,
                        SockType::Datagram,
                        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                        None,
                    )?;
                    let fd = server.as_raw_fd();
                    turn.store(fd, Ordering::Release);
                    // The moment of the other thread's call, from before this one to after it.
                    (0..number % 200).for_each(|_| std::hint::spin_loop());
                    let _ = bind(fd, &SockaddrIn::new(127, 0, 0, 1, 7300));
                    while turn.load(Ordering::Acquire) >= 0 {
                        thread::yield_now();
                    }
                    let server = UdpSocket::from(server);
                    let SocketAddr::V4(own) = server.local_addr()? else { continue };
                    if own.port() == 7300 {
                        named += 1;
                        sendto(client.as_raw_fd(), b"x", &SockaddrIn::from(own), MsgFlags::empty())?;
                        unjudged += u32::from(server.recv(&mut [0]).is_ok());
                    }
                }
                Ok(())
            });
            is_over.store(true, Ordering::Release);
            other.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))?;
            done
        })
    })?;
    println!("{named} of {TRIES} sockets got the port they named");
    ensure!(named >= u32::from(TRIES) / 10, "only {named} sockets got the port they named");
    assert_eq!(unjudged, 0, "of {named} sockets a refused client's datagram came in");
    Ok(())
}
