//! Connections a second through one listener, with no filter, with tcpw, with nftables and with ipset, each with the same
//! networks; `tcpw-bench peers NETWORKS ROUNDS`.
//!
//! Out: one JSON object: of each way the connections a second of every round.
//! Invariant: in a round the ways take turns, and of each nothing is left when the next begins; the client is in none of
//! the networks.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tcpw_tests::{SERVER_V4, Sandbox, Tcpw};

use crate::hooks::served;

const PORT: u16 = 7001;
const SERVER: SocketAddr = SocketAddr::new(SERVER_V4, PORT);

/// How long connections are made in one turn.
const TURN: Duration = Duration::from_millis(500);

/// What filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    None,
    Tcpw,
    Nftables,
    Ipset,
    /// As the first: what differs from it is noise.
    NoneAgain,
}

const FILTERS: [(&str, Filter); 5] = [
    ("none", Filter::None),
    ("tcpw", Filter::Tcpw),
    ("nftables", Filter::Nftables),
    ("ipset", Filter::Ipset),
    ("none again", Filter::NoneAgain),
];

/// Measures.
pub(crate) fn run(networks: &str, rounds: &str) -> Result<String> {
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds}: no number"))?;
    let sandbox = Sandbox::new("bench-peers")?;
    let _server = served(&sandbox, PORT)?;
    let lists = Lists::write(&sandbox, networks)?;
    lists.load(&sandbox)?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); FILTERS.len()];
    for _round in 0..rounds {
        for ((_, filter), rates) in FILTERS.iter().zip(&mut rates) {
            let rate = match filter {
                Filter::None | Filter::NoneAgain => connections(&sandbox)?,
                Filter::Tcpw => {
                    let _tcpw = Tcpw::start(&sandbox, &["--on-deny", "close"])?;
                    connections(&sandbox)?
                }
                Filter::Nftables => between(&sandbox, NFT_ADD, NFT_DELETE, connections)?,
                Filter::Ipset => between(&sandbox, IPTABLES_ADD, IPTABLES_DELETE, connections)?,
            };
            rates.push(rate);
        }
    }
    let rates = FILTERS.iter().zip(rates).map(|((name, _), rates)| ((*name).to_owned(), rates.into()));
    let rates: serde_json::Map<String, serde_json::Value> = rates.collect();
    Ok(serde_json::json!({ "networks": networks, "rates": rates }).to_string())
}

const NFT_ADD: &[&str] =
    &["nft", "add", "rule", "inet", "bench", "in", "tcp", "dport", "7001", "ip", "saddr", "@bans", "drop"];
const NFT_DELETE: &[&str] = &["nft", "flush", "chain", "inet", "bench", "in"];
const IPTABLES_ADD: &[&str] = &[
    "iptables-legacy",
    "-A",
    "INPUT",
    "-p",
    "tcp",
    "--dport",
    "7001",
    "-m",
    "set",
    "--match-set",
    "bans",
    "src",
    "-j",
    "DROP",
];
const IPTABLES_DELETE: &[&str] = &["iptables-legacy", "-F", "INPUT"];

/// Runs `work` between two commands in the server's namespace.
pub(crate) fn between<T>(
    sandbox: &Sandbox,
    add: &[&str],
    delete: &[&str],
    work: impl FnOnce(&Sandbox) -> Result<T>,
) -> Result<T> {
    command(sandbox, add, None)?;
    let done = work(sandbox);
    command(sandbox, delete, None)?;
    done
}

/// A command in the server's namespace, with a file as its input: how long it took.
fn command(sandbox: &Sandbox, words: &[&str], input: Option<&std::path::Path>) -> Result<Duration> {
    let (program, arguments) = words.split_first().context("no program")?;
    let input = match input {
        Some(path) => Stdio::from(fs::File::open(path)?),
        None => Stdio::null(),
    };
    let began = Instant::now();
    let output = sandbox.server().run(|| {
        Command::new(program).args(arguments).stdin(input).output().with_context(|| format!("run {program}"))
    })?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(began.elapsed())
}

