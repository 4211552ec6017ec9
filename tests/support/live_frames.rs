//! Frames that the kernel itself sends through a cable: BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18.
//!
//! In: IPv4 TCP frames, which differ in client, port, sequence number and checksums only. Out: they were received at the
//! other end, and how long that took.
//! Invariant: no system call is between two frames, and all work for them is done on one CPU, in the softirq that follows
//! each batch. A frame lies in a page that had another before: the program writes whatever differs.
//! Source: linux/Documentation/bpf/bpf_prog_run.rst, linux/drivers/net/veth.c.

use std::{
    collections::BTreeMap,
    io,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    libc,
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    bpf::{Array, EXIT, Kind, Program, XDP, call, instruction, set},
    namespace::Netns,
    tiny_program::EveryFrame,
};

/// Frames that the kernel makes at a time.
const BATCH: u32 = 64;

/// What differs: place in a record, place in a frame, bytes. From the first field on: the client and the sum of the IP
/// header; port, sequence number and sum of the TCP header.
const FIELDS: [(u8, u8, Size); 5] =
    [(0, 26, Size::Four), (4, 24, Size::Two), (6, 50, Size::Two), (8, 34, Size::Two), (12, 38, Size::Four)];
const RECORD: usize = 16;
/// The end of the last field in a frame.
const FIELDS_END: u32 = 52;
/// In front of the records: how many frames are made.
const HEAD: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Two = 2,
    Four = 4,
}

/// What became of the frames at the device that receives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// XDP dropped them.
    Dropped,
    /// They became packets of the stack.
    Passed,
}

/// A cable into a network namespace, and the program that sends frames through it.
#[derive(Debug)]
pub struct LiveFrames<'a> {
    from: &'a Netns,
    to: &'a Netns,
    device: String,
    program: Program,
    records: Array,
    most: u32,
    cpu: usize,
}

impl<'a> LiveFrames<'a> {
    /// Makes the cable, whose ends have that name, one of them that address, and the program, for up to so many frames at
    /// a time. This CPU is kept for these: what the thread starts from now on runs on others.
    ///
    /// # Errors
    /// The name is taken, the kernel is older, or there is no other CPU.
    pub fn new(from: &'a Netns, to: &'a Netns, device: &str, ethernet: [u8; 6], most: u32) -> Result<Self> {
        let most = most.next_multiple_of(BATCH);
        from.ip(&format!("link add {device} type veth peer name {device} netns {}", to.path().display()))?;
        let ethernet = ethernet.map(|byte| format!("{byte:02x}")).join(":");
        to.ip(&format!("link set {device} address {ethernet}"))?;
        // Without a program the device takes frames of others in if it has GRO.
        ethtool(to, &["-K", device, "gro", "on"])?;
        for netns in [from, to] {
            // It sends nothing by itself.
            netns.ip(&format!("link set {device} addrgenmode none"))?;
            netns.ip(&format!("link set {device} up"))?;
        }
        let records = Array::of_bytes(u32::try_from(usize::from(HEAD) + RECORD * usize::try_from(most)?)?)?;
        let index = from.run(|| if_nametoindex(device).context("ask for the device"))?;
        let program = Program::load("live", Kind::Xdp, XDP, &instructions(&records, most, index))?;
        let cpu = reserve_cpu().context("keep a CPU for the frames")?;
        Ok(Self { from, to, device: device.to_owned(), program, records, most, cpu })
    }

    /// Sends frames, whole batches of them. How long it took until they were received, and what became of them: of all
    /// the same.
    ///
    /// # Errors
    /// A frame was lost, or is unlike the first beyond the fields; or the fates differ.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<(Duration, Received)> {
        let count = u32::try_from(frames.len())?;
        ensure!(count <= self.most && count.is_multiple_of(BATCH), "{count}: not whole batches of {BATCH}");
        let first = frames.first().context("no frames")?;
        self.records.set(&records(frames, self.most)?)?;
        let before = self.counted()?;
        let took = self.from.run(|| {
            go_to_cpu(self.cpu)?;
            let began = Instant::now();
            self.program.run_live(first, count, BATCH)?;
            Ok(began.elapsed())
        })?;
        let after = self.counted()?;
        let [received, dropped] = [0, 1].map(|at| after[at] - before[at]);
        ensure!(received == u64::from(count), "{received} of {count} frames were received");
        match dropped {
            0 => Ok((took, Received::Passed)),
            dropped if dropped == received => Ok((took, Received::Dropped)),
            dropped => bail!("XDP dropped {dropped} of {count} frames"),
        }
    }

    /// How many frames the device has received, and how many of these XDP dropped.
    fn counted(&self) -> Result<[u64; 2]> {
        let text = ethtool(self.to, &["-S", &self.device])?;
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once(": ")) {
            all.insert(name, value.parse().with_context(|| format!("{name}: {value}"))?);
        }
        let of = |name: &str| all.get(name).copied().with_context(|| format!("no {name}"));
        Ok([of("rx_queue_0_xdp_packets")?, of("rx_queue_0_xdp_drops")?])
    }
}

