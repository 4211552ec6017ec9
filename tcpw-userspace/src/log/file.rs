//! Lines to a file.
//!
//! Invariant: a write is of whole lines, at the end of the file whatever others write; what a full disk took of a line is
//! taken back. After logrotate moved the file away the next lines go to the new one. Only a file of root is written to, never
//! one that a symbolic link leads to.

use std::{
    fs::{self, File, Metadata},
    io::{self, Seek as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use super::{
    LogSink, Lost,
    chunks::{Chunks, write_all},
    form::AsLine,
};
use crate::host::append_to_own_file;

/// A file that lines are appended to.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`.
    identity: (u64, u64),
    /// The file ends within a line: the next one begins on a new line.
    is_torn: bool,
    chunks: Chunks,
}

impl FileSink {
    /// Opens `path`, creating it for its owner alone (0600).
    ///
    /// # Errors
    /// It cannot be opened for appending, or it may be another user's.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let Opened { file, identity, is_torn } = open(&path)?;
        Ok(Self { path, file, identity, is_torn, chunks: Chunks::default() })
    }

    fn follow_rotation(&mut self) {
        let is_same =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if !is_same {
            // If it fails, the old file takes the lines: none is lost.
            let _ = self.open_again();
        }
    }

    fn open_again(&mut self) -> io::Result<()> {
        let Opened { file, identity, is_torn } = open(&self.path)?;
        (self.file, self.identity, self.is_torn) = (file, identity, is_torn);
        Ok(())
    }
}

impl<E: AsLine> LogSink<E> for FileSink {
    fn write(&mut self, entries: &[E]) -> Result<(), Lost> {
        self.follow_rotation();
        let Self { file, is_torn, chunks, .. } = self;
        chunks.each(entries, |lines| {
            if *is_torn {
                write_all(b"\n", |bytes| file.write(bytes)).map_err(|(_, error)| (0, error))?;
                *is_torn = false;
            }
            write_all(lines, |bytes| file.write(bytes)).inspect_err(|(taken, _)| {
                let whole = lines[..*taken].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                *is_torn = *taken > whole && !take_back(file, (*taken - whole) as u64);
            })
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open_again()
    }
}

/// A file that was opened.
struct Opened {
    file: File,
    identity: (u64, u64),
    is_torn: bool,
}

fn open(path: &Path) -> io::Result<Opened> {
    // A FIFO without a reader is an error then, not a wait.
    let file = append_to_own_file(path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
    let found = file.metadata()?;
    let is_torn = found.is_file() && found.len() > 0 && ends_within_a_line(path, &found);
    Ok(Opened { file, identity: (found.dev(), found.ino()), is_torn })
}

/// Whether the last byte of a file is no newline: a process ended while it wrote. A file that cannot be read is taken
/// for whole.
fn ends_within_a_line(path: &Path, found: &Metadata) -> bool {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW).bits();
    let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return false };
    let is_it = file.metadata().is_ok_and(|it| (it.dev(), it.ino()) == (found.dev(), found.ino()));
    let mut last = [b'\n'];
    is_it && file.read_exact_at(&mut last, found.len() - 1).is_ok() && last != *b"\n"
}

/// Shortens a file by what was written of a line; whether that was done. What others wrote behind it stays.
fn take_back(mut file: &File, written: u64) -> bool {
    // The position is that behind this process's last write.
    let (Ok(end), Ok(found)) = (file.stream_position(), file.metadata()) else { return false };
    found.is_file() && found.len() == end && file.set_len(end.saturating_sub(written)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::example;
    use std::os::unix::fs::PermissionsExt;

    /// A directory that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tcpw-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn file_is_appended_to_and_its_owner_s_alone() {
        let directory = Directory::new("append");
        let path = directory.0.join("secure");
        FileSink::open(&path).unwrap().write(&[example()]).unwrap();
        FileSink::open(&path).unwrap().write(&[example()]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), example().line().repeat(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn rotated_file_is_left_for_the_new_one() {
        let directory = Directory::new("rotate");
        let (path, old) = (directory.0.join("secure"), directory.0.join("secure.1"));
        let mut sink = FileSink::open(&path).unwrap();
        sink.write(&[example()]).unwrap();
        fs::rename(&path, &old).unwrap();
        sink.write(&[example()]).unwrap();
        fs::remove_file(&path).unwrap();
        sink.write(&[example()]).unwrap();
        assert_eq!(fs::read(&old).unwrap(), example().line());
        assert_eq!(fs::read(&path).unwrap(), example().line());
    }

    #[test]
    fn line_survives_a_directory_that_went_away() {
        let directory = Directory::new("gone");
        let inner = directory.0.join("inner");
        fs::create_dir(&inner).unwrap();
        let mut sink = FileSink::open(inner.join("secure")).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        sink.write(&[example()]).unwrap();
        assert!(sink.open_again().is_err());
    }

    #[test]
    fn full_disk_is_an_error() {
        let mut sink = FileSink::open("/dev/full").unwrap();
        let error = sink.write(&[example()]).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn line_that_an_earlier_process_left_unfinished_does_not_swallow_the_next() {
        let directory = Directory::new("torn");
        let path = directory.0.join("secure");
        fs::write(&path, "Jan  2 20:2").unwrap();
        let mut sink = FileSink::open(&path).unwrap();
        sink.write(&[example()]).unwrap();
        let wanted = [b"Jan  2 20:2\n".as_slice(), &example().line()].concat();
        assert_eq!(fs::read(&path).unwrap(), wanted);
    }

    #[test]
    fn fifo_without_reader_is_an_error_at_once() {
        let directory = Directory::new("fifo");
        let path = directory.0.join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(FileSink::open(&path).is_err());
    }
}
