//! BPF programs of a few instructions: XDP programs of somebody else, one that runs the program of another device, and a
//! program that does nothing to measure what the kernel takes to run one.
//!
//! In: where it is attached. Out: the program, attached until the value is dropped.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::{
    bpf::{Array, EXIT, Kind, Program, XDP, call, set},
    namespace::Netns,
};

/// What an XDP program says of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EveryFrame {
    /// XDP_DROP.
    Drop = 1,
    /// XDP_PASS.
    Pass = 2,
}

/// The program's link.
#[derive(Debug)]
pub struct TinyProgram {
    _link: OwnedFd,
    _jump: Option<Array>,
}

impl TinyProgram {
    /// An XDP program at a device of a network namespace.
    ///
    /// # Errors
    /// There is no such device, or the kernel refuses it.
    pub fn at_device(netns: &Netns, device: &str, verdict: EveryFrame) -> Result<Self> {
        let program = Program::load("empty", Kind::Xdp, XDP, &[set(0, verdict as u32), EXIT])?;
        Ok(Self { _link: attach(&program, netns, device)?, _jump: None })
    }

    /// An XDP program at a device which jumps to the one that another device has. A frame with which it cannot is dropped.
    ///
    /// # Errors
    /// There is no such device or no such program, or the kernel refuses to jump to it.
    pub fn at_device_as(netns: &Netns, device: &str, other: &str) -> Result<Self> {
        const TAIL_CALL: u32 = 12;
        let jump = Array::of_program(&Program::of_id(program_at(netns, other)?)?)?;
        let [low, high] = jump.load(2);
        let instructions = [low, high, set(3, 0), call(TAIL_CALL), set(0, EveryFrame::Drop as u32), EXIT];
        let program = Program::load("jump", Kind::Xdp, XDP, &instructions)?;
        Ok(Self { _link: attach(&program, netns, device)?, _jump: Some(jump) })
    }

    /// A cgroup_skb program for each packet that comes in, which passes it. The kernel shows it as `empty`.
    ///
    /// # Errors
    /// There is no such cgroup, or the kernel refuses it.
    pub fn at_cgroup(cgroup: &Path) -> Result<Self> {
        const CGROUP_INET_INGRESS: u32 = 0;
        let directory = File::open(cgroup).with_context(|| format!("open {}", cgroup.display()))?;
        let program = Program::load("empty", Kind::CgroupSkb, CGROUP_INET_INGRESS, &[set(0, 1), EXIT])?;
        let target = directory.as_raw_fd().cast_unsigned();
        Ok(Self { _link: program.attach(CGROUP_INET_INGRESS, target)?, _jump: None })
    }
}

/// Attaches an XDP program to a device. Its index is one of the calling thread's namespace.
fn attach(program: &Program, netns: &Netns, device: &str) -> Result<OwnedFd> {
    netns.run(|| program.attach(XDP, if_nametoindex(device).with_context(|| device.to_owned())?))
}

/// The id of the XDP program at a device.
fn program_at(netns: &Netns, device: &str) -> Result<u32> {
    let shown = netns.run(|| {
        Command::new("ip").args(["-json", "link", "show", "dev", device]).output().context("start ip(8)")
    })?;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).context("read what ip(8) shows")?;
    let id = shown[0]["xdp"]["prog"]["id"].as_u64().with_context(|| format!("{device} has no program"))?;
    Ok(u32::try_from(id)?)
}
