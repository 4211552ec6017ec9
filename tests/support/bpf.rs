//! BPF programs and maps, instruction by instruction.
//!
//! In: instructions, and what a map holds. Out: the program or map, in the kernel until the value is dropped.
//! Source: linux/include/uapi/linux/bpf.h, `union bpf_attr` and `struct bpf_insn`.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_LINK_CREATE: libc::c_long = 28;

/// XDP, as what a program is attached to.
pub(crate) const XDP: u32 = 37;

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

/// The beginning of those of BPF_MAP_CREATE.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    most: u32,
}

/// Those of BPF_MAP_UPDATE_ELEM.
#[repr(C)]
struct Update {
    map: u32,
    _gap: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Those of BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_sizes: [u32; 2],
    contexts: [u64; 2],
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _gap: u32,
}

/// What a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames of a device, before they are packets of the stack.
    Xdp = 6,
    /// Packets of a cgroup.
    CgroupSkb = 8,
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

impl Program {
    /// Loads it; the kernel shows it by the name.
    pub(crate) fn load(name: &str, kind: Kind, attach_type: u32, instructions: &[u64]) -> Result<Self> {
        /// It takes frames in pieces, too: an XDP program jumps only to one that agrees with it in that.
        const XDP_HAS_FRAGS: u32 = 1 << 5;
        let flags = match kind {
            Kind::Xdp => XDP_HAS_FRAGS,
            Kind::CgroupSkb => 0,
        };
        let mut shown = [0; 16];
        ensure!(name.len() < shown.len(), "{name}: too long");
        shown[..name.len()].copy_from_slice(name.as_bytes());
        let mut load = Load {
            kind: kind as u32,
            count: u32::try_from(instructions.len()).context("that many instructions")?,
            instructions: instructions.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            log: [0; 2],
            version_and_flags: [0, flags],
            name: shown,
            ifindex: 0,
            attach_type,
        };
        Ok(Self(bpf_fd(BPF_PROG_LOAD, &mut load).with_context(|| format!("load the program {name}"))?))
    }

    /// One that somebody has loaded, by its id.
    pub(crate) fn of_id(id: u32) -> Result<Self> {
        Ok(Self(
            bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0]).with_context(|| format!("open program {id}"))?,
        ))
    }

    /// Attaches it, to a device by its index or to a cgroup by its descriptor.
    pub(crate) fn attach(&self, attach_type: u32, target: u32) -> Result<OwnedFd> {
        let mut link = Link { program: raw(&self.0), target, attach_type, flags: 0 };
        bpf_fd(BPF_LINK_CREATE, &mut link).context("attach a program")
    }

    /// Gives an XDP program the frame `count` times, and does with each what the program says. Runs on this CPU, for
    /// `batch` frames at a time with bottom halves off. Minimum kernel version: 5.18.
    pub(crate) fn run_live(&self, frame: &[u8], count: u32, batch: u32) -> Result<()> {
        const LIVE_FRAMES: u32 = 1 << 1;
        let mut run = TestRun {
            program: raw(&self.0),
            size_in: u32::try_from(frame.len()).context("that long a frame")?,
            data_in: frame.as_ptr().addr() as u64,
            repeat: count,
            flags: LIVE_FRAMES,
            batch_size: batch,
            ..TestRun::default()
        };
        bpf(BPF_PROG_TEST_RUN, &mut run).map(drop).context("run a program with live frames")
    }
}

/// An array of one element.
#[derive(Debug)]
pub(crate) struct Array(OwnedFd);

impl Array {
    /// Of a value of that size.
    pub(crate) fn of_bytes(size: u32) -> Result<Self> {
        const ARRAY: u32 = 2;
        Self::create(ARRAY, size)
    }

    /// Of a program that others jump to, while the array exists.
    pub(crate) fn of_program(program: &Program) -> Result<Self> {
        const PROG_ARRAY: u32 = 3;
        let array = Self::create(PROG_ARRAY, 4)?;
        array.set(&raw(&program.0).to_ne_bytes())?;
        Ok(array)
    }

    fn create(kind: u32, value_size: u32) -> Result<Self> {
        let mut create = Create { kind, key_size: 4, value_size, most: 1 };
        Ok(Self(bpf_fd(BPF_MAP_CREATE, &mut create).context("make an array")?))
    }

    /// Writes the element; the value is as long as the array was made for.
    pub(crate) fn set(&self, value: &[u8]) -> Result<()> {
        let key = 0_u32;
        let mut update = Update {
            map: raw(&self.0),
            _gap: 0,
            key: (&raw const key).addr() as u64,
            value: value.as_ptr().addr() as u64,
            flags: 0,
        };
        bpf(BPF_MAP_UPDATE_ELEM, &mut update).map(drop).context("write an array")
    }

    /// Loads its address into a register: two instructions.
    pub(crate) fn load(&self, register: u8) -> [u64; 2] {
        const MAP: u8 = 1;
        [instruction(LOAD_64, register, MAP, 0, raw(&self.0)), 0]
    }

    /// Likewise, that of its element.
    pub(crate) fn load_value(&self, register: u8) -> [u64; 2] {
        const MAP_VALUE: u8 = 2;
        [instruction(LOAD_64, register, MAP_VALUE, 0, raw(&self.0)), 0]
    }
}

const LOAD_64: u8 = 0x18;

/// `exit`.
pub(crate) const EXIT: u64 = 0x95;

/// One instruction: what it does, the registers it is about, an offset, and a number.
pub(crate) const fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    let registers = to | from << 4;
    code as u64 | (registers as u64) << 8 | (offset.cast_unsigned() as u64) << 16 | (number as u64) << 32
}

/// register = number.
pub(crate) const fn set(register: u8, number: u32) -> u64 {
    instruction(0xb7, register, 0, 0, number)
}

/// Calls a helper of the kernel.
pub(crate) const fn call(helper: u32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

fn raw(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf_fd<A>(command: libc::c_long, attributes: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the attributes are a live value of the size that is given; what they point to is live, too, and only read.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>()) };
    match i32::try_from(done) {
        Ok(done) if done >= 0 => Ok(done),
        _ => Err(io::Error::last_os_error()),
    }
}