fn network_of(client: Ipv4Addr, bits: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(client.to_bits() & u32::MAX << (32 - bits))
}

/// A client of the network of that number.
pub(crate) fn refused_client(number: u32) -> Ipv4Addr {
    // From 16.0.0.0 on: 1.2.0.0/16, where the clients are, is below.
    let first = Ipv4Addr::new(16, 0, 0, 0).to_bits() >> 8;
    let step = (Ipv4Addr::new(223, 0, 0, 0).to_bits() >> 8) - first;
    // Spread over all, in no order.
    let block = first + number.wrapping_mul(0x9e37_79b1) % step;
    // No packet has a loopback address.
    let block = if block >> 16 == 127 { block - (112 << 16) } else { block };
    Ipv4Addr::from_bits(block << 8 | 7)
}

/// The networks in each form, and files of the last two.
pub(crate) struct Lists {
    nft: std::path::PathBuf,
    ipset: std::path::PathBuf,
}

impl Lists {
    /// Networks as lists of bans have them: of 100 there are 85 addresses, 12 of /24, 3 of /16 to /22, some of which have
    /// others in them. None has the client's address.
    pub(crate) fn write(sandbox: &Sandbox, networks: u32) -> Result<Self> {
        let (mut deny, mut nft, mut ipset) = (String::new(), String::new(), String::new());
        writeln!(ipset, "create bans hash:net maxelem {}", networks.max(1 << 16))?;
        nft.push_str(
            "table inet bench {\nset bans {\ntype ipv4_addr\nflags interval\nauto-merge\nelements = {\n",
        );
        for number in 0..networks {
            let client = refused_client(number);
            let text = match number % 100 {
                0..85 => format!("{client}"),
                85..97 => format!("{}/24", network_of(client, 24)),
                _ => {
                    let bits = 16 + number / 100 % 7;
                    format!("{}/{bits}", network_of(client, bits))
                }
            };
            writeln!(deny, "ALL: {text}")?;
            writeln!(nft, "{text},")?;
            writeln!(ipset, "add -exist bans {text}")?;
        }
        nft.push_str("}\n}\nchain in { type filter hook input priority 0; }\n");
        nft.push_str("chain raw { type filter hook prerouting priority -300; }\n}\n");
        sandbox.write_tables("", &deny)?;
        let write = |name: &str, text: &str| -> Result<std::path::PathBuf> {
            let path = sandbox.scratch().join(name);
            fs::write(&path, text).context("write a list")?;
            Ok(path)
        };
        Ok(Self { nft: write("bans.nft", &nft)?, ipset: write("bans.ipset", &ipset)? })
    }

    /// Loads them in nftables and ipset: how long each took.
    pub(crate) fn load(&self, sandbox: &Sandbox) -> Result<[Duration; 2]> {
        let nft = command(sandbox, &["nft", "-f", &self.nft.display().to_string()], None)?;
        let ipset = command(sandbox, &["ipset", "restore"], Some(&self.ipset))?;
        Ok([nft, ipset])
    }

    /// Removes them there.
    pub(crate) fn unload(&self, sandbox: &Sandbox) -> Result<()> {
        command(sandbox, &["nft", "delete", "table", "inet", "bench"], None)?;
        command(sandbox, &["ipset", "destroy", "bans"], None)?;
        Ok(())
    }
}

/// Connections a second, one after the other.
fn connections(sandbox: &Sandbox) -> Result<f64> {
    sandbox.client().run(|| {
        let began = Instant::now();
        let mut count = 0_u32;
        while began.elapsed() < TURN {
            let mut connection = TcpStream::connect(SERVER).context("connect")?;
            // The server has accepted it: its queue stays short.
            connection.write_all(b"x").context("send")?;
            connection.read_exact(&mut [0]).context("receive")?;
            // No port stays behind in TIME_WAIT.
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&connection, sockopt::Linger, &linger).context("set SO_LINGER")?;
            count += 1;
        }
        Ok(f64::from(count) / began.elapsed().as_secs_f64())
    })
}
