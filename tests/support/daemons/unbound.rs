//! unbound with zones of the test, and a wire to it that can be slow or cut.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    namespace::Listening,
    process::Process,
    sandbox::{Place, Sandbox},
};

/// Where unbound itself listens.
const BEHIND: u16 = 5300;

/// A delay that is for ever.
const DEAD: u64 = u64::MAX;

/// Records of the zones; each is written where it belongs.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    names: Vec<String>,
    reverse: Vec<(IpAddr, String)>,
}

impl Zones {
    /// A name's record: `good A 192.0.2.1`, below example.test.
    pub fn record(&mut self, record: &str) {
        self.names.push(record.to_owned());
    }

    /// The name of an address, with its dot at the end.
    pub fn pointer(&mut self, address: IpAddr, name: &str) {
        self.reverse.push((address, name.to_owned()));
    }

    /// Both, for a name that can be believed.
    pub fn host(&mut self, name: &str, address: IpAddr) {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        self.record(&format!("{name} {kind} {address}"));
        self.pointer(address, &format!("{name}.example.test."));
    }

    fn texts(&self) -> [(&'static str, String); 3] {
        const HEAD: &str =
            "@ SOA ns.example.test. root.example.test. 1 3600 900 86400 60\n@ NS ns.example.test.\n";
        let mut zones = ["example.test.", "in-addr.arpa.", "ip6.arpa."].map(|zone| (zone, String::new()));
        for (zone, text) in &mut zones {
            // Writing to a String does not fail.
            let _ = write!(text, "$ORIGIN {zone}\n$TTL 60\n{HEAD}");
        }
        for record in &self.names {
            let _ = writeln!(zones[0].1, "{record}");
        }
        for (address, name) in &self.reverse {
            match address {
                IpAddr::V4(v4) => {
                    let [a, b, c, d] = v4.octets();
                    let _ = writeln!(zones[1].1, "{d}.{c}.{b}.{a} PTR {name}");
                }
                IpAddr::V6(v6) => {
                    let nibbles: Vec<String> = v6
                        .octets()
                        .iter()
                        .rev()
                        .flat_map(|octet| [octet & 15, octet >> 4])
                        .map(|it| format!("{it:x}"))
                        .collect();
                    let _ = writeln!(zones[2].1, "{} PTR {name}", nibbles.join("."));
                }
            }
        }
        zones
    }
}

/// A running unbound, the resolver of the server.
#[derive(Debug)]
pub struct Unbound {
    /// Its process.
    pub process: Process,
    delay_ms: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Unbound {
    /// Starts it outside the guarded cgroup, behind a wire, and makes it the server's resolver.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start(sandbox: &Sandbox, zones: &Zones) -> Result<Self> {
        let process = run(sandbox, Place::Server, zones, &format!("127.0.0.1@{BEHIND}"), BEHIND)?;
        let (delay_ms, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (front, back) = sandbox.server().run(|| {
            let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).context("bind port 53")?;
            let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a port")?;
            back.connect((Ipv4Addr::LOCALHOST, BEHIND)).context("connect to unbound")?;
            Ok((front, back))
        })?;
        wire(front, back, &delay_ms, &asked)?;
        use_resolver(sandbox, "timeout:1 attempts:1")?;
        Ok(Self { process, delay_ms, asked })
    }

    /// Starts it in the guarded cgroup at port 53, and makes it the server's resolver.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start_guarded(sandbox: &Sandbox, zones: &Zones, options: &str) -> Result<Self> {
        let process = run(sandbox, Place::Guarded, zones, "127.0.0.1@53", 53)?;
        use_resolver(sandbox, options)?;
        Ok(Self { process, delay_ms: Arc::default(), asked: Arc::default() })
    }

    /// From here on each question takes that long; `None`: for ever.
    pub fn delay(&self, delay: Option<Duration>) {
        let delay = delay.map_or(DEAD, |delay| u64::try_from(delay.as_millis()).unwrap_or(DEAD));
        self.delay_ms.store(delay, Ordering::Relaxed);
    }

