//! Memory shared with the process of a case: what libwrap said and ran there.

use std::{num::NonZeroUsize, ptr};

use anyhow::{Context, Result, ensure};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Bytes of the shared memory: tables of 2047-byte lines say less.
const SIZE: usize = 1 << 20;
/// Type, priority, length.
const HEAD: usize = 1 + 4 + 4;

/// `struct recording` of shim.c, without its bytes.
#[repr(C)]
struct Head {
    size: u32,
    used: u32,
    lost: u32,
}

unsafe extern "C" {
    fn oracle_record_into(recording: *mut Head);
    fn oracle_record(kind: u8, priority: i32, bytes: *const u8, length: u32);
}

/// The shared memory; it lives as long as the program.
pub(crate) struct Recording {
    head: *mut Head,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A line to syslog, with its priority.
    Log(i32, Vec<u8>),
    /// A command to the shell.
    Command(Vec<u8>),
    /// A sleep of seconds.
    Sleep(u32),
    /// The numbers a case's process leaves at its end.
    Numbers(Vec<i32>),
}

impl Recording {
    pub(crate) fn new() -> Result<Self> {
        let size = NonZeroUsize::new(SIZE).context("a size")?;
        let (access, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping, of no file.
        let memory = unsafe { mmap_anonymous(None, size, access, flags) }.context("share memory")?;
        let head = memory.as_ptr().cast::<Head>();
        let size = u32::try_from(SIZE - size_of::<Head>())?;
        // SAFETY: pages are aligned, and larger than the head; nobody else knows them yet.
        unsafe {
            head.write(Head { size, used: 0, lost: 0 });
            oracle_record_into(head);
        }
        Ok(Self { head })
    }

    /// Forgets everything; no process of a case may run.
    pub(crate) fn clear(&mut self) {
        // SAFETY: the mapping lives for ever, and nobody else writes.
        unsafe {
            (*self.head).used = 0;
            (*self.head).lost = 0;
        }
    }

    /// Records numbers; in the process of a case.
    pub(crate) fn leave(numbers: &[i32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        // SAFETY: the bytes are as many as are named.
        unsafe { oracle_record(b'V', 0, bytes.as_ptr(), length) };
    }

    /// What happened; no process of a case may run.
    ///
    /// # Errors
    /// There was more than fits.
    pub(crate) fn records(&self) -> Result<Vec<Record>> {
        // SAFETY: `used` bytes behind the head have been written, by shim.c alone; the
        // mapping lives for ever.
        let (lost, bytes) = unsafe {
            let Head { used, lost, .. } = ptr::read(self.head);
            (lost, std::slice::from_raw_parts(self.head.add(1).cast::<u8>(), used as usize))
        };
        ensure!(lost == 0, "{lost} records did not fit: the case says too much");
        let mut records = Vec::new();
        let mut rest = bytes;
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
            let [kind, p0, p1, p2, p3, l0, l1, l2, l3] = *head;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let (bytes, behind) = behind.split_at_checked(length).context("a record is cut")?;
            rest = behind;
            let numbers = || bytes.chunks_exact(4).filter_map(|number| number.try_into().ok());
            records.push(match kind {
                b'L' => Record::Log(i32::from_ne_bytes([p0, p1, p2, p3]), bytes.into()),
                b'X' => Record::Command(bytes.into()),
                b'S' => Record::Sleep(numbers().map(u32::from_ne_bytes).next().unwrap_or_default()),
                _ => Record::Numbers(numbers().map(i32::from_ne_bytes).collect()),
            });
        }
        Ok(records)
    }
}
