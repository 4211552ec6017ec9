//! Known mistakes of the programs that write these tables.
//!
//! Source: fail2ban `config/action.d/hostsdeny.conf` (ChangeLog, 0.10.3); OSSEC `host-deny.sh`
//! before 2.9, Wazuh 4 `host-deny.c` and `block-ip-hostsdeny.c`; DenyHosts `deny_hosts.py`,
//! `denyfileutil.py`; SSHGuard `src/fw/hosts.c`.

use std::ops::Range;

use super::{Code, Finding, Placed, line, quote};
use crate::parse::{
    list::{is_separator, tokens},
    rule::TableKind,
};

/// Who wrote a line, as far as the lines before it tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::parse) enum Writer {
    /// Nothing is known.
    #[default]
    Anybody,
    /// DenyHosts: its comment stands above.
    DenyHosts,
    /// SSHGuard: the line stands between its two marks.
    SshGuard,
}

/// SSHGuard's mark, before and after its rules.
pub(in crate::parse) const SSHGUARD_MARK: &[u8] = b"###sshguard###\n";

/// What DenyHosts writes above each of its rules when it purges old ones.
const DENYHOSTS_MARK: &[u8] = b"# DenyHosts: ";

impl Writer {
    /// Who writes the line behind this comment.
    pub(in crate::parse) fn after(self, comment: &[u8]) -> Self {
        match self {
            Self::SshGuard if comment == SSHGUARD_MARK => Self::Anybody,
            Self::SshGuard => self,
            Self::Anybody | Self::DenyHosts if comment == SSHGUARD_MARK => Self::SshGuard,
            Self::Anybody | Self::DenyHosts if comment.starts_with(DENYHOSTS_MARK) => Self::DenyHosts,
            Self::Anybody | Self::DenyHosts => Self::Anybody,
        }
    }

    /// Who writes the line behind a rule.
    pub(in crate::parse) fn after_rule(self) -> Self {
        match self {
            Self::SshGuard => self,
            Self::Anybody | Self::DenyHosts => Self::Anybody,
        }
    }
}

/// The mark that opens a block of SSHGuard which nothing closes.
pub(in crate::parse) fn half_block() -> Finding {
    Finding::new(
        Code::W096,
        "sshguard's mark stands here without its partner",
        "\"###sshguard###\" before and after its rules",
        "when it starts, sshguard takes all that follows for its own rules and deletes them",
    )
    .replace("")
}

/// The code of an IPv6 address without brackets, and who wrote it.
pub(super) fn bare_ipv6(bytes: &[u8], address: &Range<usize>, writer: Writer) -> (Code, &'static str) {
    if writer == Writer::DenyHosts {
        return (Code::E092, ", written by DenyHosts");
    }
    let (before, behind) = (&bytes[..address.start], bytes[address.end..].trim_ascii_end());
    let daemon = before.strip_suffix(b": ").unwrap_or_default();
    match (before, behind) {
        (b"ALL:", b"") | (b"ALL : ", b" : deny") => {
            (Code::E091, ", as Wazuh since 4.2 and OSSEC before 2.9 write it")
        }
        (_, b"") if !daemon.is_empty() && daemon.iter().all(|byte| !is_separator(*byte) && *byte != b':') => {
            (Code::E090, ", as fail2ban before 0.10.3 writes it")
        }
        _ => (Code::E024, ""),
    }
}

/// A line that is only an address; `pattern`: as it stands in a rule.
pub(super) fn address_alone(text: &[u8], pattern: Option<&[u8]>, kind: TableKind) -> Finding {
    if kind == TableKind::Allow {
        let message =
            format!("{} without a daemon: no \":\" between daemon list and client list", quote(text));
        let consequence = "the line is skipped: the client is not allowed by it";
        return Finding::new(Code::E005, message, "\"daemons : clients\"", consequence);
    }
    let finding = Finding::new(
        Code::E093,
        format!("{} without a daemon, as DenyHosts writes it when BLOCK_SERVICE is empty", quote(text)),
        "\"daemons : clients\"; BLOCK_SERVICE = sshd",
        "the line is skipped: the client is not refused by it",
    );
    match pattern {
        Some(pattern) => finding.replace([b"sshd: ", pattern].concat()),
        None => finding,
    }
}

