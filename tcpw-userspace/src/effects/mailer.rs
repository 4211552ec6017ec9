//! The local mailer, and the rights it needs to accept a message without its set-uid or set-gid bit.
//!
//! In: /usr/sbin/sendmail in the file system. Out: which kind of mailer it is.
//! Invariant: only groups are named whose members can do nothing but submit mail.

use std::path::{Path, PathBuf};

use crate::host::{FileKind, HostFiles};

/// The program that mail(1) and similar programs start.
pub const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Postfix's program for submitting mail; its sendmail has no special rights.
const POSTDROP: &str = "/usr/sbin/postdrop";

/// Groups of Debian's set-gid mailers, and the directory that such a program writes to.
/// A group such as `mail` is not among them: its members may read the mail of other users.
const GROUPS: [(&str, &str); 2] =
    [("opensmtpq", "/var/spool/smtpd/offline"), ("postdrop", "/var/spool/postfix/maildrop")];

/// Directories that Debian's set-uid exim writes to when it accepts and delivers a message.
const OF_EXIM: [&str; 3] = ["/var/spool/exim4", "/var/log/exim4", "/var/mail"];

/// A kind of mailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailer {
    /// There is none.
    Missing,
    /// It needs no rights beyond its caller's.
    Plain,
    /// It is set-gid, and needs only its group.
    OfGroup {
        /// The program.
        program: PathBuf,
        /// Its group.
        group: String,
        /// The same as a number.
        gid: u32,
        /// Where it writes.
        spool: PathBuf,
    },
    /// It needs rights that commands have only with `allow-set-uid`.
    Privileged {
        /// The program.
        program: PathBuf,
        /// Where it writes, as far as that is known.
        spool: Vec<PathBuf>,
    },
}

impl Mailer {
    /// Looks at the file behind /usr/sbin/sendmail.
    pub fn find(facts: &dyn HostFiles) -> Self {
        let mut program = facts.real(Path::new(SENDMAIL));
        let mut status = facts.status(&program);
        if status.kind != FileKind::File {
            return Self::Missing;
        }
        let is_marked = |mode: u32| mode & 0o6000 != 0;
        if !is_marked(status.mode) {
            let postdrop = facts.status(Path::new(POSTDROP));
            if postdrop.kind != FileKind::File || !is_marked(postdrop.mode) {
                return Self::Plain;
            }
            (program, status) = (POSTDROP.into(), postdrop);
        }
        // A user with write access to the file could choose its group.
        let is_roots = status.owner == 0 && status.mode & 0o022 == 0;
        if is_roots
            && status.mode & 0o6000 == 0o2000
            && let Some(group) = facts.group(status.group)
            && let Some((_, spool)) = GROUPS.iter().find(|(known, _)| *known == group)
        {
            return Self::OfGroup { program, group, gid: status.group, spool: spool.into() };
        }
        let is_exim = program.file_name().is_some_and(|name| name == "exim4");
        let spool = if is_exim { OF_EXIM.map(PathBuf::from).to_vec() } else { Vec::new() };
        Self::Privileged { program, spool }
    }

    /// Where it writes.
    pub fn spool(&self) -> Vec<PathBuf> {
        match self {
            Self::Missing | Self::Plain => Vec::new(),
            Self::OfGroup { spool, .. } => vec![spool.clone()],
            Self::Privileged { spool, .. } => spool.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Account, FileStatus};

    /// A file system with these programs: path, mode, group.
    struct Programs(&'static [(&'static str, u32, u32)]);

    impl HostFiles for Programs {
        fn status(&self, path: &Path) -> FileStatus {
            let found = self.0.iter().find(|(known, ..)| Path::new(known) == path);
            found.map_or(FileStatus::MISSING, |(_, mode, group)| FileStatus {
                kind: FileKind::File,
                mode: *mode,
                owner: 0,
                group: *group,
                size: 0,
            })
        }

        fn entries(&self, _directory: &Path) -> Vec<PathBuf> {
            Vec::new()
        }

        fn real(&self, path: &Path) -> PathBuf {
            let is_link = self.status(path).kind == FileKind::Missing;
            self.0.first().filter(|_| is_link).map_or(path.into(), |(real, ..)| real.into())
        }

        fn account(&self, _name: &str) -> Option<Account> {
            None
        }

        fn group(&self, gid: u32) -> Option<String> {
            let name = match gid {
                0 => "root",
                8 => "mail",
                101 => "opensmtpq",
                102 => "postdrop",
                _ => return None,
            };
            Some(name.into())
        }
    }

    macro_rules! mailer {
        ($name:ident, $programs:expr, $kind:pat) => {
            #[test]
            fn $name() {
                let found = Mailer::find(&Programs(&$programs));
                assert!(matches!(&found, $kind), "{found:?}");
            }
        };
    }

    mailer!(nothing_is_missing, [], Mailer::Missing);
    mailer!(script_is_plain, [("/usr/sbin/sendmail", 0o755, 0)], Mailer::Plain);
    mailer!(
        opensmtpd_is_of_its_group,
        [("/usr/sbin/smtpctl", 0o2755, 101)],
        Mailer::OfGroup { gid: 101, .. }
    );
    mailer!(
        postfix_is_of_the_group_of_its_part,
        [("/usr/sbin/sendmail", 0o755, 0), ("/usr/sbin/postdrop", 0o2555, 102)],
        Mailer::OfGroup { gid: 102, .. }
    );
    mailer!(exim_is_privileged, [("/usr/sbin/exim4", 0o4755, 0)], Mailer::Privileged { .. });
    mailer!(group_mail_is_given_to_nobody, [("/usr/sbin/dma", 0o2755, 8)], Mailer::Privileged { .. });
    mailer!(
        group_of_a_program_others_may_write_is_not,
        [("/usr/sbin/smtpctl", 0o2775, 101)],
        Mailer::Privileged { .. }
    );
    mailer!(set_uid_too_is_privileged, [("/usr/sbin/smtpctl", 0o6755, 101)], Mailer::Privileged { .. });
}
