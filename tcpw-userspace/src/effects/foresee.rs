//! Commands that cannot work, as far as that shows before they run.
//!
//! In: the text of a command, and who would run it. Out: what would fail, in words. Reads the
//! file system, runs nothing.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, User, getgrouplist};

use super::{Settings, helper::LOGS};

/// Programs that hand a message to sendmail.
const MAILERS: [&str; 4] = ["mail", "mailx", "Mail", "nail"];

const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Where a program is looked for.
const PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// What of a command cannot work.
pub fn problems(text: &[u8], settings: &Settings) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let name = settings.user.clone().unwrap_or_else(super::default_user);
    let words = words(&text);
    let mut problems = BTreeSet::new();
    if !settings.allow_set_uid {
        problems.extend(words.iter().filter_map(|word| set_uid(&word.text)));
    }
    match User::from_name(&name) {
        Ok(Some(user)) => {
            let written = words.iter().filter(|word| word.is_written && word.text.starts_with('/'));
            let refused = written.filter(|word| !can_write(Path::new(&word.text), &user, settings));
            problems.extend(refused.map(|word| format!("user {name} cannot write to {}", word.text)));
        }
        Ok(None) | Err(_) => {
            problems.insert(format!("there is no user {name} to run it"));
        }
    }
    problems.into_iter().collect()
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

/// What is wrong with a program that needs another's rights.
fn set_uid(word: &str) -> Option<String> {
    const HINT: &str = "set-uid or set-gid: without \"allow-set-uid = true\" in [effects] it does not work";
    let name = word.rsplit('/').next()?;
    if MAILERS.contains(&name) {
        return is_set_uid(Path::new(SENDMAIL)).then(|| format!("{name} needs {SENDMAIL}, which is {HINT}"));
    }
    let program = if word.starts_with('/') {
        PathBuf::from(word)
    } else {
        PATH.iter().map(|directory| Path::new(directory).join(word)).find(|program| program.is_file())?
    };
    is_set_uid(&program).then(|| format!("{} is {HINT}", program.display()))
}

fn is_set_uid(program: &Path) -> bool {
    fs::metadata(program).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o6000 != 0)
}

/// Whether the user may write to a file, or make it.
fn can_write(path: &Path, user: &User, settings: &Settings) -> bool {
    let is_below = |directory: &Path| path.starts_with(directory);
    let may_change = settings.writable.iter().any(|directory| is_below(directory));
    match fs::metadata(path) {
        // A device: /dev/null and the like.
        Ok(meta) if !meta.is_file() => true,
        Ok(meta) => {
            let is_open =
                may_change || settings.files.iter().any(|file| file == path) || is_below(Path::new(LOGS));
            is_open && has_write_bit(&meta, user)
        }
        Err(_) if settings.files.iter().any(|file| file == path) => true,
        Err(_) => {
            let parent = path.parent().and_then(|parent| fs::metadata(parent).ok());
            may_change && parent.is_some_and(|meta| has_write_bit(&meta, user))
        }
    }
}

fn has_write_bit(meta: &fs::Metadata, user: &User) -> bool {
    let mode = meta.permissions().mode();
    if meta.uid() == user.uid.as_raw() {
        return mode & 0o200 != 0;
    }
    let name = std::ffi::CString::new(user.name.as_str()).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).unwrap_or_default();
    if groups.contains(&Gid::from_raw(meta.gid())) { mode & 0o020 != 0 } else { mode & 0o002 != 0 }
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
