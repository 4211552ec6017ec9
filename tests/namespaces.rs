//! Two network namespaces with equal addresses and ports: what is kept of a flow in one says nothing of the
//! same flow in the other. What is kept of a namespace goes with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData, MapInfo},
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use tcpw_common::{
    answer::NEVER,
    counter::Counter,
    event::{Event, Kind},
    handshake::Handshake,
    key::{AnswerKey, FlowKey},
    outcome::Outcome,
    refusal::RefusedFlow,
    user::{Pending, UserDecides, Waiting},
};
use tokio::sync::mpsc;

use tcpw_tests::{
    Cgroup, Netns, RawClient, Requirement, can_run,
    policy::{address, compile_with, tables},
};
use tcpw_userspace::{
    compile::Names,
    host::LinkNetwork,
    kernel::{Kernel, LoadOptions, Pace},
    names::NamesSet,
};

const PORT: u16 = 7001;
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ALLOWED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 40_001);
const REFUSED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 40_002);
const BY_USER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 40_003);

/// Held by one test at a time: the maps of this process are found among its open files.
static ALONE: Mutex<()> = Mutex::new(());

/// What the kernel keeps of flows.
struct Kept {
    handshakes: HashMap<MapData, FlowKey, Handshake>,
    flows: HashMap<MapData, FlowKey, RefusedFlow>,
    user_handshakes: HashMap<MapData, FlowKey, Pending>,
}

/// The same, of one namespace.
#[derive(Debug, PartialEq)]
struct Of {
    handshakes: BTreeMap<FlowKey, Handshake>,
    flows: BTreeMap<FlowKey, RefusedFlow>,
    user_handshakes: BTreeMap<FlowKey, Pending>,
}

impl Kept {
    /// The maps that this process has loaded.
    fn open() -> Result<Self> {
        let own = own_maps()?;
        Ok(Self {
            handshakes: lru(&own, "HANDSHAKES")?,
            flows: lru(&own, "FLOWS")?,
            user_handshakes: lru(&own, "USER_HANDSHAKES")?,
        })
    }

    fn of(&self, is_there: impl Fn(u64) -> bool) -> Result<Of> {
        Ok(Of {
            handshakes: entries(&self.handshakes, &is_there)?,
            flows: entries(&self.flows, &is_there)?,
            user_handshakes: entries(&self.user_handshakes, &is_there)?,
        })
    }
}

fn entries<V: Pod>(
    map: &HashMap<MapData, FlowKey, V>,
    is_there: impl Fn(u64) -> bool,
) -> Result<BTreeMap<FlowKey, V>> {
    let mut found = BTreeMap::new();
    for entry in map.iter() {
        let (flow, value) = entry?;
        if is_there(flow.netns) {
            found.insert(flow, value);
        }
    }
    Ok(found)
}

/// Ids of the maps that this process has open. Source: proc_pid_fdinfo(5).
fn own_maps() -> Result<HashSet<u32>> {
    let mut own = HashSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo").context("list the open files")? {
        // The descriptor of the list itself is closed by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        own.extend(text.lines().filter_map(|line| line.strip_prefix("map_id:")?.trim().parse::<u32>().ok()));
    }
    Ok(own)
}

fn lru<V: Pod>(own: &HashSet<u32>, name: &str) -> Result<HashMap<MapData, FlowKey, V>> {
    for id in own {
        if MapInfo::from_id(*id)?.name_as_str() == Some(name) {
            return Ok(HashMap::try_from(Map::LruHashMap(MapData::from_id(*id)?))?);
        }
    }
    bail!("no map {name} was loaded")
}

/// Connects from an address and port; `None` if that does not succeed in a moment.
fn try_connect(netns: &Netns, from: SocketAddrV4) -> Result<Option<TcpStream>> {
    netns.run(|| {
        let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&client, sockopt::ReuseAddr, &true)?;
        setsockopt(&client, sockopt::SendTimeout, &nix::sys::time::TimeVal::new(0, 200_000))?;
        bind(client.as_raw_fd(), &SockaddrIn::from(from))?;
        let connected = connect(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(SERVER, PORT)));
        Ok(connected.is_ok().then(|| TcpStream::from(client)))
    })
}

