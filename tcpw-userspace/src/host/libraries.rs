//! Which library a process has loaded.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The file of a library whose name begins so, if a process has it loaded; `None` also if it cannot be looked into.
/// Source: proc_pid_maps(5).
pub fn loaded_library(pid: u32, name: &str) -> Option<PathBuf> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    find(&maps, name)
}

fn find(maps: &[u8], name: &str) -> Option<PathBuf> {
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        let path = &line[line.iter().position(|byte| *byte == b'/')?..];
        let path = Path::new(OsStr::from_bytes(path));
        path.file_name()?.as_bytes().starts_with(name.as_bytes()).then(|| path.to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_found_by_the_name_of_its_file() {
        let maps = b"55d0-55d1 r--p 00000000 08:01 12 /usr/sbin/xinetd\n\
                     7f00-7f01 rw-p 00000000 00:00 0 \n\
                     7f10-7f12 r-xp 00000000 08:01 77 /usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6\n";
        let found = find(maps, "libwrap.so");
        assert_eq!(found, Some("/usr/lib/x86_64-linux-gnu/libwrap.so.0.7.6".into()));
        assert_eq!(find(maps, "libssl"), None);
    }
}
