//! Names of services that no program of this machine has.
//!
//! In: what was said of the words of the tables in use, and the files of this machine. Out: the same, but a hint on a
//! name that cannot match here is a warning. Invariant: nothing is changed where inetd or xinetd may give the name.

use std::path::Path;

use super::{
    Scope,
    facts::{Facts, Kind},
};
use crate::parse::{code::Code, diagnostic::Diagnostic};

/// Where programs are.
const PROGRAMS: [&str; 7] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec"];

/// Where systemd's units are.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Files of the programs that start others, under names of their own.
const STARTERS: [&str; 2] = ["/etc/inetd.conf", "/etc/xinetd.conf"];

/// What the kernel serves: it is named in the settings.
const OF_THE_KERNEL: [&[u8]; 3] = [b"nfsd", b"lockd", b"rpc.lockd"];

/// Makes warnings of hints on names that no program here has.
pub(super) fn judge(facts: &dyn Facts, scope: Scope, diagnostics: &mut [Diagnostic]) {
    let is_there = |path: &Path| !matches!(facts.status(path).kind, Kind::Missing | Kind::Dangling);
    if !scope.in_use || STARTERS.iter().any(|path| is_there(Path::new(path))) {
        return;
    }
    for diagnostic in diagnostics.iter_mut().filter(|it| it.code == Code::H172.as_str()) {
        let start = (diagnostic.origin.column - 1).saturating_sub(diagnostic.cited_from) as usize;
        let end = start + diagnostic.origin.length as usize;
        let Some(word) = diagnostic.cited.get(start..end) else { continue };
        let name = word.split(|byte| *byte == b'@').next().unwrap_or_default().to_ascii_lowercase();
        let Ok(text) = std::str::from_utf8(&name) else { continue };
        if is_of_this_machine(facts, text) {
            continue;
        }
        (diagnostic.code, diagnostic.severity) = (Code::W101.as_str(), Code::W101.severity());
        diagnostic.message = format!("no program on this system is called \"{text}\"");
    }
}

/// Whether a program or a unit of this machine, or what its kernel serves, has a name.
pub(super) fn is_of_this_machine(facts: &dyn Facts, name: &str) -> bool {
    let is_there = |path: &Path| !matches!(facts.status(path).kind, Kind::Missing | Kind::Dangling);
    let is_program = PROGRAMS.iter().any(|place| is_there(&Path::new(place).join(name)));
    let is_unit = UNITS.iter().any(|place| {
        ["socket", "service"].iter().any(|kind| is_there(&Path::new(place).join(format!("{name}.{kind}"))))
    });
    is_program || is_unit || OF_THE_KERNEL.contains(&name.as_bytes())
}

/// Whether an ssh daemon is installed here.
pub(super) fn has_ssh(facts: &dyn Facts) -> bool {
    let programs =
        PROGRAMS.iter().flat_map(|place| ["sshd", "dropbear"].map(|name| Path::new(place).join(name)));
    programs.into_iter().any(|path| !matches!(facts.status(&path).kind, Kind::Missing | Kind::Dangling))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use super::*;
    use crate::{
        check::facts::{Given, Status},
        parse::{diagnostic::Finding, rule::Origin},
    };

    fn code(name: &str, missing: bool, in_use: bool) -> &'static str {
        let origin = Origin {
            path: Arc::new(PathBuf::from("t")),
            line: 1,
            column: 1,
            length: u32::try_from(name.len()).unwrap(),
        };
        let line = format!("{name}: ALL");
        let mut found = [Finding::new(Code::H172, "a service", "", "").at(origin, line.as_bytes())];
        let mut files: Vec<PathBuf> = STARTERS.iter().map(PathBuf::from).collect();
        files.extend(PROGRAMS.iter().map(|place| Path::new(place).join(name)));
        for unit in ["socket", "service"] {
            files.extend(UNITS.iter().map(|place| Path::new(place).join(format!("{name}.{unit}"))));
        }
        let absent = if missing { files } else { files[..2].to_vec() };
        let facts =
            Given(absent.into_iter().map(|path| (path, Status::MISSING)).collect(), Default::default());
        judge(&facts, Scope { both: true, in_use }, &mut found);
        found[0].code
    }

    #[test]
    fn a_name_that_no_program_has_is_a_warning() {
        assert_eq!(code("portmap", true, true), "W101");
        assert_eq!(code("portmap", false, true), "H172");
        assert_eq!(code("nfsd", true, true), "H172");
    }

    #[test]
    fn of_tables_for_another_machine_it_is_not_known() {
        assert_eq!(code("portmap", true, false), "H172");
    }
}