/// Findings on a rule that a program is known to write; `fields` are the two colons of its lists.
pub(in crate::parse) fn written(
    bytes: &[u8],
    [colon, end]: [usize; 2],
    writer: Writer,
    found: &mut Vec<Placed>,
) {
    let clients = &bytes[colon + 1..end];
    match writer {
        Writer::Anybody => {}
        Writer::DenyHosts => found.extend(denyhosts_word(clients, colon + 1)),
        Writer::SshGuard => {
            let empty = found.iter_mut().find(|(_, _, finding)| finding.code == Code::W020);
            if let Some((_, _, finding)) = empty.filter(|_| is_sshguard_empty(bytes)) {
                *finding = sshguard_empty();
            }
        }
    }
}

/// What DenyHosts takes from a forged log line for an attacker.
fn denyhosts_word(field: &[u8], start: usize) -> Option<Placed> {
    let is_wide = |word: &[u8]| {
        let words: [&[u8]; 5] = [b"ALL", b"KNOWN", b"UNKNOWN", b"LOCAL", b"*"];
        words.iter().any(|wide| wide.eq_ignore_ascii_case(word))
    };
    let (at, word) = tokens(field, start).find(|(_, word)| is_wide(word))?;
    let finding = Finding::new(
        Code::W094,
        format!("DenyHosts took {} for an attacker's address", quote(word)),
        "the address of one client",
        "a forged log line makes it refuse every client; newer versions take numeric addresses only",
    );
    Some((at, word.len(), finding.advise("delete the rule and the comment above it")))
}

/// The rule without clients that SSHGuard writes after each eighth one.
fn sshguard_empty() -> Finding {
    Finding::new(
        Code::H095,
        "a rule without clients, as sshguard writes it after each eighth address",
        "",
        "it never matches, and does no harm",
    )
}

fn is_sshguard_empty(bytes: &[u8]) -> bool {
    bytes == b"ALL :  : DENY\n"
}

/// A rule that a program wrote behind the last line of a file, which had no newline.
pub(super) fn glued_comment(bytes: &[u8]) -> Option<Placed> {
    let text = bytes.trim_ascii_end();
    let (colon, address) = rule_at_end(text)?;
    let names: [&[u8]; 2] = [b"ALL", b"sshd"];
    let name = names.into_iter().find(|name| text[..colon].ends_with(name))?;
    let at = colon - name.len();
    let before = *text.get(at.checked_sub(1)?)?;
    if at < 2 || before.is_ascii_whitespace() || matches!(before, b'#' | b'|') {
        return None;
    }
    let message = format!("a rule for {} is glued to a comment", quote(address));
    let finding = Finding::new(
        Code::W098,
        message,
        "a newline before it: fail2ban, Wazuh and DenyHosts append without looking for one",
        "it is no rule: the client is not refused by it",
    );
    Some((at, text.len() - at, finding.replace([b"\n", &text[at..]].concat())))
}

/// A line that ends in `: ADDRESS`: the colon and the address.
fn rule_at_end(text: &[u8]) -> Option<(usize, &[u8])> {
    let start = if text.ends_with(b"]") {
        text.iter().rposition(|byte| *byte == b'[')?
    } else {
        text.iter().rposition(|byte| byte.is_ascii_whitespace() || *byte == b':')? + 1
    };
    let before = text[..start].trim_ascii_end();
    let word = &text[start..];
    (before.ends_with(b":") && line::is_address(word)).then(|| (before.len() - 1, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glued_comment_is_told_from_a_rule_that_was_commented_out() {
        for text in ["# the endALL: 10.1.2.3\n", "# x.sshd: [2001:db8::1]\n", "#xALL:10.1.2.3\n"] {
            assert!(glued_comment(text.as_bytes()).is_some(), "{text}");
        }
        for text in
            ["#sshd: 10.1.2.3\n", "# sshd: 10.1.2.3\n", "# x | sshd: 10.1.2.3\n", "# ALL: 10.1.2.3 is bad\n"]
        {
            assert!(glued_comment(text.as_bytes()).is_none(), "{text}");
        }
    }
}
