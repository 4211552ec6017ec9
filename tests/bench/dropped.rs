//! What a SYN of a refused client costs that is dropped by the early drop, by the gate, by iptables with ipset and by
//! nftables, each with the same networks; `tcpw-bench dropped NETWORKS ROUNDS`.
//!
//! Out: one JSON object: of each way the nanoseconds of a frame, of every round; the first way is the frame alone, which an
//! XDP program of two instructions drops.
//! Invariant: in a round the ways take turns, and of each nothing is left when the next begins. No frame of a turn is lost,
//! and each is dropped where the turn says.
//! Method: the kernel sends the frames through a cable, with no system call between them. All work for them is done on one
//! CPU, as by a network card's poll: XDP sees the bare frame, and what passes becomes a packet of the stack and goes
//! through GRO. tcpw's daemon runs on other CPUs: what it does is in no figure.
//! Limit: there is no driver, and the frame is in the CPU's cache. The sender and the cable's ring are in every figure; the
//! packet that a passed frame becomes is in all but those of the frame alone and of XDP. At a cable tcpw takes tcx, because
//! VLAN tags are not in the frame there. For XDP its program is attached to a tap device as well, and a program at the
//! cable jumps to that one.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{EveryFrame, FORGEABLE, LiveFrames, Received, Sandbox, Tcpw, TinyProgram, wait_until};

use crate::{
    hooks::served,
    packet::{SYN, Segment},
    peers::{Lists, between, refused_client},
    tap::{OWN, Tap, frame},
};

const PORT: u16 = 7001;
const DEVICE: &str = "bench0";
/// Where tcpw uses XDP; it receives nothing.
const TAP: &str = "bench1";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SOON: Duration = Duration::from_secs(20);

/// Frames of one turn.
const FRAMES: u32 = 200_000;
/// Those that are sent to see whether something is dropped yet.
const PROBES: u32 = 64;

/// Options of a SYN as Linux sends it: the greatest segment, SACK, a time stamp, the window's scale.
const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

/// What drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Frame,
    EarlyXdp,
    EarlyTcx,
    Gate,
    IpsetRaw,
    NftRaw,
    NftInput,
}

const WAYS: [(&str, Way); 7] = [
    ("frame alone", Way::Frame),
    ("early drop, XDP", Way::EarlyXdp),
    ("early drop, tcx", Way::EarlyTcx),
    ("gate", Way::Gate),
    ("iptables raw + ipset", Way::IpsetRaw),
    ("nftables raw", Way::NftRaw),
    ("nftables input", Way::NftInput),
];

const NFT_RAW: &[&str] = &["nft", "add", "rule", "inet", "bench", "raw", "ip", "saddr", "@bans", "drop"];
const NFT_INPUT: &[&str] = &["nft", "add", "rule", "inet", "bench", "in", "ip", "saddr", "@bans", "drop"];
const NFT_FLUSH: &[&str] = &["nft", "flush", "table", "inet", "bench"];
const IPSET_RAW: &[&str] = &[
    "iptables-legacy",
    "-t",
    "raw",
    "-A",
    "PREROUTING",
    "-m",
    "set",
    "--match-set",
    "bans",
    "src",
    "-j",
    "DROP",
];
const IPSET_FLUSH: &[&str] = &["iptables-legacy", "-t", "raw", "-F", "PREROUTING"];

/// Measures.
pub(crate) fn run(networks: &str, rounds: &str) -> Result<String> {
    let networks: u32 = networks.parse().with_context(|| format!("{networks}: no number"))?;
    let rounds: u32 = rounds.parse().with_context(|| format!("{rounds}: no number"))?;
    let sandbox = Sandbox::new("bench-dropped")?;
    let _server = served(&sandbox, PORT)?;
    let server = sandbox.server();
    let _tap = Tap::new(server, TAP)?;
    let live = LiveFrames::new(sandbox.client(), server, DEVICE, OWN, FRAMES)?;
    server.address(DEVICE, SERVER.into(), 16)?;
    server.ip(&format!("route replace default dev {DEVICE}"))?;
    let lists = Lists::write(&sandbox, networks)?;
    lists.load(&sandbox)?;
    let mut bench = Bench { sandbox: &sandbox, live, networks, sent: 0 };
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
    for _round in 0..rounds {
        for ((name, way), times) in WAYS.iter().zip(&mut times) {
            times.push(bench.turn(*way).with_context(|| (*name).to_owned())?);
        }
    }
    let times = WAYS.iter().zip(times).map(|((name, _), times)| ((*name).to_owned(), times.into()));
    let times: serde_json::Map<String, serde_json::Value> = times.collect();
    Ok(serde_json::json!({ "networks": networks, "ns": times }).to_string())
}

