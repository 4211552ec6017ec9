//! Findings on the commands of spawn, twist and aclexec, and their % letters.

use super::{Code, Finding, quote, shown};

/// The letters that hosts_access(5) knows behind a `%`.
const LETTERS: &[u8] = b"aAcdhHnNprRsu%";

/// Findings on the % letters of a command or value: the first unknown one, and the first
/// whose text the client chooses.
pub(super) fn percent(text: &[u8]) -> Vec<Finding> {
    let letters: Vec<(usize, u8)> = letters(text).collect();
    let unknown = letters.iter().find(|(_, letter)| !LETTERS.contains(letter)).map(|(_, letter)| {
        let message = format!("there is no \"%{}\"", shown(&[*letter]));
        let expected = "%a %A %c %d %h %H %n %N %p %r %R %s %u, or %% for a percent sign";
        Finding::new(Code::W078, message, expected, "it becomes nothing, and libwrap warns each time")
    });
    let chosen = letters.iter().find(|(at, letter)| matches!(letter, b'u' | b'c') && begins_word(text, *at));
    let chosen = chosen.map(|(_, letter)| {
        let message = format!("the client chooses what \"%{}\" begins with", shown(&[*letter]));
        let consequence = "libwrap replaces characters of the shell, but leaves \"-\", \"/\" and \"..\": the text may \
                           be an option of the command, or another file";
        Finding::new(Code::H079, message, "", consequence)
    });
    unknown.into_iter().chain(chosen).collect()
}

/// Every `%` with its letter.
fn letters(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text.get(at..)?.iter().position(|byte| *byte == b'%')?;
        at = start + 2;
        text.get(start + 1).map(|letter| (start, *letter))
    })
}

/// Whether a word of the shell, or a part of a path, begins there.
///
/// Inside quotes blanks begin none.
fn begins_word(text: &[u8], at: usize) -> bool {
    let (mut quote, mut is_start) = (None, true);
    let mut bytes = text[..at].iter();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None | Some(b'"'), b'\\') => {
                bytes.next();
                is_start = false;
            }
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            (_, b'/') => is_start = true,
            (None, byte) => is_start = b" \t`(=;|&<>".contains(byte),
            (Some(b'"'), b'`' | b'(') => is_start = true,
            (Some(_), _) => is_start = false,
        }
    }
    is_start
}

/// A spawn whose command is waited for.
pub(super) fn spawn(raw: &[u8], text: &[u8]) -> Option<Finding> {
    let (command, comment) = without_comment(text.trim_ascii());
    if command.ends_with(b"&") {
        return None;
    }
    let finding = Finding::new(
        Code::H077,
        format!("{} is waited for", quote(raw)),
        "\"&\" at the end of the command",
        "libwrap decides only when the command has ended: a slow one holds up every client of this rule",
    );
    // Nothing can be put behind a comment of the shell.
    if comment {
        return Some(finding);
    }
    let is_simple = !command.iter().any(|byte| b";|&\n".contains(byte)) || command.ends_with(b")");
    Some(match raw_value(raw) {
        Some(start) if !is_simple => finding.replace([&raw[..start], b"(", &raw[start..], b") &"].concat()),
        _ => finding.replace([raw, b" &"].concat()),
    })
}

/// A command without the comment at its end, and whether it has one.
fn without_comment(command: &[u8]) -> (&[u8], bool) {
    let mut quote = None;
    for (at, byte) in command.iter().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'' | b'`') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'#') if at > 0 && command[at - 1].is_ascii_whitespace() => {
                return (command[..at].trim_ascii_end(), true);
            }
            _ => {}
        }
    }
    (command, false)
}

/// Where the value of an option begins.
fn raw_value(raw: &[u8]) -> Option<usize> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'=';
    let name = raw.iter().position(is_blank)?;
    Some(name + raw[name..].iter().position(|byte| !is_blank(byte))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_found_as_they_are_expanded() {
        let found: Vec<u8> = letters(b"%a %%u %x%").map(|(_, letter)| letter).collect();
        assert_eq!(found, b"a%x");
    }

    macro_rules! chosen {
        ($($name:ident: $text:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(percent($text).iter().any(|finding| finding.code == Code::H079), $want);
        })* };
    }

    chosen! {
        option: b"mail %u" => true;
        path: b"touch /var/log/%u" => true;
        within_a_word: b"finger @%u" => false;
        quoted_word: b"mail \"%u\"" => true;
        within_quotes: b"echo \"from %u\"" => false;
        within_single_quotes: b"echo 'user: %u'" => false;
        path_within_quotes: b"touch \"/var/log/%u\"" => true;
        behind_quotes: b"echo \"a\" %u" => true;
        glued_to_quotes: b"echo \"a\"%u" => false;
        address: b"touch /var/log/%a" => false;
    }
}
