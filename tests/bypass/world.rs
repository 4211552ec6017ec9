//! What a way is, where it is tried, and what it shows.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
pub(crate) use tcpw_tests::{ALLOW, DENY};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Netns, Place, SERVER_V4, SERVER_V6, Sandbox,
    Tcpw, Testd, client::connect,
};

use crate::{
    datagrams,
    wire::{ALLOWED_V4, ALLOWED_V6, Craft, Got, REFUSED_V4, REFUSED_V6, Wire},
};

/// What gets in answers within a millisecond; what was let in late would do so by then.
const PATIENCE_OUT: Duration = Duration::from_millis(250);
/// What must get in may take its time on a busy machine.
pub(crate) const PATIENCE_IN: Duration = Duration::from_secs(4);

/// The daemon every theme has, and its port.
pub(crate) const PORT: u16 = 7001;

/// Ways of one kind, in one place.
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    pub(crate) start: fn(&'static str) -> Result<World>,
    pub(crate) ways: &'static [Way],
}

/// A way to slip past the gate.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

pub(crate) enum How {
    Packets(Families, Craft),
    NoPackets(Families, Craft),
    Datagrams(Families, datagrams::Craft),
    NoDatagrams(Families, datagrams::Craft),
    Run(fn(&World) -> Result<Vec<Leg>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    V4,
    V6,
    Both,
}

/// Every segment so crafted gets to a daemon that allows its client.
pub(crate) const fn sent(name: &'static str, families: Families, craft: Craft) -> Way {
    Way { name, how: How::Packets(families, craft) }
}

/// No segment so crafted gets to any daemon: the kernel itself drops it.
pub(crate) const fn dropped(name: &'static str, families: Families, craft: Craft) -> Way {
    Way { name, how: How::NoPackets(families, craft) }
}

/// A way of its own.
pub(crate) const fn tried(name: &'static str, run: fn(&World) -> Result<Vec<Leg>>) -> Way {
    Way { name, how: How::Run(run) }
}

/// Whether a connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    In,
    Out,
}

impl From<bool> for Fate {
    fn from(is_in: bool) -> Self {
        if is_in { Self::In } else { Self::Out }
    }
}

/// One client of a way.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) who: String,
    pub(crate) expected: Fate,
    pub(crate) seen: Fate,
}

impl Leg {
    pub(crate) fn new(who: impl fmt::Display, expected: impl Into<Fate>, seen: impl Into<Fate>) -> Self {
        Self { who: who.to_string(), expected: expected.into(), seen: seen.into() }
    }

    pub(crate) fn is_wrong(&self) -> bool {
        self.expected != self.seen
    }
}

/// A server with a daemon, guarded by a running tcpw.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) wire: Wire,
    tcpw: Mutex<Tcpw>,
    daemons: Mutex<Vec<Testd>>,
    ports: AtomicU16,
}

impl World {
    /// With the usual tables, and alphad at [`PORT`] of every address.
    pub(crate) fn start(theme: &'static str) -> Result<Self> {
        let world = Self::with(theme, ALLOW, DENY, &[])?;
        world.daemon("alphad", &format!("[::]:{PORT}"))?;
        Ok(world)
    }

    /// With other tables or settings, and without a daemon.
    pub(crate) fn with(theme: &'static str, allow: &str, deny: &str, more: &[&str]) -> Result<Self> {
        let more = more.iter().map(|argument| (*argument).to_owned()).collect();
        Self::prepared(theme, allow, deny, |_| Ok((Vec::new(), more)))
    }

    /// Likewise; `before` starts daemons and says what arguments tcpw gets.
    pub(crate) fn prepared(
        theme: &'static str,
        allow: &str,
        deny: &str,
        before: impl FnOnce(&Sandbox) -> Result<(Vec<Testd>, Vec<String>)>,
    ) -> Result<Self> {
        let sandbox = Sandbox::new(&format!("bypass-{}", theme.replace(' ', "-")))?;
        sandbox.write_tables(allow, deny)?;
        let wire = Wire::new(&sandbox)?;
        let (daemons, more) = before(&sandbox)?;
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let tcpw = Mutex::new(Tcpw::start(&sandbox, &more)?);
        Ok(Self { sandbox, wire, tcpw, daemons: Mutex::new(daemons), ports: AtomicU16::new(7100) })
    }

    /// Starts testd as the daemon `name`; it ends with the world.
    pub(crate) fn daemon(&self, name: &str, arguments: &str) -> Result<()> {
        let daemon = Testd::start(&self.sandbox, name, arguments)?;
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
        Ok(())
    }