async fn events(ring: &mut mpsc::Receiver<Vec<Event>>, wanted: usize) -> Result<Vec<Event>> {
    let mut all = Vec::new();
    while all.len() < wanted {
        let some = tokio::time::timeout(Duration::from_secs(5), ring.recv())
            .await
            .context("no event came")?
            .context("the reader of the ring ended")?;
        let is_attempt =
            |event: &Event| event.kind == Kind::Refused as u32 || event.kind == Kind::Accepted as u32;
        all.extend(some.into_iter().filter(is_attempt));
    }
    Ok(all)
}

fn counted(kernel: &Kernel, counter: Counter) -> u64 {
    let all = kernel.counters.read();
    all.into_iter().find(|(metric, _)| *metric == counter.metric()).map_or(0, |(_, value)| value)
}

#[test]
fn equal_flows_of_two_namespaces_are_told_apart() -> Result<()> {
    if !can_run("namespaces", &[Requirement::Root]) {
        return Ok(());
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _in_runtime = runtime.enter();
    let cgroup = Cgroup::new(&format!("tcpw-namespaces-{}", std::process::id()))?;
    let mut kernel =
        Kernel::load(&LoadOptions { log_allowed: true, resets: true, ..LoadOptions::default() })?;
    let kept = Kept::open()?;
    let mut ring = kernel.take_events()?.read_ahead(Pace::AtOnce, 1 << 20);
    let alive = kernel.stay_alive()?;
    kernel.attach_identity(cgroup.path());
    kernel.begin_users(cgroup.path())?;
    let rules = tables(Some("ALL: 127.0.0.1 joe@127.0.0.3\n"), Some("ALL: ALL\n"), BTreeMap::new());
    let policy = compile_with(Names::LookedUp, &rules, &[NamesSet::default()])?;
    let generation = kernel.apply(&policy, 0)?.generation;
    kernel.attach_gate(cgroup.path())?;
    // The policy of that client is the one policy there is.
    let decides = UserDecides { if_unknown: Outcome::Refuse, timeout_s: 10 };
    for index in 0..8 {
        let key = AnswerKey {
            generation,
            policy: index,
            client: address(IpAddr::V4(*BY_USER.ip())),
            server: address(IpAddr::V4(SERVER)),
        };
        kernel.answers.answer(key, decides.to_answer(), 0, NEVER)?;
    }

    let (a, b) = (Netns::new()?, Netns::new()?);
    let listen = |netns: &Netns| netns.run(|| Ok(TcpListener::bind(SocketAddr::from((SERVER, PORT)))?));
    let listeners = cgroup.run(|| Ok([listen(&a)?, listen(&b)?]))?;
    // In A no handshake comes to its end, so that what is kept of it stays.
    a.nft("add table inet t")?;
    a.nft("add chain inet t in { type filter hook input priority 0; }")?;
    a.nft(&format!("add rule inet t in tcp dport {PORT} tcp flags & (syn|ack) == ack drop"))?;

    alive.sign();
    let of_a = [ALLOWED, REFUSED, BY_USER].map(|from| try_connect(&a, from));
    let [allowed, refused, _by_user] = of_a;
    let mut allowed = allowed?.context("the client sees a connection")?;
    ensure!(refused?.is_none(), "a refused client connects");
    let first = kept.of(|_| true)?;
    let netns_a = first.handshakes.keys().next().context("no handshake in A")?.netns;
    ensure!(netns_a != 0, "the namespace is not known");
    let sizes = |of: &Of| [of.handshakes.len(), of.flows.len(), of.user_handshakes.len()];
    assert_eq!(sizes(&first), [1, 1, 2], "{first:?}");

    alive.sign();
    let of_b = [ALLOWED, REFUSED, BY_USER].map(|from| try_connect(&b, from));
    let [allowed_b, refused_b, _by_user_b] = of_b;
    ensure!(allowed_b?.is_some() && refused_b?.is_none(), "the verdicts in B");
    assert_eq!(kept.of(|netns| netns == netns_a)?, first, "A after B");
    let second = kept.of(|netns| netns != netns_a)?;
    // The client whose user decides waits: its socket is marked. That the other does not wait stays known.
    assert_eq!(sizes(&second), [0, 1, 1], "B: {second:?}");
    let waiting: Vec<Waiting> = kernel.users.waiting()?;
    assert!(waiting.iter().all(|one| one.flow.netns != netns_a) && waiting.len() == 1, "{waiting:?}");

    // A goes on as if B were not there.
    a.nft("flush ruleset")?;
    allowed.write_all(b"x")?;
    let told = runtime.block_on(events(&mut ring, 4))?;
    let told = |kind: Kind, is_a: bool| {
        told.iter().filter(|it| it.kind == kind as u32 && (it.netns == netns_a) == is_a).count()
    };
    for kind in [Kind::Refused, Kind::Accepted] {
        assert_eq!([told(kind, true), told(kind, false)], [1, 1], "{kind:?}");
    }
    assert_eq!(counted(&kernel, Counter::Refused), 2);
    drop(listeners);
    Ok(())
}

/// The secret of SYN cookies is one for all namespaces: a listener in a namespace of a user's own, which is not guarded,
/// makes cookies that the guarded listener takes.
#[test]
fn cookie_from_another_namespace_is_judged() -> Result<()> {
    if !can_run("namespaces", &[Requirement::Root]) {
        return Ok(());
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _in_runtime = runtime.enter();
    let cgroup = Cgroup::new(&format!("tcpw-namespaces-cookie-{}", std::process::id()))?;
    let mut kernel = Kernel::load(&LoadOptions { resets: true, ..LoadOptions::default() })?;
    kernel.attach_identity(cgroup.path());
    let rules = tables(Some("ALL: 127.0.0.1\n"), Some("ALL: ALL\n"), BTreeMap::new());
    kernel.apply(&compile_with(Names::LookedUp, &rules, &[NamesSet::default()])?, 0)?;
    kernel.attach_gate(cgroup.path())?;
    let (a, b) = (Netns::new()?, Netns::new()?);
    let listen = |netns: &Netns| {
        netns.run(|| {
            fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")?;
            Ok(TcpListener::bind(SocketAddr::from((SERVER, PORT)))?)
        })
    };
    let listener = cgroup.run(|| listen(&a))?;
    listener.set_nonblocking(true)?;
    let _unguarded = listen(&b)?;
    let to = SocketAddrV4::new(SERVER, PORT);
    for netns in [&a, &b] {
        RawClient::keep_silent(netns, *ALLOWED.ip())?;
        RawClient::keep_silent(netns, *REFUSED.ip())?;
    }
    // A listener takes cookies once it has made one itself.
    a.run(|| {
        let raw = RawClient::new(*ALLOWED.ip(), to)?;
        raw.open(ALLOWED.port() + 1)
    })?;
    let arrives = |client: SocketAddrV4| -> Result<bool> {
        let cookie = b.run(|| RawClient::new(*client.ip(), to)?.open(client.port()))?;
        // Over loopback the connection is there when the call returns.
        a.run(|| RawClient::new(*client.ip(), to)?.send(client.port(), cookie, b"x"))?;
        Ok(listener.accept().is_ok())
    };
    assert!(!arrives(REFUSED)?, "a refused client's cookie let it in");
    assert_eq!(counted(&kernel, Counter::AcksWithoutHandshake), 1);
    assert!(arrives(ALLOWED)?, "the guarded listener takes no cookie at all");
    Ok(())
}

/// The kernel's table has what is on links now: nothing of a namespace or an address that is gone.
#[test]
fn networks_on_links_are_those_that_were_told_last() -> Result<()> {
    if !can_run("namespaces", &[Requirement::Root]) {
        return Ok(());
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernel = Kernel::load(&LoadOptions::default())?;
    let of = |netns: u64, ifindex: u32, address: &str, bits: u8| -> Result<(u64, LinkNetwork)> {
        let network = LinkNetwork::new(ifindex, address.parse()?, bits).context("a network")?;
        Ok((netns, network))
    };
    let before: BTreeSet<_> = [
        of(1, 2, "192.0.2.0", 24)?,
        of(1, 2, "192.0.2.0", 25)?,
        of(1, 3, "192.0.2.0", 24)?,
        of(2, 2, "192.0.2.0", 24)?,
        of(2, 2, "0.0.0.0", 0)?,
        of(2, 2, "2001:db8::", 64)?,
    ]
    .into();
    let after: BTreeSet<_> = [of(1, 2, "192.0.2.0", 25)?, of(1, 2, "2001:db8::1", 128)?].into();
    for wanted in [&before, &after, &before, &BTreeSet::new()] {
        kernel.on_link.set(wanted)?;
        assert_eq!(&kernel.on_link.read()?, wanted);
    }
    Ok(())
}
