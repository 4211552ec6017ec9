//! Listeners of real processes: this one, children, other network namespaces, xinetd.
//!
//! Needs root. Children are `sleep`, holding a socket that was opened for them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::HashSet,
    fs,
    io::Read,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixListener, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
            sockopt::ReusePort,
        },
        stat::fstat,
    },
};
use tcpw_userspace::{
    host::socket_cookie,
    listeners::{Doubt, Listener, NameSource, Scanner},
};

const NOBODY: u32 = 65534;

fn is_same(a: impl AsFd, b: impl AsFd) -> bool {
    fstat(a).unwrap().st_ino == fstat(b).unwrap().st_ino
}

/// What the scanner says of a socket that this process holds.
fn own(socket: impl AsFd) -> Option<Listener> {
    let mut found = Scanner::default().scan_process(std::process::id());
    found.retain(|listener| listener.socket.as_ref().is_some_and(|found| is_same(found, &socket)));
    assert!(found.len() <= 1);
    found.pop()
}

/// A child that ends with the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is no child of ours, and ends with the test.
struct Reaped(u32);

impl Drop for Reaped {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0).unwrap();
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
    }
}

/// The process that `command` starts has a descriptor that this one keeps until then.
fn inherit(command: &mut Command, fd: RawFd) {
    // SAFETY: fcntl is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

impl Held {
    /// Starts `command`, which shall become `executable` and inherit `socket`.
    fn start(command: &mut Command, executable: &str, socket: OwnedFd) -> Self {
        inherit(command, socket.as_raw_fd());
        let held = Self(command.stdin(Stdio::null()).spawn().unwrap());
        held.wait_until(|| held.executable().is_some_and(|path| path.ends_with(executable)));
        // In the midst of execve(2) a process has its executable already, and no arguments.
        held.wait_until(|| held.has_arguments());
        held
    }

    fn has_arguments(&self) -> bool {
        fs::read(format!("/proc/{}/cmdline", self.pid())).is_ok_and(|arguments| !arguments.is_empty())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn executable(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid())).ok()
    }

    fn wait_until(&self, is_done: impl Fn() -> bool) {
        let what = format!("{:?} is ready", self.0);
        tcpw_tests::wait_until(&what, Duration::from_secs(10), || Ok(is_done())).unwrap();
    }

    /// Its only listener.
    fn listener(&self) -> Listener {
        let mut found = Scanner::default().scan_process(self.pid());
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn loopback() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A shell that becomes `sleep` under the name of sshd.
const POSE: [&str; 3] = ["bash", "-c", "exec -a 'sshd: /usr/sbin/sshd -D [listener]' sleep 600"];

fn names(listener: &Listener) -> Vec<String> {
    listener.names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
}

#[test]
fn v4_v6_and_dual_stack_listeners_are_found() {
    let v4 = loopback();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    for (socket, family) in [(&v4, libc::AF_INET), (&v6, libc::AF_INET6), (&both, libc::AF_INET6)] {
        let found = own(socket).unwrap();
        assert_eq!(found.local, socket.local_addr().unwrap());
        assert_eq!(found.family, family.cast_unsigned());
        assert_eq!(found.protocol, 6);
        assert_eq!(found.pid, std::process::id());
        assert_eq!(found.found, NameSource::Process);
        assert_eq!(found.service, None);
        assert!(found.cookie != 0 && found.netns != 0);
    }
}

#[test]
fn what_does_not_listen_is_not_found() {
    let listener = loopback();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    connected.connect(udp.local_addr().unwrap()).unwrap();
    let path = std::env::temp_dir().join(format!("tcpw-listeners-{}", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(own(&listener).is_some());
    assert!(own(&client).is_none());
    assert!(own(&server).is_none());
    assert_eq!(own(&udp).unwrap().protocol, 17);
    assert!(own(&connected).is_none());
    assert!(own(&unix).is_none());
}

#[test]
fn every_member_of_a_reuseport_group_is_found() {
    let member = |port| {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&fd, ReusePort, &true).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
        listen(&fd, Backlog::new(1).unwrap()).unwrap();
        TcpListener::from(fd)
    };
    let first = member(0);
    let second = member(first.local_addr().unwrap().port());
    let (a, b) = (own(&first).unwrap(), own(&second).unwrap());
    assert_eq!(a.local, b.local);
    assert_ne!(a.cookie, b.cookie);
}

#[test]
fn listener_in_another_network_namespace_has_its_cookie() {
    let here = loopback();
    let port = here.local_addr().unwrap().port();
    let bind_there = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    };
    let there = thread::spawn(bind_there).join().unwrap();
    let (here, there) = (own(&here).unwrap(), own(&there).unwrap());
    assert_ne!(here.netns, there.netns);
    assert_eq!(there.local, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
}

#[test]
fn name_in_argv_counts_for_root() {
    let socket = loopback();
    let local = socket.local_addr().unwrap();
    let child = Held::start(Command::new(POSE[0]).args(&POSE[1..]), "sleep", socket.into());
    let found = child.listener();
    assert_eq!(found.local, local);
    assert_eq!(found.pid, child.pid());
    assert_eq!(names(&found), ["sleep", "sshd"]);
    assert_eq!(found.ident, "sshd");
}

#[test]
fn unprivileged_process_that_calls_itself_sshd_is_not_sshd() {
    let mut command = Command::new(POSE[0]);
    let child = Held::start(command.args(&POSE[1..]).uid(NOBODY), "sleep", loopback().into());
    let found = child.listener();
    assert_eq!(names(&found), ["sleep"]);
    assert_eq!(found.ident, "sleep");
}

#[test]
fn capability_to_bind_low_ports_makes_the_name_count() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--inh-caps=+net_bind_service"]);
    command.args(["--ambient-caps=+net_bind_service", "--"]).args(POSE);
    let child = Held::start(&mut command, "sleep", loopback().into());
    assert_eq!(names(&child.listener()), ["sleep", "sshd"]);
}

#[test]
fn capability_in_a_user_namespace_of_its_own_does_not_count() {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--"]).args(POSE).uid(NOBODY);
    let child = Held::start(&mut command, "sleep", loopback().into());
    let found = child.listener();
    assert_eq!(names(&found), ["sleep"]);
    // A namespace in it is still that user's.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--", "unshare", "--user", "--"]).args(POSE).uid(NOBODY);
    let nested = Held::start(&mut command, "sleep", loopback().into()).listener();
    for listener in [found, nested] {
        assert_eq!(listener.claims[0].proof, Err(Doubt::UserNamespace(NOBODY)));
    }
}

#[test]
fn inherited_listener_belongs_to_the_process_that_had_it_first() {
    let mut command = Command::new("bash");
    let master = Held::start(command.args(["-c", "sleep 600; true"]), "bash", loopback().into());
    let children = format!("/proc/{0}/task/{0}/children", master.pid());
    let worker = || fs::read_to_string(&children).ok()?.trim().parse::<u32>().ok();
    master.wait_until(|| worker().is_some());
    let worker = Reaped(worker().unwrap());
    let found = Scanner::default().scan_process(worker.0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].pid, master.pid());
}

/// Our duplicate of a socket does not make us its owner, though we are older than who opened it.
#[test]
fn duplicate_in_our_hands_changes_no_owner() {
    let child = Held::start(Command::new("sleep").arg("600"), "sleep", loopback().into());
    let first = child.listener();
    assert_eq!((first.pid, child.listener().pid), (child.pid(), child.pid()));
    let cookie = first.cookie;
    let all = Scanner::default().scan_all();
    let again = all.iter().find(|listener| listener.cookie == cookie).unwrap();
    assert_eq!(again.pid, child.pid());
}

/// Another tcpw that listens itself is looked at alone. What it holds a duplicate of belongs to others.
#[test]
fn duplicate_in_the_hands_of_another_tcpw_changes_no_owner() {
    let held = loopback();
    let dir = std::env::temp_dir().join(format!("tcpw-listeners-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let tcpw = dir.join("tcpw");
    fs::copy("/bin/sleep", &tcpw).unwrap();
    // The shell ends: the owner is not among the ancestors of its child.
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" 600 >/dev/null 2>&1 & echo $!"]).arg(&tcpw).stdin(Stdio::null());
    inherit(&mut shell, held.as_raw_fd());
    let output = shell.output().unwrap();
    let other = Reaped(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap());
    let executable = || fs::read_link(format!("/proc/{}/exe", other.0)).is_ok_and(|path| path == tcpw);
    tcpw_tests::wait_until("it runs", Duration::from_secs(10), || Ok(executable())).unwrap();
    let found = Scanner::default().scan_process(other.0);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(own(&held).unwrap().pid, std::process::id());
    fs::remove_dir_all(&dir).unwrap();
}

/// The cgroup that a socket was made in decides, by its id; where its process is now does not.
#[test]
fn only_sockets_in_scope_are_listeners() {
    let cgroup = Cgroup::new("tcpw-test-listeners");
    let in_scope = |child: &Held| {
        let cookie = child.listener().cookie;
        let found = Scanner::new("/proc").guarding(&cgroup.directory).scan_all();
        found.iter().any(|listener| listener.cookie == cookie)
    };
    let outside = Held::start(Command::new("sleep").arg("600"), "sleep", loopback().into());
    assert!(!in_scope(&outside));
    fs::write(cgroup.directory.join("cgroup.procs"), outside.pid().to_string()).unwrap();
    assert!(!in_scope(&outside), "the gate does not see it");
    let socket = cgroup.run(loopback);
    let inside = Held::start(Command::new("sleep").arg("600"), "sleep", socket.into());
    assert!(in_scope(&inside));
    let everywhere = Scanner::new("/proc").guarding(&cgroup.directory).everywhere().scan_all();
    let is_guarded = |child: &Held| {
        let cookie = child.listener().cookie;
        everywhere.iter().find(|listener| listener.cookie == cookie).map(|listener| listener.is_guarded)
    };
    assert_eq!((is_guarded(&inside), is_guarded(&outside)), (Some(true), Some(false)));
    drop((inside, outside));
}

/// A full scan takes its time. Listeners that come meanwhile, or go to a process that the scan has not listed, are not
/// taken for the kernel's, which no rule for their daemon names.
#[test]
fn listener_that_comes_or_moves_during_a_scan_is_not_taken_for_the_kernels() {
    let (is_over, cookies) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
    let listener = || {
        let socket = loopback();
        cookies.lock().unwrap().insert(socket_cookie(socket.as_fd()).unwrap());
        socket
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            // Those of one round stay until the next: what is gone when a scan ends proves nothing.
            let mut kept = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                kept = (0..16).map(|_| (listener(), thread::sleep(Duration::from_millis(2)))).collect();
            }
            drop::<Vec<_>>(kept);
        });
        scope.spawn(|| {
            let mut children = Vec::new();
            while !is_over.load(Ordering::Relaxed) && children.len() < 200 {
                let socket = listener();
                thread::sleep(Duration::from_millis(20));
                let child = Command::new("sleep").arg("600").stdin(OwnedFd::from(socket)).spawn();
                children.push(Held(child.unwrap()));
            }
        });
        for _ in 0..40 {
            let found = Scanner::default().scan_all();
            let cookies = cookies.lock().unwrap();
            let wrong =
                found.iter().find(|it| it.found == NameSource::NoProcess && cookies.contains(&it.cookie));
            let wrong = wrong.map(|it| it.local);
            drop(cookies);
            if wrong.is_some() {
                is_over.store(true, Ordering::Relaxed);
            }
            assert_eq!(wrong, None, "taken for the kernel's");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Each MPTCP listener has a subflow of its own, also where several share a port.
#[test]
fn mptcp_listeners_that_share_a_port_have_their_own_subflows() {
    let first = mptcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = nix::sys::socket::getsockname::<SockaddrIn>(first.as_raw_fd()).unwrap();
    let port = address.port();
    let second = mptcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let all = Scanner::default().scan_all();
    let at_port: Vec<&Listener> = all.iter().filter(|it| it.local.port() == port).collect();
    let cookies: HashSet<u64> = at_port.iter().map(|it| it.cookie).collect();
    assert_eq!((at_port.len(), cookies.len()), (2, 2), "{at_port:?}");
    for socket in [&first, &second] {
        let own = socket_cookie(socket.as_fd()).unwrap();
        assert!(!cookies.contains(&own), "the gate sees the subflow");
    }
    assert!(at_port.iter().all(|it| it.found != NameSource::NoProcess));
}

/// Shares its port.
fn mptcp(address: SocketAddr) -> OwnedFd {
    // SAFETY: takes three integers; the kernel makes the descriptor for this process.
    let made = unsafe {
        let made = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP);
        assert!(made >= 0);
        OwnedFd::from_raw_fd(made)
    };
    setsockopt(&made, ReusePort, &true).unwrap();
    let SocketAddr::V4(address) = address else { unreachable!() };
    bind(made.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    listen(&made, Backlog::new(1).unwrap()).unwrap();
    made
}

#[test]
fn scan_of_everything_is_fast_and_survives_vanishing_processes() {
    let busy = thread::spawn(|| {
        for _ in 0..200 {
            Command::new("true").status().unwrap();
        }
    });
    let socket = loopback();
    let mut best = Duration::MAX;
    while !busy.is_finished() {
        let begin = Instant::now();
        let found = Scanner::default().scan_all();
        best = best.min(begin.elapsed());
        assert!(
            found.iter().filter_map(|listener| listener.socket.as_ref()).any(|found| is_same(found, &socket))
        );
    }
    busy.join().unwrap();
    let processes = fs::read_dir("/proc").unwrap().count();
    assert!(best < Duration::from_millis(500), "{best:?} for about {processes} processes");
}

#[test]
fn process_that_does_not_exist_has_no_listener() {
    assert!(Scanner::default().scan_process(u32::MAX >> 1).is_empty());
    assert!(Scanner::new("/nowhere").scan_all().is_empty());
}

/// xinetd's services are known by id, name and `libwrap =`, never as xinetd.
#[test]
fn xinetd_services_are_named_by_its_configuration() {
    let directory = Directory::new("xinetd");
    let services = directory.0.join("services.d");
    fs::create_dir(&services).unwrap();
    let service = |id: &str, port: u16, more: &str| {
        format!(
            "service daytime\n{{\n\tid = {id}\n\ttype = INTERNAL UNLISTED\n\tsocket_type = stream\n\
             \tprotocol = tcp\n\twait = no\n\tuser = root\n\tport = {port}\n\tflags = IPv6\n{more}}}\n"
        )
    };
    fs::write(services.join("daytime"), service("daytime-stream", 13, "\tlibwrap = dt\n")).unwrap();
    fs::write(services.join("off"), service("off", 14, "\tdisable = yes\n")).unwrap();
    fs::write(services.join("old~"), service("other", 13, "")).unwrap();
    let main = format!("defaults\n{{\n}}\nincludedir {}\n", services.display());
    fs::write(directory.0.join("xinetd.conf"), main).unwrap();

    let mut command = Command::new("xinetd");
    command.arg0("xinetd-ipv6").arg("-dontfork");
    command.arg("-f").arg(directory.0.join("xinetd.conf"));
    command.arg("-pidfile").arg(directory.0.join("pid"));
    // SAFETY: unshare is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?)) };
    let xinetd = command.stdin(Stdio::null()).spawn();
    let xinetd = Held(xinetd.expect("xinetd: install the package of this name"));
    xinetd.wait_until(|| !Scanner::default().scan_process(xinetd.pid()).is_empty());

    let found = xinetd.listener();
    assert_eq!(found.names.to_string(), "daytime,daytime-stream,dt");
    assert_eq!(found.ident, "xinetd-ipv6");
    assert_eq!(found.found, NameSource::Xinetd);
    assert_eq!(found.service.unwrap().id, "daytime-stream");
    assert_eq!(found.local, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 13)));
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child of this process's cgroup.
struct Cgroup {
    directory: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    fn new(name: &str) -> Self {
        let mut text = String::new();
        fs::File::open("/proc/mounts").unwrap().read_to_string(&mut text).unwrap();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mount = text.lines().map(words).find(|words| words[2] == "cgroup2");
        let mount = mount.expect("a cgroup2 mount");
        let name = format!("{name}-{}-x", std::process::id());
        let directory = Path::new(&mount[1]).join(&name);
        fs::create_dir(&directory).unwrap();
        Self { directory, root: Path::new(&mount[1]).into() }
    }

    /// Does something as a process in it.
    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let pid = std::process::id().to_string();
        fs::write(self.directory.join("cgroup.procs"), &pid).unwrap();
        let done = work();
        fs::write(self.root.join(own).join("cgroup.procs"), &pid).unwrap();
        done
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of a killed process a moment after it was waited for.
        drop(tcpw_tests::wait_until("it is removed", Duration::from_secs(1), || {
            Ok(fs::remove_dir(&self.directory).is_ok())
        }));
    }
}