/// Whatever this thread starts from now on runs on other CPUs than this one.
fn reserve_cpu() -> Result<usize> {
    let cpu = sched_getcpu()?;
    let mut others = sched_getaffinity(Pid::from_raw(0))?;
    others.unset(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &others)?;
    Ok(cpu)
}

/// This thread runs on that CPU, before all others that want to.
fn go_to_cpu(cpu: usize) -> Result<()> {
    let mut own = CpuSet::new();
    own.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &own).context("go to the CPU")?;
    // SAFETY: passes numbers.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    ensure!(done == 0, "setpriority: {}", io::Error::last_os_error());
    Ok(())
}

/// The fields of each frame.
fn records(frames: &[Vec<u8>], most: u32) -> Result<Vec<u8>> {
    let mut all = vec![0; usize::from(HEAD) + RECORD * usize::try_from(most)?];
    for (record, frame) in all[HEAD.into()..].chunks_exact_mut(RECORD).zip(frames) {
        let mut as_first = frame.clone();
        for (at, place, size) in FIELDS {
            let [at, place] = [at, place].map(usize::from);
            let size = size as usize;
            let field = frame.get(place..place + size).context("a short frame")?;
            record[at..at + size].copy_from_slice(field);
            as_first[place..place + size].copy_from_slice(&frames[0][place..place + size]);
        }
        ensure!(as_first == frames[0], "a frame differs from the first beyond the fields");
    }
    Ok(all)
}

/// Writes the fields of the next record into the frame and redirects it to a device.
fn instructions(records: &Array, most: u32, device: u32) -> Vec<u64> {
    const REDIRECT: u32 = 23;
    const DROP: u64 = set(0, EveryFrame::Drop as u32);
    let [low, high] = records.load_value(4);
    let mut all = vec![
        // r1 and r2 are begin and end of the frame; it has to have all fields.
        instruction(LOAD_4, 2, 1, 4, 0),
        instruction(LOAD_4, 1, 1, 0, 0),
        instruction(COPY, 3, 1, 0, 0),
        instruction(ADD_NUMBER, 3, 0, 0, FIELDS_END),
        instruction(SKIP_IF_NOT_ABOVE, 3, 2, 2, 0),
        DROP,
        EXIT,
        // r4 is the next record; none is used twice.
        low,
        high,
        instruction(LOAD_4, 5, 4, 0, 0),
        instruction(SKIP_IF_BELOW_NUMBER, 5, 0, 2, most),
        DROP,
        EXIT,
        instruction(COPY, 0, 5, 0, 0),
        instruction(ADD_NUMBER, 0, 0, 0, 1),
        instruction(STORE_4, 4, 0, 0, 0),
        instruction(SHIFT_LEFT_NUMBER, 5, 0, 0, RECORD.ilog2()),
        instruction(ADD, 4, 5, 0, 0),
    ];
    for (at, place, size) in FIELDS {
        let (load, store) = match size {
            Size::Two => (LOAD_2, STORE_2),
            Size::Four => (LOAD_4, STORE_4),
        };
        all.push(instruction(load, 0, 4, i16::from(HEAD + at), 0));
        all.push(instruction(store, 1, 0, i16::from(place), 0));
    }
    all.extend([set(1, device), set(2, 0), call(REDIRECT), EXIT]);
    all
}

const LOAD_4: u8 = 0x61;
const LOAD_2: u8 = 0x69;
const STORE_4: u8 = 0x63;
const STORE_2: u8 = 0x6b;
const COPY: u8 = 0xbf;
const ADD: u8 = 0x0f;
const ADD_NUMBER: u8 = 0x07;
const SHIFT_LEFT_NUMBER: u8 = 0x67;
const SKIP_IF_NOT_ABOVE: u8 = 0xbd;
const SKIP_IF_BELOW_NUMBER: u8 = 0xa5;

fn ethtool(netns: &Netns, arguments: &[&str]) -> Result<String> {
    let done = netns.run(|| Command::new("ethtool").args(arguments).output().context("start ethtool(8)"))?;
    ensure!(done.status.success(), "ethtool {arguments:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
