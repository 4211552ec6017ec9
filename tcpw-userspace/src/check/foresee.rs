//! Commands that cannot work, as far as that shows before they run.
//!
//! In: the text of a command, and how it would be run. Out: what would fail, and what to do about
//! it. Runs nothing.

use std::{collections::BTreeSet, fmt, path::Path};

use super::facts::{Account, Facts, Kind, Status};
use crate::effects::{LOGS, Mailer, SENDMAIL, Settings, default_user};

/// Programs that hand a message to sendmail.
const MAILERS: [&str; 4] = ["mail", "mailx", "Mail", "nail"];

/// Where a program is looked for.
const PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// Something that will fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.fix)
    }
}

/// What of a command cannot work; nothing where it is not known how it would be run.
pub fn problems(text: &[u8], facts: &dyn Facts) -> Vec<Problem> {
    let Some(settings) = facts.effects() else { return Vec::new() };
    let text = String::from_utf8_lossy(text);
    let name = settings.user.clone().unwrap_or_else(default_user);
    let words = words(&text);
    let mut problems = BTreeSet::new();
    problems.extend(words.iter().filter_map(|word| of_program(&word.text, settings, facts)));
    match facts.account(&name) {
        Some(account) => {
            let written = words.iter().filter(|word| word.is_written && word.text.starts_with('/'));
            problems.extend(written.filter_map(|word| {
                let why = of_file(Path::new(&word.text), &account, settings, facts)?;
                Some(Problem {
                    what: format!("commands run as user {name}, which cannot write to {}", word.text),
                    fix: why.into(),
                })
            }));
        }
        None => {
            let fix = format!("useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {name}");
            problems
                .insert(Problem { what: format!("commands run as user {name}, which does not exist"), fix });
        }
    }
    problems.into_iter().collect()
}

/// What is wrong with the program of a command: it is not there, or cannot be run.
///
/// A name without a path is looked for only if the command would be run on this machine.
pub(super) fn program_of(text: &[u8], facts: &dyn Facts, runs_here: bool) -> Option<Problem> {
    const BUILT_IN: [&str; 33] = [
        "echo", "test", "[", "exit", "true", "false", "if", "for", "while", "until", "case", "cd", "set",
        ":", ".", "eval", "exec", "printf", "read", "kill", "{", "!", "umask", "export", "trap", "wait",
        "command", "type", "ulimit", "unset", "return", "shift", "times",
    ];
    let text = String::from_utf8_lossy(text);
    let first =
        text.trim_start_matches(|it: char| it.is_whitespace() || it == '(').split_whitespace().next()?;
    let first = first.trim_end_matches([')', ';', '&']);
    if first.is_empty() || first.contains(['%', '$', '*', '?', '=', '"', '\'', '`', '<', '>', '|']) {
        return None;
    }
    let name = facts.effects().and_then(|settings| settings.user.clone()).unwrap_or_else(default_user);
    let found = if first.starts_with('/') {
        facts.status(Path::new(first))
    } else if !runs_here || first.contains('/') || BUILT_IN.contains(&first) {
        return None;
    } else {
        let places = PATH.iter().chain(&["/bin", "/sbin"]).map(|directory| Path::new(directory).join(first));
        let mut found = places.map(|place| facts.status(&place)).filter(|it| it.kind == Kind::File);
        found.next().unwrap_or(Status::MISSING)
    };
    let is_runnable = |account: Option<Account>| {
        let bits = account.map_or(0o111, |account| execute_bit(found, &account));
        found.mode & bits != 0
    };
    match found.kind {
        Kind::Missing | Kind::Dangling => Some(Problem {
            what: format!("the program {first} does not exist on this machine"),
            fix: "install it, or write its path as it is here".into(),
        }),
        Kind::Directory => Some(Problem {
            what: format!("{first} is a directory, not a program"),
            fix: "write the path of the program".into(),
        }),
        Kind::File if !is_runnable(if runs_here { facts.account(&name) } else { None }) => Some(Problem {
            what: format!("commands run as user {name}, which cannot run {first}"),
            fix: format!("chmod o+x {first}"),
        }),
        Kind::File | Kind::Other => None,
    }
}

/// The permission bit that counts for a user that runs a file.
fn execute_bit(status: Status, user: &Account) -> u32 {
    if status.owner == user.uid {
        0o100
    } else if user.groups.contains(&status.group) {
        0o010
    } else {
        0o001
    }
}

struct Word {
    text: String,
    /// It stands behind `>`, or is an argument of tee.
    is_written: bool,
}

/// The words of a shell command, as far as they are plain; those with an expansion are left out.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let (mut is_tee, mut behind_arrow) = (false, false);
    let spaced: String = text
        .chars()
        .flat_map(|character| match character {
            '>' | '|' | ';' | '&' | '(' | ')' | '`' => [' ', character, ' '],
            '"' | '\'' => [' ', ' ', ' '],
            other => ['\0', other, '\0'],
        })
        .filter(|character| *character != '\0')
        .collect();
    for token in spaced.split_whitespace() {
        match token {
            ">" => behind_arrow = true,
            "|" | ";" | "&" | "(" | ")" | "`" => (is_tee, behind_arrow) = (false, false),
            _ => {
                let is_written = behind_arrow || is_tee;
                is_tee |= token.rsplit('/').next() == Some("tee");
                behind_arrow = false;
                if !token.contains(['%', '$', '*', '?']) {
                    words.push(Word { text: token.to_owned(), is_written });
                }
            }
        }
    }
    words
}

