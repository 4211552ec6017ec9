//! Reads one file of any type, in bounded time and memory.
//!
//! Source: libwrap opens with fopen(3): ENOENT means no rules, any other failure
//! is an error of the table; a directory opens and reads as nothing.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use super::Fingerprint;
use crate::{host::reason, parse::text::FileText};

/// Most bytes of one file: ten million networks of 26 characters.
const MAX_BYTES: u64 = 256 << 20;

/// How long a FIFO or a device may take.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// A file's text, and its state while it was read.
pub(super) struct ReadFile {
    /// The text for the parser.
    pub(super) text: FileText,
    /// The open file's fingerprint, before and after it was read.
    before: Fingerprint,
    after: Fingerprint,
    /// A process has it open for writing.
    pub(super) has_writer: bool,
    /// Reading it again may give another text though no process wrote it (FIFO, device).
    once: bool,
}

impl ReadFile {
    /// Whether reading `path` again gives the same, and the file was at rest both times.
    pub(super) fn still_holds(&self, path: &Path) -> bool {
        if self.once {
            return true;
        }
        let again = read(path);
        self.before == self.after
            && self.after == again.before
            && again.before == again.after
            && self.text == again.text
    }
}

/// Reads `path`.
pub(super) fn read(path: &Path) -> ReadFile {
    open_and_read(path).unwrap_or_else(|error| {
        let fingerprint = Fingerprint::Error(error.raw_os_error());
        let text = if error.kind() == io::ErrorKind::NotFound {
            FileText::Missing
        } else {
            FileText::Unreadable(reason(&error))
        };
        ReadFile { text, before: fingerprint.clone(), after: fingerprint, has_writer: false, once: false }
    })
}

fn open_and_read(path: &Path) -> io::Result<ReadFile> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    let before = Fingerprint::from(&metadata);
    let (text, once) = if kind.is_dir() {
        (FileText::Bytes([].into()), false)
    } else if kind.is_file() {
        (read_bounded(&mut file)?, false)
    } else {
        (read_in_time(&mut file, kind.is_fifo())?, true)
    };
    let after = Fingerprint::from(&file.metadata()?);
    let has_writer = kind.is_file() && has_writer(&file);
    Ok(ReadFile { text, before, after, has_writer, once })
}

/// Whether a process has the file open for writing: an edit in place begins with an empty file.
///
/// A read lease is granted only while no process has: fcntl(2). If the file system has no leases: false.
fn has_writer(file: &File) -> bool {
    let lease = |wanted: libc::c_int| {
        // SAFETY: takes a live descriptor and integers.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, wanted) }
    };
    /// Source: linux/include/uapi/asm-generic/fcntl.h.
    const F_SETSIG: libc::c_int = 10;
    // If a process opens the file meanwhile, the kernel sends us this signal, which is ignored by default.
    // SAFETY: takes a live descriptor and an integer.
    if unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) } != 0 {
        return false;
    }
    if lease(libc::F_RDLCK) == 0 {
        lease(libc::F_UNLCK);
        return false;
    }
    io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

fn read_bounded(file: &mut File) -> io::Result<FileText> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bounded(bytes))
}

/// Reads a FIFO or device: until its writer closes it, or the time limit passes.
fn read_in_time(file: &mut File, fifo: bool) -> io::Result<FileText> {
    let deadline = Instant::now() + MAX_WAIT;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while bytes.len() as u64 <= MAX_BYTES {
        match file.read(&mut chunk) {
            // A FIFO without a writer reads as empty; empty would mean "no rules".
            Ok(0) if fifo && bytes.is_empty() => std::thread::sleep(Duration::from_millis(2)),
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Ok(FileText::Unreadable(format!(
                "Not a regular file, and not read to its end within {} ms",
                MAX_WAIT.as_millis()
            )));
        }
    }
    Ok(bounded(bytes))
}

fn bounded(bytes: Vec<u8>) -> FileText {
    if bytes.len() as u64 > MAX_BYTES {
        FileText::Unreadable(format!("Larger than {} MiB", MAX_BYTES >> 20))
    } else {
        FileText::Bytes(bytes.into())
    }
}