    /// Likewise, by a command that becomes testd.
    pub(crate) fn daemon_by(&self, command: Command) -> Result<()> {
        self.daemon_at(Place::Guarded, command)
    }

    /// Likewise, somewhere else.
    pub(crate) fn daemon_at(&self, place: Place, command: Command) -> Result<()> {
        let daemon = Testd::run(&self.sandbox, place, command)?;
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
        Ok(())
    }

    /// A port nothing else of this world uses.
    pub(crate) fn port(&self) -> u16 {
        self.ports.fetch_add(1, Ordering::Relaxed)
    }

    /// The running tcpw.
    pub(crate) fn tcpw<T>(&self, act: impl FnOnce(&mut Tcpw) -> Result<T>) -> Result<T> {
        act(&mut self.tcpw.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other tables in force.
    pub(crate) fn apply(&self, allow: &str, deny: &str) -> Result<()> {
        self.tcpw(|tcpw| tcpw.apply(&self.sandbox, allow, deny).map(drop))
    }

    pub(crate) fn run(&self, way: &Way) -> Result<Vec<Leg>> {
        match way.how {
            How::Packets(families, craft) => self.packets(families, craft, true),
            How::NoPackets(families, craft) => self.packets(families, craft, false),
            How::Datagrams(families, craft) => datagrams::all(self, families, craft, true),
            How::NoDatagrams(families, craft) => datagrams::all(self, families, craft, false),
            How::Run(run) => run(self),
        }
    }

    fn packets(&self, families: Families, craft: Craft, get_in: bool) -> Result<Vec<Leg>> {
        let mut legs = Vec::new();
        if families != Families::V6 {
            legs.push(self.crafted(REFUSED_V4, SERVER_V4, craft, false)?);
            legs.push(self.crafted(ALLOWED_V4, SERVER_V4, craft, get_in)?);
        }
        if families != Families::V4 {
            legs.push(self.crafted(REFUSED_V6, SERVER_V6, craft, false)?);
            legs.push(self.crafted(ALLOWED_V6, SERVER_V6, craft, get_in)?);
        }
        Ok(legs)
    }

    /// A conversation from an address with packets so crafted.
    pub(crate) fn crafted(&self, from: IpAddr, to: IpAddr, craft: Craft, expected: bool) -> Result<Leg> {
        let syn = self.wire.syn(from, to, PORT);
        let got = self.wire.converse(&syn, craft, patience(expected))?;
        Ok(Leg::new(from, expected, is_in(got, expected)))
    }

    /// Connects the client that the usual tables refuse and the one they allow to a port, over each family.
    pub(crate) fn connect_all(&self, families: Families, port: u16) -> Result<Vec<Leg>> {
        let mut legs = Vec::new();
        if families != Families::V6 {
            legs.push(self.connect(CLIENT_V4_OTHER, SERVER_V4, port, false)?);
            legs.push(self.connect(CLIENT_V4, SERVER_V4, port, true)?);
        }
        if families != Families::V4 {
            legs.push(self.connect(CLIENT_V6_OTHER, SERVER_V6, port, false)?);
            legs.push(self.connect(CLIENT_V6, SERVER_V6, port, true)?);
        }
        Ok(legs)
    }

    /// Connects from the client.
    pub(crate) fn connect(&self, from: IpAddr, to: IpAddr, port: u16, expected: bool) -> Result<Leg> {
        self.connect_in(self.sandbox.client(), from, SocketAddr::new(to, port), expected)
    }

    /// Connects from a network.
    pub(crate) fn connect_in(
        &self,
        place: &Netns,
        from: IpAddr,
        to: SocketAddr,
        expected: bool,
    ) -> Result<Leg> {
        let mut attempt = connect(place, from, to, patience(expected))?;
        let is_in = if expected {
            attempt.greeting(PATIENCE_IN).starts_with("hello")
        } else {
            attempt.is_connected()
        };
        Ok(Leg::new(from, expected, is_in))
    }
}

/// Of one that must stay out, the half of a handshake is too much; one that must get in wants all.
pub(crate) fn is_in(got: Got, expected: bool) -> bool {
    match got {
        Got::Nothing | Got::Reset => false,
        Got::Handshake => !expected,
        Got::Greeting => true,
    }
}

/// How long to wait for one of whom this is expected.
pub(crate) fn patience(expected: bool) -> Duration {
    if expected { PATIENCE_IN } else { PATIENCE_OUT }
}