/// What is wrong with a program: it is a mailer that is not there, or needs another's rights.
fn of_program(word: &str, settings: &Settings, facts: &dyn Facts) -> Option<Problem> {
    let name = word.rsplit('/').next()?;
    if MAILERS.contains(&name) || word == SENDMAIL {
        return of_mailer(name, settings, facts);
    }
    if settings.allow_set_uid {
        return None;
    }
    let is_marked = |path: &Path| {
        let status = facts.status(path);
        status.kind == Kind::File && status.mode & 0o6000 != 0
    };
    let places = PATH.map(|directory| Path::new(directory).join(word));
    let program = match word.starts_with('/') {
        true => Some(Path::new(word)),
        false => places.iter().map(|place| place.as_path()).find(|place| is_marked(place)),
    };
    program.filter(|program| is_marked(program)).map(|program| Problem {
        what: format!("{} is set-uid or set-gid, and works as its caller here", program.display()),
        fix: "if it needs more than that, set \"allow-set-uid = true\" under [effects] in /etc/tcpw.toml"
            .into(),
    })
}

fn of_mailer(name: &str, settings: &Settings, facts: &dyn Facts) -> Option<Problem> {
    let (what, fix) = match Mailer::find(facts) {
        Mailer::Missing => (
            format!("{name} needs {SENDMAIL}, and there is none"),
            "install a mailer: postfix and opensmtpd work with the default settings",
        ),
        Mailer::Privileged { .. } | Mailer::OfGroup { .. } if settings.allow_set_uid => return None,
        Mailer::Privileged { program, .. } => (
            format!("{name} needs {}, which no process without rights can use", program.display()),
            "set \"allow-set-uid = true\" under [effects] in /etc/tcpw.toml, or install a mailer that needs no more than a group: \
             postfix, opensmtpd",
        ),
        Mailer::OfGroup { program, group, .. } if !settings.mailer_group => (
            format!("{name} needs {}, which works for group {group} alone", program.display()),
            "set \"mailer-group = true\" under [effects] in /etc/tcpw.toml",
        ),
        Mailer::OfGroup { .. } | Mailer::Plain => return None,
    };
    Some(Problem { what, fix: fix.into() })
}

/// What to do so that the user may write to a file, or make it; `None` if it may.
fn of_file(path: &Path, user: &Account, settings: &Settings, facts: &dyn Facts) -> Option<&'static str> {
    const OPEN: &str =
        "add it to \"files\" under [effects] in /etc/tcpw.toml, or its directory to \"writable\" there";
    const RIGHTS: &str = "give it to that user with chown";
    let is_below = |directory: &Path| path.starts_with(directory);
    let may_change = settings.writable.iter().any(|directory| is_below(directory));
    let is_given = settings.files.iter().any(|file| file == path);
    let status = facts.status(path);
    match status.kind {
        // Made for the user, or given to it.
        Kind::Missing if is_given => None,
        Kind::File if is_given && status.owner == 0 => None,
        // A device: /dev/null and the like.
        Kind::Other => None,
        Kind::File if !(may_change || is_given || is_below(Path::new(LOGS))) => Some(OPEN),
        Kind::File if has_write_bit(status, user) => None,
        Kind::File if !may_change && status.owner == 0 => Some(OPEN),
        Kind::File => Some(RIGHTS),
        Kind::Missing | Kind::Dangling => {
            let parent = path.parent().map_or(Status::MISSING, |parent| facts.status(parent));
            let can = may_change && parent.kind == Kind::Directory && has_write_bit(parent, user);
            (!can).then_some(OPEN)
        }
        Kind::Directory => Some("write to a file"),
    }
}

fn has_write_bit(status: Status, user: &Account) -> bool {
    let bit = if status.owner == user.uid {
        0o200
    } else if user.groups.contains(&status.group) {
        0o020
    } else {
        0o002
    };
    status.mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_are_found() {
        let text = "(echo \"Attempt from %h at `date`\" | tee -a /var/log/a.log /b | mail root@localhost) >>/c 2>/dev/null; cat /d";
        let found: Vec<String> = words(text)
            .into_iter()
            .filter(|word| word.is_written && word.text.starts_with('/'))
            .map(|word| word.text)
            .collect();
        assert_eq!(found, ["/var/log/a.log", "/b", "/c", "/dev/null"]);
    }

    #[test]
    fn programs_are_found_and_expansions_are_not() {
        let found: Vec<String> =
            words("safe_finger -l @%h | mail -s '%d-%h' root &").into_iter().map(|word| word.text).collect();
        assert_eq!(found, ["safe_finger", "-l", "mail", "-s", "root"]);
    }
}
