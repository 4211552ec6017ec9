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
    sync::Arc,
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
        if let (FileText::Bytes(text), Fingerprint::File { .. }) = (&self.text, &self.after) {
            return self.before == self.after && has_still(path, &self.after, text).unwrap_or(false);
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

/// Whether a process has the file open for writing.
pub(super) fn is_being_written(path: &Path) -> bool {
    open(path).is_ok_and(|file| file.metadata().is_ok_and(|it| it.is_file()) && has_writer(&file))
}

fn open(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Whether a regular file is at rest in a state, and has a text: that is not kept a second time to be compared.
fn has_still(path: &Path, state: &Fingerprint, text: &[u8]) -> io::Result<bool> {
    let mut file = open(path)?;
    let is_same_state = |file: &File| Ok::<_, io::Error>(Fingerprint::from(&file.metadata()?) == *state);
    Ok(is_same_state(&file)? && has_text(&mut file, text)? && is_same_state(&file)?)
}

/// Whether what is left to be read is this text.
fn has_text(file: &mut impl Read, text: &[u8]) -> io::Result<bool> {
    let mut part = vec![0; 256 << 10];
    let mut rest = text;
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(length) => match rest.strip_prefix(&part[..length]) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn open_and_read(path: &Path) -> io::Result<ReadFile> {
    let mut file = open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    let before = Fingerprint::from(&metadata);
    let (text, once) = if kind.is_dir() {
        (FileText::Bytes([].into()), false)
    } else if kind.is_file() {
        (read_bounded(&mut file, metadata.len())?, false)
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

/// Reads a file of about that length, to where its text stays.
fn read_bounded(file: &mut impl Read, length: u64) -> io::Result<FileText> {
    let length = usize::try_from(length.min(MAX_BYTES)).unwrap_or(0);
    let mut text: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    let mut filled = 0;
    while let Some(room) = Arc::get_mut(&mut text).map(|text| &mut text[filled..]).filter(|it| !it.is_empty())
    {
        match file.read(room) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut rest = Vec::new();
    file.take(MAX_BYTES + 1 - filled as u64).read_to_end(&mut rest)?;
    if filled == length && rest.is_empty() {
        return Ok(FileText::Bytes(text));
    }
    Ok(bounded([&text[..filled], &rest].concat()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_whatever_length_was_told() {
        let text = b"ALL: 192.0.2.1\n".repeat(1000);
        for told in [0, 1, text.len() as u64, text.len() as u64 + 1, 100_000] {
            let read = read_bounded(&mut &*text, told).unwrap();
            assert_eq!(read, FileText::Bytes(text.as_slice().into()), "{told}");
        }
        let too_long = read_bounded(&mut io::repeat(b'#'), 1 << 20).unwrap();
        assert_eq!(too_long, FileText::Unreadable("Larger than 256 MiB".to_owned()));
    }

    #[test]
    fn text_is_the_same_only_to_its_end() {
        let text = b"0123456789".repeat(100_000);
        let is_same = |other: &[u8]| has_text(&mut &*text, other).unwrap();
        assert!(is_same(&text));
        assert!(
            !is_same(&text[1..])
                && !is_same(&text[..text.len() - 1])
                && !is_same(&[&text[..], b"0"].concat())
        );
        let mut other = text.clone();
        other[999_999] ^= 1;
        assert!(!is_same(&other));
        assert!(has_text(&mut io::empty(), b"").unwrap() && !has_text(&mut io::empty(), b"a").unwrap());
    }
}
