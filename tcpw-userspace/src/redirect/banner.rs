//! A banner: the file in a directory that has the daemon's name.
//!
//! In: the directory and the daemon's name. Out: the text before % expansion.
//! Invariant: reads a plain file and no more than [`MAX_BANNER`] bytes of it: nothing waits.
//! Source: hosts_options(5); tcp_wrappers 7.6.q `options.c`, `banners_option`.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
};

use crate::{evaluate::request::Banner, host::reason};

/// Most bytes of a banner; a client gets no more.
pub const MAX_BANNER: usize = 64 << 10;

/// Reads the banner of a daemon.
pub fn read(directory: &Path, daemon: &[u8]) -> Banner {
    match text(directory, daemon) {
        Ok(Some(text)) => Banner::Text(text),
        Ok(None) => Banner::Missing,
        // As libwrap: it looks for the directory where it cannot open the file.
        Err(_) => match std::fs::metadata(directory) {
            Ok(_) => Banner::Missing,
            Err(error) => Banner::NoDirectory(reason(&error)),
        },
    }
}

fn text(directory: &Path, daemon: &[u8]) -> io::Result<Option<Vec<u8>>> {
    // A daemon name must not be a path.
    if daemon.contains(&b'/') || matches!(daemon, b"" | b"." | b"..") {
        return Ok(None);
    }
    let path = directory.join(OsStr::from_bytes(daemon));
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(MAX_BANNER as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MAX_BANNER {
        log::warn!("{}: longer than {MAX_BANNER} bytes: clients get the first of them", path.display());
        text.truncate(MAX_BANNER);
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banner_is_a_plain_file_of_the_directory_and_not_too_long() {
        let directory = std::env::temp_dir().join(format!("tcpw-banners-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("sshd"), "hello %a\n").unwrap();
        std::fs::write(directory.join("long"), vec![b'x'; 70_000]).unwrap();
        std::fs::create_dir(directory.join("dir")).unwrap();
        let found = ["sshd", "nginx", "dir", "../etc/passwd", "", ".."]
            .map(|daemon| read(&directory, daemon.as_bytes()));
        let long = read(&directory, b"long");
        let nowhere = read(&directory.join("gone"), b"sshd");
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found[0], Banner::Text(b"hello %a\n".to_vec()));
        assert!(found[1..].iter().all(|banner| *banner == Banner::Missing), "{found:?}");
        let Banner::Text(long) = long else { panic!("a text") };
        assert_eq!(long.len(), MAX_BANNER);
        assert_eq!(nowhere, Banner::NoDirectory("No such file or directory".into()));
    }
}
