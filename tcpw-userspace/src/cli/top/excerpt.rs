//! Lines of a file around one of them.
//!
//! In: a path, the numbers of lines. Out: their texts, and the hash of the file. Invariant: a file that is not regular is not
//! read, and of no line more than [`MOST_BYTES`] are kept.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader},
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Lines that are shown on each side.
const NEIGHBOURS: u32 = 3;

/// Longest text of a line.
const MOST_BYTES: usize = 1000;

/// The daemon tells the hash of texts up to this size.
const MOST_HASHED: u64 = 1 << 20;

/// Lines around one.
#[derive(Clone, Debug)]
pub(super) struct Excerpt {
    pub(super) path: PathBuf,
    pub(super) line: u32,
    /// With their numbers; or why there are none.
    pub(super) lines: Result<Vec<(u32, String)>, String>,
    /// SHA-256 of the file in hexadecimal; empty if it is too large to be compared.
    pub(super) sha256: String,
}

/// The line and its neighbours.
pub(super) fn read(path: &Path, line: u32) -> Excerpt {
    let around = line.saturating_sub(NEIGHBOURS).max(1)..=line.saturating_add(NEIGHBOURS);
    let mut excerpt = Excerpt { path: path.into(), line, lines: Ok(Vec::new()), sha256: String::new() };
    match lines(path, &[around]) {
        Ok((lines, sha256)) => (excerpt.lines, excerpt.sha256) = (Ok(lines), sha256),
        Err(error) => excerpt.lines = Err(crate::host::reason(&error)),
    }
    excerpt
}

/// Lines of a file, each with its number, and the file's hash.
///
/// # Errors
/// It cannot be read.
pub(super) fn lines(path: &Path, wanted: &[RangeInclusive<u32>]) -> io::Result<(Vec<(u32, String)>, String)> {
    let file = open(path)?;
    let is_hashed = file.metadata()?.len() <= MOST_HASHED;
    let last = wanted.iter().map(|range| *range.end()).max().unwrap_or(0);
    let mut hash = Sha256::new();
    let mut reader = BufReader::new(file);
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    let mut number = 0_u32;
    while is_hashed || number < last {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if is_hashed {
            hash.update(&bytes);
        }
        number = number.saturating_add(1);
        if wanted.iter().any(|range| range.contains(&number)) {
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let text = &text[..text.len().min(MOST_BYTES)];
            found.push((number, String::from_utf8_lossy(text).into_owned()));
        }
    }
    let sha256 = if is_hashed {
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        String::new()
    };
    Ok((found, sha256))
}

/// Opening a FIFO must not wait, and reading a device might never end.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_neighbours() {
        let path = std::env::temp_dir().join(format!("tcpw-top-excerpt-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\nthree\nfour\nfive\nsix").unwrap();
        let numbers = |line| {
            let lines = read(&path, line).lines.unwrap();
            (lines.first().cloned(), lines.last().cloned())
        };
        let at = |line: u32, text: &str| Some((line, text.to_owned()));
        assert_eq!(numbers(1), (at(1, "one"), at(4, "four")));
        assert_eq!(numbers(5), (at(2, "two"), at(6, "six")));
        assert_eq!(numbers(20), (None, None));
        // sha256sum of the text above.
        assert_eq!(read(&path, 1).sha256, "90bb5ad6301f2f92e85f701b9750a3a214522a460089a6a7472ee0b7f10ef9d3");
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, 1).lines.is_err());
        assert_eq!(read(Path::new("/dev/zero"), 1).lines.unwrap_err(), "not a regular file");
    }
}