    /// Questions so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn run(sandbox: &Sandbox, place: Place, zones: &Zones, interface: &str, port: u16) -> Result<Process> {
    let directory = sandbox.scratch().join("unbound");
    fs::create_dir(&directory).context("make a directory for unbound")?;
    let mut text = format!(
        "server:\n\
         \tinterface: {interface}\n\
         \tchroot: \"\"\n\tusername: \"\"\n\tpidfile: \"\"\n\tuse-syslog: no\n\
         \tdirectory: \"{}\"\n\
         \tmodule-config: \"iterator\"\n\tnum-threads: 1\n\
         \tunblock-lan-zones: yes\n\tlocal-zone: \"test.\" nodefault\n\
         \tminimal-responses: yes\n\tso-rcvbuf: 0\n\
         \taccess-control: 0.0.0.0/0 allow\n\
         remote-control:\n\tcontrol-enable: no\n",
        directory.display()
    );
    for (zone, records) in zones.texts() {
        let file = directory.join(format!("{zone}zone"));
        fs::write(&file, records).with_context(|| format!("write {}", file.display()))?;
        let _ = write!(
            text,
            "auth-zone:\n\tname: \"{zone}\"\n\tzonefile: \"{}\"\n\tfor-downstream: yes\n\tfor-upstream: no\n",
            file.display()
        );
    }
    let configuration = directory.join("unbound.conf");
    fs::write(&configuration, text).context("write unbound.conf")?;
    let mut unbound = Command::new("/usr/sbin/unbound");
    unbound.arg("-d").arg("-c").arg(&configuration);
    let mut process = sandbox.spawn(place, unbound)?;
    sandbox.wait_listening(&mut process, &[Listening { v6: false, port }]).context("unbound")?;
    process.wait_for_line("start of service", Duration::from_secs(10))?;
    Ok(process)
}

fn use_resolver(sandbox: &Sandbox, options: &str) -> Result<()> {
    let etc = sandbox.etc();
    let resolver = format!("nameserver 127.0.0.1\noptions {options}\n");
    // It may be a link to somewhere else.
    drop(fs::remove_file(etc.join("resolv.conf")));
    fs::write(etc.join("resolv.conf"), resolver).context("write resolv.conf")?;
    fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\nnetgroup: files\n")
        .context("write nsswitch.conf")
}

/// Questions on their way: when each arrives.
type OnTheirWay = Arc<Mutex<VecDeque<(Instant, Vec<u8>)>>>;

/// Carries questions to unbound, each as late as the delay then was, and answers back at once. Ends with its sockets' namespace.
fn wire(front: UdpSocket, back: UdpSocket, delay_ms: &Arc<AtomicU64>, asked: &Arc<AtomicU64>) -> Result<()> {
    let clients: Arc<Mutex<HashMap<u16, (u16, SocketAddr)>>> = Arc::default();
    let queue: OnTheirWay = Arc::default();
    let (front, back) = (Arc::new(front), Arc::new(back));
    let (delay_ms, asked) = (Arc::clone(delay_ms), Arc::clone(asked));
    let weak = Arc::downgrade(&delay_ms);
    front.set_read_timeout(Some(Duration::from_millis(200))).context("set a time limit")?;
    back.set_read_timeout(Some(Duration::from_millis(200))).context("set a time limit")?;
    let is_wanted = move || weak.strong_count() > 1;
    thread::spawn({
        let (front, queue, clients, is_wanted) =
            (Arc::clone(&front), Arc::clone(&queue), Arc::clone(&clients), is_wanted.clone());
        move || {
            let (mut packet, mut number) = ([0; 1500], 0u16);
            while is_wanted() {
                let Ok((length, client)) = front.recv_from(&mut packet) else { continue };
                asked.fetch_add(1, Ordering::Relaxed);
                let delay = delay_ms.load(Ordering::Relaxed);
                if length < 12 || delay == DEAD {
                    continue;
                }
                number = number.wrapping_add(1);
                let own = u16::from_be_bytes([packet[0], packet[1]]);
                clients.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (own, client));
                packet[..2].copy_from_slice(&number.to_be_bytes());
                let due = Instant::now() + Duration::from_millis(delay);
                queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back((due, packet[..length].to_vec()));
            }
        }
    });
    thread::spawn({
        let (back, is_wanted) = (Arc::clone(&back), is_wanted.clone());
        move || {
            while is_wanted() {
                let next = {
                    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_due = queue.front().is_some_and(|(due, _)| *due <= Instant::now());
                    is_due.then(|| queue.pop_front()).flatten()
                };
                match next {
                    Some((_, packet)) => drop(back.send(&packet)),
                    None => thread::sleep(Duration::from_micros(200)),
                }
            }
        }
    });
    thread::spawn(move || {
        let mut packet = [0; 4096];
        while is_wanted() {
            let Ok(length) = back.recv(&mut packet) else { continue };
            let number = u16::from_be_bytes([packet[0], packet[1]]);
            let client = clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            if let Some((own, client)) = client {
                packet[..2].copy_from_slice(&own.to_be_bytes());
                drop(front.send_to(&packet[..length], client));
            }
        }
    });
    Ok(())
}
