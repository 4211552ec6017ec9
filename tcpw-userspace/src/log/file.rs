//! Lines to a file.
//!
//! Invariant: a write is of whole lines, at the end of the file whatever others write; after
//! logrotate moved the file away the next lines go to the new one. Only a file of root is written to, never
//! one that a symbolic link leads to.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use nix::fcntl::OFlag;

use super::{
    LogEntry, LogSink, Lost,
    chunks::{Chunks, write_all},
};
use crate::host::append_to_own_file;

/// A file that lines are appended to.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`.
    identity: (u64, u64),
    /// A line was written in part: the next one begins on a new line.
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
        let (file, identity) = open(&path)?;
        Ok(Self { path, file, identity, is_torn: false, chunks: Chunks::default() })
    }

    fn follow_rotation(&mut self) {
        let is_same =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if !is_same {
            // If it fails, the old file takes the lines: none is lost.
            let _ = self.reopen();
        }
    }
}

impl LogSink for FileSink {
    fn write(&mut self, entries: &[LogEntry]) -> Result<(), Lost> {
        self.follow_rotation();
        let Self { file, is_torn, chunks, .. } = self;
        chunks.each(entries, |lines| {
            if *is_torn {
                write_all(b"\n", |bytes| file.write(bytes)).map_err(|(_, error)| (0, error))?;
                *is_torn = false;
            }
            write_all(lines, |bytes| file.write(bytes)).inspect_err(|(taken, _)| {
                *is_torn = lines[..*taken].last().is_some_and(|last| *last != b'\n');
            })
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.identity) = open(&self.path)?;
        self.is_torn = false;
        Ok(())
    }
}

fn open(path: &std::path::Path) -> io::Result<(File, (u64, u64))> {
    // A FIFO without a reader is an error then, not a wait.
    let file = append_to_own_file(path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
    let found = file.metadata()?;
    Ok((file, (found.dev(), found.ino())))
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
        assert!(sink.reopen().is_err());
    }

    #[test]
    fn full_disk_is_an_error() {
        let mut sink = FileSink::open("/dev/full").unwrap();
        let error = sink.write(&[example()]).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn torn_line_does_not_swallow_the_next() {
        let directory = Directory::new("torn");
        let path = directory.0.join("secure");
        fs::write(&path, "Jan  2 20:2").unwrap();
        let mut sink = FileSink::open(&path).unwrap();
        sink.is_torn = true;
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
