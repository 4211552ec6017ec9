//! A cgroup_skb program that does nothing: what the kernel itself takes to run a program for a packet.
//!
//! In: a cgroup. Out: the program `empty`, attached to its ingress until the value is dropped.
//! Source: linux/include/uapi/linux/bpf.h, `union bpf_attr`.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
};

use anyhow::{Context as _, Result};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_CGROUP_INET_INGRESS: u32 = 0;

/// `r0 = 1; exit`.
const PROGRAM: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
const LICENSE: &std::ffi::CStr = c"GPL";

/// The beginning of the attributes of BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
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
    program: RawFd,
    target: RawFd,
    attach_type: u32,
    flags: u32,
}

/// The program's link.
pub(crate) struct Empty {
    _link: OwnedFd,
}

impl Empty {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        let directory = File::open(cgroup).with_context(|| format!("open {}", cgroup.display()))?;
        let mut name = [0; 16];
        name[..5].copy_from_slice(b"empty");
        let load = Load {
            kind: BPF_PROG_TYPE_CGROUP_SKB,
            count: 2,
            instructions: PROGRAM.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
            name,
            attach_type: BPF_CGROUP_INET_INGRESS,
            ..Load::default()
        };
        let program = bpf(BPF_PROG_LOAD, &load).context("load the empty program")?;
        let link = Link {
            program: program.as_raw_fd(),
            target: directory.as_raw_fd(),
            attach_type: BPF_CGROUP_INET_INGRESS,
            flags: 0,
        };
        Ok(Self { _link: bpf(BPF_LINK_CREATE, &link).context("attach the empty program")? })
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
