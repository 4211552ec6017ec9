//! BPF programs of two instructions, which return a number: XDP programs of somebody else, and a program that does nothing
//! to measure what the kernel takes to run one.
//!
//! In: where it is attached. Out: the program, attached until the value is dropped.
//! Source: linux/include/uapi/linux/bpf.h, `union bpf_attr`.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

use crate::namespace::Netns;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;

/// The beginning of the attributes of BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_and_flags: [u32; 2],
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

/// The beginning of those of BPF_LINK_CREATE.
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

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
}

impl TinyProgram {
    /// An XDP program at a device of a network namespace.
    ///
    /// # Errors
    /// There is no such device, or the kernel refuses it.
    pub fn at_device(netns: &Netns, device: &str, verdict: EveryFrame) -> Result<Self> {
        const PROG_TYPE_XDP: u32 = 6;
        const XDP: u32 = 37;
        let name = CString::new(device)?;
        netns.run(|| {
            // SAFETY: passes a live string.
            let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
            ensure!(ifindex != 0, "{device}: {}", io::Error::last_os_error());
            Self::attach(PROG_TYPE_XDP, XDP, ifindex, verdict as u32)
        })
    }

    /// A cgroup_skb program for each packet that comes in, which passes it. The kernel shows it as `empty`.
    ///
    /// # Errors
    /// There is no such cgroup, or the kernel refuses it.
    pub fn at_cgroup(cgroup: &Path) -> Result<Self> {
        const PROG_TYPE_CGROUP_SKB: u32 = 8;
        const CGROUP_INET_INGRESS: u32 = 0;
        let directory = File::open(cgroup).with_context(|| format!("open {}", cgroup.display()))?;
        let target = directory.as_raw_fd().cast_unsigned();
        Self::attach(PROG_TYPE_CGROUP_SKB, CGROUP_INET_INGRESS, target, 1)
    }

    fn attach(kind: u32, attach_type: u32, target: u32, result: u32) -> Result<Self> {
        // r0 = result; exit.
        let instructions: [u64; 2] = [0xb7 | u64::from(result) << 32, 0x95];
        let load = Load {
            kind,
            count: 2,
            instructions: instructions.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            log: [0; 2],
            version_and_flags: [0; 2],
            name: *b"empty\0\0\0\0\0\0\0\0\0\0\0",
            ifindex: 0,
            attach_type,
        };
        let program = bpf(BPF_PROG_LOAD, &load).context("load a program of two instructions")?;
        let link = Link { program: program.as_raw_fd().cast_unsigned(), target, attach_type, flags: 0 };
        Ok(Self { _link: bpf(BPF_LINK_CREATE, &link).context("attach it")? })
    }
}

fn bpf<A>(command: libc::c_long, attributes: &A) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are a live value of the size that is given; what they point to is live, too.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>()) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
