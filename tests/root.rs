//! The gate on the root of cgroup2: every connection of a machine, refused.
//!
//! Only in a machine of its own (`cargo xtask vm`): elsewhere these tests are no part of the run.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, LO_V4, LO_V6, Netns, Place, Process, Requirement, SERVER_V4,
    SERVER_V6, Sandbox, Tcpw, Testd, can_run,
    client::{Ended, connect},
};

/// Before a SYN is sent again; an emulated processor takes its time.
const PATIENCE: Duration = Duration::from_millis(900);
const SOON: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(60);

fn ready() -> bool {
    can_run("root", &[Requirement::OwnMachine, Requirement::Root])
}

/// Listeners of three daemons in three cgroups and two network namespaces, and of this process in the
/// machine's own.
struct Everywhere {
    sandbox: Sandbox,
    own: [TcpListener; 2],
    _daemons: [Testd; 3],
}

impl Everywhere {
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables("", "ALL: ALL\n")?;
        let daemons = [
            Testd::start(&sandbox, "alphad", "[::]:7001")?,
            Testd::start_at(&sandbox, Place::Server, "bravod", "[::]:7002")?,
            Testd::start_at(&sandbox, Place::GuardedClient, "charlied", "[::]:7003")?,
        ];
        let own = [TcpListener::bind((LO_V4, 0))?, TcpListener::bind((LO_V6, 0))?];
        Ok(Self { sandbox, own, _daemons: daemons })
    }

    /// Every listener, over every way to it.
    fn assert_all(&self, connected: bool) -> Result<()> {
        let (server, client) = (self.sandbox.server(), self.sandbox.client());
        let ways: [(&Netns, IpAddr, IpAddr, &[u16]); 8] = [
            (client, CLIENT_V4, SERVER_V4, &[7001, 7002]),
            (client, CLIENT_V6, SERVER_V6, &[7001, 7002]),
            (server, LO_V4, LO_V4, &[7001, 7002]),
            (server, LO_V6, LO_V6, &[7001, 7002]),
            (server, SERVER_V4, SERVER_V4, &[7001, 7002]),
            (server, SERVER_V4, CLIENT_V4, &[7003]),
            (server, SERVER_V6, CLIENT_V6, &[7003]),
            (client, LO_V4, LO_V4, &[7003]),
        ];
        for (netns, from, to, ports) in ways {
            for port in ports {
                let is = is_connected(netns, from, SocketAddr::new(to, *port))?;
                ensure!(is == connected, "{from} to {to} port {port}: connected is {is}");
            }
        }
        for own in &self.own {
            let address = own.local_addr()?;
            let is = TcpStream::connect_timeout(&address, PATIENCE).is_ok();
            ensure!(is == connected, "{address} of the machine itself: connected is {is}");
        }
        Ok(())
    }

    /// `tcpw run` with these settings beside the tables and the log, on the whole machine.
    fn guard(&self, settings: &str) -> Result<Process> {
        let config = self.sandbox.scratch().join("tcpw.toml");
        let text = format!(
            "hosts-allow = {:?}\nhosts-deny = {:?}\nlog = \"stdout\"\non-deny = \"drop\"\ntrust-source-addresses = true\n{settings}",
            self.sandbox.hosts_allow(),
            self.sandbox.hosts_deny()
        );
        fs::write(&config, text)?;
        let mut tcpw = Tcpw::spawn_with_config(&self.sandbox, &config)?;
        tcpw.wait_for_line("ready: ", START)?;
        Ok(tcpw)
    }

    fn detach(&self) -> Result<()> {
        let config = self.sandbox.scratch().join("tcpw.toml");
        Tcpw::command(&self.sandbox, &["detach", "--config", &config.to_string_lossy()]).map(drop)
    }
}

fn is_connected(netns: &Netns, from: IpAddr, to: SocketAddr) -> Result<bool> {
    match connect(netns, from, to, PATIENCE)?.ended {
        Ended::Connected(_) | Ended::ConnectedAndReset => Ok(true),
        // That somebody listens shows before and after.
        Ended::TimedOut | Ended::Refused => Ok(false),
    }
}

/// Two ends of a connection made before anything is judged.
struct Established([TcpStream; 2]);

impl Established {
    fn new(listener: &TcpListener) -> Result<Self> {
        let client = TcpStream::connect(listener.local_addr()?)?;
        // Those that came before are still in the queue.
        let server = loop {
            let (server, from) = listener.accept()?;
            if from == client.local_addr()? {
                break server;
            }
        };
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        Ok(Self([client, server]))
    }

    fn assert_goes_on(&self) -> Result<()> {
        let [client, server] = &self.0;
        for (mut from, mut to) in [(client, server), (server, client)] {
            from.write_all(b"still here")?;
            to.read_exact(&mut [0; 10]).context("an established connection is cut off")?;
        }
        Ok(())
    }
}

#[test]
#[ignore = "judges every connection of the machine: cargo xtask vm"]
fn every_new_connection_is_refused_until_detach_and_established_ones_go_on() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let everywhere = Everywhere::new("root")?;
    everywhere.assert_all(true)?;
    let established = [Established::new(&everywhere.own[0])?, Established::new(&everywhere.own[1])?];
    let mut tcpw = everywhere.guard("")?;
    everywhere.assert_all(false)?;
    // What comes later is refused too: a listener, a namespace.
    let _later = Testd::start(&everywhere.sandbox, "deltad", "0.0.0.0:7004")?;
    let other = Netns::new()?;
    let listener = other.run(|| Ok(TcpListener::bind((LO_V4, 7005))?))?;
    assert!(!is_connected(everywhere.sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, 7004))?);
    assert!(!is_connected(&other, LO_V4, SocketAddr::new(LO_V4, 7005))?);
    drop(listener);
    for one in &established {
        one.assert_goes_on()?;
    }
    everywhere.detach()?;
    assert!(tcpw.wait(START)?.success(), "{}", tcpw.tail());
    everywhere.assert_all(true)?;
    for one in &established {
        one.assert_goes_on()?;
    }
    Ok(())
}

#[test]
#[ignore = "judges every connection of the machine: cargo xtask vm"]
fn exempt_addresses_and_ports_are_the_way_back_in() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let everywhere = Everywhere::new("exempt")?;
    let _tcpw = everywhere
        .guard("[exempt]\naddresses = [\"1.2.3.4\", \"127.0.0.0/8\", \"::1\"]\nports = [7002]\n")?;
    let client = everywhere.sandbox.client();
    for (from, port, connected) in
        [(CLIENT_V4, 7001, true), (CLIENT_V4_OTHER, 7001, false), (CLIENT_V4_OTHER, 7002, true)]
    {
        assert_eq!(is_connected(client, from, SocketAddr::new(SERVER_V4, port))?, connected, "{from} {port}");
    }
    for own in &everywhere.own {
        assert!(TcpStream::connect_timeout(&own.local_addr()?, PATIENCE).is_ok(), "{own:?}");
    }
    Ok(())
}

#[test]
#[ignore = "judges every connection of the machine: cargo xtask vm"]
fn killed_daemons_pins_refuse_everything_and_a_restart_adopts_them() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let everywhere = Everywhere::new("pins")?;
    everywhere.guard("pin = true\n")?.kill_9()?;
    everywhere.assert_all(false)?;
    let mut again = everywhere.guard("pin = true\n")?;
    again.wait_for_line("adopted", SOON)?;
    everywhere.assert_all(false)?;
    assert!(again.terminate(START)?.success());
    everywhere.assert_all(false)?;
    everywhere.detach()?;
    everywhere.assert_all(true)
}
