//! Reads configuration files as the process that uses them sees them.
//!
//! In: a process and paths. Out: texts. Files are found below the process's own root,
//! so another mount namespace or a container is read rightly.
//! Invariant: bounded in size, number and depth, and never waits: the files are not trusted.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use super::{
    process::ProcessInfo,
    socket_unit::SocketUnit,
    sys,
    xinetd::{self, XinetdEntry},
};

/// Most bytes of one file: a long one has a few thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Most files of one configuration.
const MAX_FILES: usize = 1024;

/// Where the unit files of systemd are; an earlier directory hides the files of a later one.
pub(super) const UNIT_DIRECTORIES: [&str; 10] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// The files of one process.
pub(super) struct ConfigFiles {
    root: File,
    working_directory: Option<File>,
}

impl ConfigFiles {
    /// The files as `process` sees them.
    pub(super) fn of(proc_root: &Path, process: &ProcessInfo) -> io::Result<Self> {
        let directory = proc_root.join(process.pid.to_string());
        Ok(Self {
            root: File::open(directory.join("root"))?,
            working_directory: File::open(directory.join("cwd")).ok(),
        })
    }

    /// The files below a root directory.
    pub(super) fn below(root: &Path) -> io::Result<Self> {
        Ok(Self { root: File::open(root)?, working_directory: None })
    }

    /// What is known of a file; symbolic links are followed.
    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.open(path)?.metadata()
    }

    /// The text of a regular file; bytes that are not UTF-8 are replaced.
    pub(super) fn text(&self, path: &Path) -> io::Result<String> {
        let file = self.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All entries of xinetd's configuration, includes read where they stand.
    pub(super) fn xinetd(&self, path: &Path) -> Vec<XinetdEntry> {
        let mut entries = Vec::new();
        self.add_xinetd(path, &mut 0, &mut entries);
        entries
    }

    fn add_xinetd(&self, path: &Path, files: &mut usize, entries: &mut Vec<XinetdEntry>) {
        // Also ends a file that includes itself.
        *files += 1;
        if *files > MAX_FILES {
            return;
        }
        let text = match self.text(path) {
            Ok(text) => text,
            Err(error) => return log::warn!("{}: {error}: its services have no names", path.display()),
        };
        let (found, diagnostics) = xinetd::parse(&text);
        for diagnostic in diagnostics {
            log::warn!("{}:{}: {}", path.display(), diagnostic.line, diagnostic.message);
        }
        for entry in found {
            match entry {
                XinetdEntry::Include(path) => self.add_xinetd(&path, files, entries),
                XinetdEntry::IncludeDir(directory) => {
                    for path in self.included(&directory) {
                        self.add_xinetd(&path, files, entries);
                    }
                }
                XinetdEntry::Service(_) | XinetdEntry::Defaults(_) => entries.push(entry),
            }
        }
    }

    /// The files of an included directory, in xinetd's order.
    fn included(&self, directory: &Path) -> Vec<PathBuf> {
        match self.names(directory) {
            Ok(names) => names
                .iter()
                .filter(|name| xinetd::is_included(name.as_bytes()))
                .map(|name| directory.join(name))
                .collect(),
            Err(error) => {
                log::warn!("{}: {error}: its services have no names", directory.display());
                Vec::new()
            }
        }
    }

    /// The socket units below `directories`, of which an earlier one hides the files of a later one.
    pub(super) fn socket_units(&self, directories: &[&str]) -> Vec<SocketUnit> {
        let names: BTreeSet<OsString> = directories
            .iter()
            .flat_map(|directory| self.names(Path::new(directory)).unwrap_or_default())
            .collect();
        names.iter().filter_map(|name| self.socket_unit(directories, name.to_str()?)).collect()
    }

    fn socket_unit(&self, directories: &[&str], file: &str) -> Option<SocketUnit> {
        let texts = self.unit_texts(directories, file);
        let mut unit = SocketUnit::parse(file.strip_suffix(".socket")?, texts.iter().map(String::as_str));
        let service = self.unit_texts(directories, &unit.service());
        unit.add_service(service.iter().map(String::as_str));
        Some(unit)
    }

    /// The text of a unit and of its drop-ins, in systemd's order.
    pub(super) fn unit_texts(&self, directories: &[&str], file: &str) -> Vec<String> {
        let paths =
            |name: &str| directories.iter().map(|directory| Path::new(directory).join(name)).collect();
        let main: Vec<PathBuf> = paths(file);
        let mut texts: Vec<String> = main.iter().find_map(|path| self.text(path).ok()).into_iter().collect();
        let mut drop_ins = BTreeMap::new();
        let below: Vec<PathBuf> = paths(&format!("{file}.d"));
        for directory in below {
            for name in self.names(&directory).unwrap_or_default() {
                if name.as_bytes().ends_with(b".conf") {
                    let path = directory.join(&name);
                    drop_ins.entry(name).or_insert(path);
                }
            }
        }
        texts.extend(drop_ins.values().filter_map(|path| self.text(path).ok()));
        texts
    }

    /// The names in a directory, sorted.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let opened = self.open(directory)?;
        let listing = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
        let mut names: Vec<_> = listing.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match &self.working_directory {
            Some(directory) if path.is_relative() => sys::open_at(directory.as_fd(), path),
            Some(_) | None => sys::open_in_root(self.root.as_fd(), path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_unit_is_read_with_its_service_and_drop_ins() {
        let root = std::env::temp_dir().join(format!("tcpw-units-{}", std::process::id()));
        let (etc, lib) = (root.join("etc"), root.join("lib"));
        fs::create_dir_all(etc.join("ssh.socket.d")).unwrap();
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("ssh.socket"), "[Socket]\nListenStream=22\n").unwrap();
        fs::write(etc.join("ssh.socket.d/a.conf"), "[Socket]\nListenStream=\nListenStream=24\n").unwrap();
        fs::write(lib.join("ssh.service"), "[Service]\nExecStart=/usr/sbin/old\n").unwrap();
        fs::write(etc.join("ssh.service"), "[Service]\nExecStart=/usr/sbin/sshd -D\n").unwrap();
        let own = ProcessInfo { pid: std::process::id(), ..ProcessInfo::default() };
        let files = ConfigFiles::of(Path::new("/proc"), &own).unwrap();
        let units = files.socket_units(&[etc.to_str().unwrap(), lib.to_str().unwrap(), "/nowhere"]);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(units.len(), 1);
        assert_eq!(units[0].names(), ["ssh", "sshd"]);
        assert!(units[0].listens_at("[::]:24".parse().unwrap(), false));
        assert!(!units[0].listens_at("[::]:22".parse().unwrap(), false));
    }
}
