//! What a SYN of a refused client costs that is dropped by the early drop, by the gate, by iptables with ipset and by
//! nftables, each with the same networks; `tcpw-bench dropped NETWORKS ROUNDS`.
//!
//! Out: one JSON object: of each way the nanoseconds of a frame, of every round; the first way is the write of the frame
//! alone, which an XDP program of two instructions drops.
//! Invariant: in a round the ways take turns, and of each nothing is left when the next begins. A tap device hands a frame
//! to the stack while it is written: the time of the writes is that of all work for it.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{EveryFrame, FORGEABLE, Sandbox, Tcpw, TinyProgram, wait_until};

use crate::{
    hooks::served,
    packet::{SYN, Segment},
    peers::{Lists, between, refused_client},
    tap::{OWN, Tap, frame},
};

const PORT: u16 = 7001;
const DEVICE: &str = "bench0";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SOON: Duration = Duration::from_secs(20);

/// Frames of one turn.
const FRAMES: u32 = 200_000;

/// What drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Write,
    EarlyXdp,
    EarlyTcx,
    Gate,
    IpsetRaw,
    NftRaw,
    NftInput,
}

const WAYS: [(&str, Way); 7] = [
    ("write alone", Way::Write),
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
    let tap = Tap::new(sandbox.server(), DEVICE)?;
    sandbox.server().address(DEVICE, SERVER.into(), 16)?;
    sandbox.server().ip(&format!("route replace default dev {DEVICE}"))?;
    let lists = Lists::write(&sandbox, networks)?;
    lists.load(&sandbox)?;
    let mut bench = Bench { sandbox, tap, networks, sent: 0 };
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

struct Bench {
    sandbox: Sandbox,
    tap: Tap,
    networks: u32,
    sent: u32,
}

impl Bench {
    fn turn(&mut self, way: Way) -> Result<f64> {
        match way {
            Way::Write => {
                let _program = TinyProgram::at_device(self.sandbox.server(), DEVICE, EveryFrame::Drop)?;
                self.measure(None)
            }
            Way::EarlyXdp => self.early("XDP"),
            Way::EarlyTcx => {
                let _program = TinyProgram::at_device(self.sandbox.server(), DEVICE, EveryFrame::Pass)?;
                self.early("tcx")
            }
            Way::Gate => {
                let _tcpw = Tcpw::start(&self.sandbox, &[FORGEABLE])?;
                Tcpw::wait_listener(&self.sandbox, PORT, |_| true)?;
                self.measure(Some("refused"))
            }
            Way::IpsetRaw => self.filtered(IPSET_RAW, IPSET_FLUSH),
            Way::NftRaw => self.filtered(NFT_RAW, NFT_FLUSH),
            Way::NftInput => self.filtered(NFT_INPUT, NFT_FLUSH),
        }
    }

    /// By the early drop, attached in that way.
    fn early(&mut self, how: &str) -> Result<f64> {
        let mut tcpw = Tcpw::start(&self.sandbox, &[FORGEABLE, "--early-drop", DEVICE])?;
        let line = format!("early-drop: {DEVICE}: SYNs of refused clients are dropped by {how}");
        tcpw.process.wait_for_line(&line, SOON)?;
        wait_until("SYNs are dropped early", SOON, || {
            for frame in self.frames(1) {
                self.tap.send_frame(&frame)?;
            }
            Ok(Tcpw::counters(&self.sandbox)?["early_dropped"] > 0)
        })?;
        self.measure(Some("early_dropped"))
    }

    /// By a rule.
    fn filtered(&mut self, add: &[&str], delete: &[&str]) -> Result<f64> {
        // The sandbox is borrowed by `between`, the rest by the work.
        let Self { sandbox, tap, networks, sent } = self;
        between(sandbox, add, delete, |_| measure(tap, &frames(*networks, sent, FRAMES)))
    }

    fn frames(&mut self, count: u32) -> Vec<Vec<u8>> {
        frames(self.networks, &mut self.sent, count)
    }

    /// Nanoseconds of a frame. tcpw's counter must say that it dropped each of them.
    fn measure(&mut self, counter: Option<&str>) -> Result<f64> {
        let frames = self.frames(FRAMES);
        let Some(counter) = counter else { return measure(&self.tap, &frames) };
        let before = Tcpw::counters(&self.sandbox)?[counter];
        let ns = measure(&self.tap, &frames)?;
        let counted = Tcpw::counters(&self.sandbox)?[counter] - before;
        ensure!(counted == u64::from(FRAMES), "{counter}: {counted} of {FRAMES}");
        Ok(ns)
    }
}

/// SYNs of refused clients, no two alike.
fn frames(networks: u32, sent: &mut u32, count: u32) -> Vec<Vec<u8>> {
    let syns = (0..count).map(|_| {
        *sent += 1;
        let syn = Segment {
            from: IpAddr::V4(refused_client(sent.wrapping_mul(0x9e37_79b1) % networks)),
            to: SERVER.into(),
            from_port: 10_000 + u16::try_from(*sent % 50_000).unwrap_or_default(),
            to_port: PORT,
            seq: *sent,
            ack: 0,
            flags: SYN,
            options: Vec::new(),
            data: Vec::new(),
        };
        frame(OWN, &[], &syn.plain())
    });
    syns.collect()
}

fn measure(tap: &Tap, frames: &[Vec<u8>]) -> Result<f64> {
    let began = Instant::now();
    for frame in frames {
        tap.send_frame(frame)?;
    }
    let count = u32::try_from(frames.len()).map(f64::from).context("that many frames")?;
    Ok(began.elapsed().as_secs_f64() * 1e9 / count)
}