struct Bench<'a> {
    sandbox: &'a Sandbox,
    live: LiveFrames<'a>,
    networks: u32,
    sent: u32,
}

impl Bench<'_> {
    /// Nanoseconds of a frame.
    fn turn(&mut self, way: Way) -> Result<f64> {
        match way {
            Way::Frame => {
                let _program = TinyProgram::at_device(self.sandbox.server(), DEVICE, EveryFrame::Drop)?;
                self.measure(Received::Dropped)
            }
            Way::EarlyXdp => {
                let _tcpw = self.early(&[(DEVICE, "tcx"), (TAP, "XDP")])?;
                let _program = TinyProgram::at_device_as(self.sandbox.server(), DEVICE, TAP)?;
                self.measure_early(Received::Dropped)
            }
            Way::EarlyTcx => {
                let _tcpw = self.early(&[(DEVICE, "tcx")])?;
                self.measure_early(Received::Passed)
            }
            Way::Gate => {
                let _tcpw = Tcpw::start(self.sandbox, &[FORGEABLE])?;
                Tcpw::wait_listener(self.sandbox, PORT, |_| true)?;
                self.measure_counted("refused", Received::Passed)
            }
            Way::IpsetRaw => self.filtered(IPSET_RAW, IPSET_FLUSH),
            Way::NftRaw => self.filtered(NFT_RAW, NFT_FLUSH),
            Way::NftInput => self.filtered(NFT_INPUT, NFT_FLUSH),
        }
    }

    /// tcpw, which drops early at devices, at each as is said.
    fn early(&self, devices: &[(&str, &str)]) -> Result<Tcpw> {
        let mut arguments = vec![FORGEABLE];
        arguments.extend(devices.iter().flat_map(|(device, _)| ["--early-drop", device]));
        let mut tcpw = Tcpw::start(self.sandbox, &arguments)?;
        for (device, how) in devices {
            let line = format!("early-drop: {device}: SYNs of refused clients are dropped by {how}");
            tcpw.process.wait_for_line(&line, SOON)?;
        }
        Ok(tcpw)
    }

    fn measure_early(&mut self, fate: Received) -> Result<f64> {
        wait_until("SYNs are dropped early", SOON, || {
            let probes = self.frames(PROBES);
            self.live.send(&probes)?;
            Ok(Tcpw::counters(self.sandbox)?["early_dropped"] > 0)
        })?;
        self.measure_counted("early_dropped", fate)
    }

    /// tcpw's counter must say that it dropped each frame.
    fn measure_counted(&mut self, counter: &str, fate: Received) -> Result<f64> {
        let before = Tcpw::counters(self.sandbox)?[counter];
        let ns = self.measure(fate)?;
        let counted = Tcpw::counters(self.sandbox)?[counter] - before;
        ensure!(counted == u64::from(FRAMES), "{counter}: {counted} of {FRAMES}");
        Ok(ns)
    }

    /// By a rule: TCP sees no frame.
    fn filtered(&mut self, add: &[&str], delete: &[&str]) -> Result<f64> {
        let segments = |sandbox: &Sandbox| {
            sandbox.server().snmp("Tcp", "InSegs")?.context("no counter of TCP's segments")
        };
        between(self.sandbox, add, delete, |sandbox| {
            let before = segments(sandbox)?;
            let ns = self.measure(Received::Passed)?;
            ensure!(segments(sandbox)? == before, "the rule did not drop every frame: TCP received some");
            Ok(ns)
        })
    }

    fn measure(&mut self, fate: Received) -> Result<f64> {
        let frames = self.frames(FRAMES);
        let (took, seen) = self.live.send(&frames)?;
        ensure!(seen == fate, "the frames: {seen:?}");
        Ok(took.as_secs_f64() * 1e9 / f64::from(FRAMES))
    }

    fn frames(&mut self, count: u32) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.frame()).collect()
    }

    /// The SYN of a refused client, unlike any before.
    fn frame(&mut self) -> Vec<u8> {
        self.sent += 1;
        let syn = Segment {
            from: IpAddr::V4(refused_client(self.sent.wrapping_mul(0x9e37_79b1) % self.networks)),
            to: SERVER.into(),
            from_port: 10_000 + u16::try_from(self.sent % 50_000).unwrap_or_default(),
            to_port: PORT,
            seq: self.sent,
            ack: 0,
            flags: SYN,
            options: OPTIONS.into(),
            data: Vec::new(),
        };
        frame(OWN, &[], &syn.plain())
    }
}
