//! IPv6 addresses without brackets: their colons are taken for separators.
//!
//! What stands beside an address is seen for what it is: the daemon's colon, an option's, a zone, a prefix
//! length, a wildcard.

use std::{net::Ipv6Addr, ops::Range};

use super::{Cut, Mistake, option_name};
use crate::parse::{
    advice::{Code, Finding, follows::infinitive, quote, shown, tool},
    list::{is_except, is_separator, tokens},
    number,
    rule::TableKind,
};

/// The line with every such address in brackets.
pub(super) fn ipv6(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    let mut mended = Mended::default();
    let mut at = 0;
    for word in words(text, commands_start(text)) {
        // "[ 2001:db8::1 ]" has its brackets.
        if text[..word.start].trim_ascii_end().ends_with(b"[") {
            continue;
        }
        let Some(found) = bare(&text[word.clone()], mended.has_colon(&text[at..word.start])) else {
            continue;
        };
        mended.text.extend_from_slice(&text[at..word.start]);
        at = word.end;
        mended.add(&text[word.clone()], word.start, found);
    }
    let Some((first, length)) = mended.first else { return malformed(cut) };
    mended.text.extend_from_slice(&text[at..]);
    let address = &text[first..first + length];
    if mended.count == 1 && address == text.trim_ascii() {
        let fixed = mended.fixed.then_some(mended.text.as_slice());
        return Some(cut.whole(tool::address_alone(address, fixed, cut.kind)));
    }
    let (code, by) = match cut.kind {
        TableKind::Deny if mended.count == 1 && mended.note.is_empty() && is_plain(address) => {
            tool::bare_ipv6(cut.bytes, &(first..first + length), cut.writer)
        }
        TableKind::Deny | TableKind::Allow => (Code::E024, ""),
    };
    let more = match mended.count {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let note = mended.note;
    let message = format!("IPv6 address without brackets: {}{more}{by}{note}", quote(address));
    let consequence = consequence(cut, first, &address_or_all(address, mended.count));
    let finding =
        Finding::new(code, message, "brackets: its colons separate the fields of a rule", consequence);
    let finding = if mended.fixed { finding.replace(mended.text) } else { finding };
    Some(cut.whole(finding))
}

/// The address in words, or all of several.
fn address_or_all(address: &[u8], count: usize) -> String {
    if count == 1 { shown(address) } else { "these addresses".to_owned() }
}

/// What follows for clients. libwrap ends the client list at the first colon of the address, which begins at an
/// offset: nothing is left of the address there, and behind the next colon stands an option that does not exist.
fn consequence(cut: &Cut<'_>, first: usize, address: &str) -> String {
    let start = cut.colons[0] + 1;
    let has_others =
        tokens(cut.clients(), start).any(|(at, word)| at + word.len() <= first && !is_except(word));
    let is_wrong = cut.fields.iter().any(|field| field.option.is_err());
    let meant = cut.meant();
    let is_server = first < cut.colons[0] && cut.bytes[..first].ends_with(b"@");
    let address = if is_server { "its clients" } else { address };
    let missed = format!("this rule does not {} {address}", infinitive(meant));
    match meant {
        TableKind::Allow if has_others && is_wrong => {
            format!("{missed}, and refuses its other clients instead of allowing them")
        }
        TableKind::Allow | TableKind::Deny => missed,
    }
}

/// Whether there is nothing but an address or network: no quotes or other marks.
fn is_plain(address: &[u8]) -> bool {
    address.iter().all(|byte| byte.is_ascii_hexdigit() || b":./".contains(byte))
}

/// The line as it was meant, as far as it has been read.
#[derive(Default)]
struct Mended {
    text: Vec<u8>,
    /// Address and length of the first bare address.
    first: Option<(usize, usize)>,
    count: usize,
    /// It is known what was meant by every one.
    fixed: bool,
    note: &'static str,
}

impl Mended {
    /// Whether a colon has separated the daemons from the clients by now.
    fn has_colon(&self, behind: &[u8]) -> bool {
        let mut depth = 0i32;
        self.text.iter().chain(behind).any(|byte| {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            *byte == b':' && depth == 0
        })
    }

    fn add(&mut self, word: &[u8], start: usize, bare: Bare) {
        let Bare { address, fixed, note } = bare;
        self.fixed = (self.count == 0 || self.fixed) && fixed.is_some();
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((start + address.start, address.len()));
        }
        if !note.is_empty() {
            self.note = note;
        }
        let head = word[..address.start]
            .strip_suffix(b":")
            .map_or((&word[..address.start], false), |head| (head, true));
        let tail = &word[address.end..];
        let is_glued = !head.1 && !head.0.is_empty() && !head.0.ends_with(b"@");
        let needs_colon = head.1
            || is_glued
            || (head.0.is_empty() && !self.has_colon(b"") && !self.text.trim_ascii().is_empty());
        if needs_colon {
            self.text.extend_from_slice(head.0);
            let end = self.text.trim_ascii_end().len();
            self.text.truncate(end);
            self.text.extend_from_slice(b": ");
        } else {
            self.text.extend_from_slice(head.0);
        }
        match fixed {
            Some(fixed) => self.text.extend_from_slice(fixed.as_bytes()),
            None => self.text.extend_from_slice(&word[address]),
        }
        if let Some(behind) = tail.strip_prefix(b":") {
            self.text.extend_from_slice(if behind.is_empty() { b":" } else { b": " });
            self.text.extend_from_slice(behind);
        } else {
            self.text.extend_from_slice(tail);
        }
    }
}

/// An address in a word.
struct Bare {
    /// Where, with what belongs to it: zone, prefix length, wildcard.
    address: Range<usize>,
    /// The pattern that was meant, if that is known.
    fixed: Option<String>,
    /// What else there is to say of it.
    note: &'static str,
}

/// The words of a line, up to an offset.
fn words(text: &[u8], end: usize) -> impl Iterator<Item = Range<usize>> {
    let text = &text[..end];
    let mut at = 0;
    std::iter::from_fn(move || {
        // A semicolon is taken for a comma: that it is none is said of the pattern.
        let is_end = |byte: &u8| is_separator(*byte) || *byte == b';';
        let start = at + text[at..].iter().position(|byte| !is_end(byte))?;
        at = start + text[start..].iter().position(is_end).unwrap_or(text.len() - start);
        Some(start..at)
    })
}

/// Where the first option with a text of its own begins.
fn commands_start(text: &[u8]) -> usize {
    let (mut at, mut colons) = (0, 0);
    while let Some(colon) = text[at..].iter().position(|byte| *byte == b':') {
        at += colon + 1;
        colons += 1;
        let field = text[at..].trim_ascii_start();
        let name = option_name(field);
        if super::takes_text(&name)
            || matches!(name.as_slice(), b"severity" | b"banners")
            || colons > 1 && field.starts_with(b"(")
        {
            return at;
        }
    }
    text.len()
}

/// The bare address of a word; `behind_colon`: the daemons are over.
fn bare(word: &[u8], behind_colon: bool) -> Option<Bare> {
    if let Some(found) = range(word).or_else(|| enclosed(word)).or_else(|| dotted_mask(word)) {
        return Some(found);
    }
    if word.iter().any(|byte| matches!(byte, b'[' | b']')) {
        return None;
    }
    let found = parts(word).filter_map(|start| at(word, start));
    let mut found: Vec<Bare> = found.collect();
    // "sshd::1": the daemon's colon is one of the address'.
    if found.is_empty() && !behind_colon {
        let double = word.windows(2).position(|pair| pair == b"::")?;
        let is_name =
            word[..double].iter().any(|byte| byte.is_ascii_alphabetic() && !byte.is_ascii_hexdigit());
        found.extend(is_name.then(|| at(word, double)).flatten());
    }
    let whole = found.iter().position(|it| it.address.start == 0);
    let part = found.iter().position(|it| it.address.start > 0);
    let index = match (whole, part) {
        (Some(whole), Some(part)) if !behind_colon && !is_usual(&word[found[whole].address.clone()]) => {
            let _ = whole;
            part
        }
        (Some(whole), _) => whole,
        (None, Some(part)) => part,
        (None, None) => return None,
    };
    Some(found.swap_remove(index))
}

/// Where an address may begin in a word.
fn parts(word: &[u8]) -> impl Iterator<Item = usize> {
    (0..word.len()).filter(|at| *at == 0 || matches!(word[at - 1], b':' | b'@'))
}

/// `2001:db8::1-2001:db8::9`: a range, for which there is no pattern.
fn range(word: &[u8]) -> Option<Bare> {
    let dash = word.iter().position(|byte| *byte == b'-')?;
    let is_address = |text: &[u8]| text.contains(&b':') && number::ipv6(text).is_some();
    let start = parts(&word[..dash]).find(|start| is_address(&word[*start..dash]))?;
    let last = dash + 1;
    let end = (last..=word.len()).rev().find(|end| is_address(&word[last..*end]))?;
    let note = "; there are no ranges: write a network, [address]/length";
    Some(Bare { address: start..end, fixed: None, note })
}

/// `(2001:db8::1)`, `<2001:db8::1>`, `"2001:db8::1"`, `2001:db8::1]`: other marks than a pair of brackets.
fn enclosed(word: &[u8]) -> Option<Bare> {
    const MARKS: [(Option<u8>, u8); 7] = [
        (Some(b'('), b')'),
        (Some(b'<'), b'>'),
        (Some(b'{'), b'}'),
        (Some(b'"'), b'"'),
        (Some(b'\''), b'\''),
        (Some(b'`'), b'`'),
        (None, b']'),
    ];
    if word.contains(&b'[') {
        return None;
    }
    MARKS.iter().find_map(|(open, close)| {
        let last = word.iter().rposition(|byte| byte == close)?;
        let start = match open {
            Some(open) => word[..last].iter().position(|byte| byte == open)? + 1,
            None => parts(&word[..last]).find(|at| at_end(&word[*at..last]).is_some())?,
        };
        let (address, _) = at_end(word.get(start..last)?)?;
        let begin = if open.is_some() { start - 1 } else { start };
        let note = if open.is_some() { "" } else { "; its \"[\" is missing" };
        Some(Bare { address: begin..last + 1, fixed: plain(address), note })
    })
}

/// A text that is an address and nothing else.
fn at_end(text: &[u8]) -> Option<(Ipv6Addr, Option<&[u8]>)> {
    number::ipv6(text).filter(|_| text.contains(&b':'))
}

/// `[2001:db8::]/ffff:ffff::`: a mask in the place of a length.
fn dotted_mask(word: &[u8]) -> Option<Bare> {
    let start = word.iter().position(|byte| *byte == b'[')?;
    let close = word.iter().position(|byte| *byte == b']')?;
    let (address, _) = at_end(word.get(start + 1..close)?)?;
    let mask = word[close..].strip_prefix(b"]/")?;
    let end = (0..=mask.len()).rev().find(|end| at_end(&mask[..*end]).is_some())?;
    let (mask, _) = at_end(&mask[..end])?;
    let ones = mask.to_bits().leading_ones();
    let fixed = (mask.to_bits().count_ones() == ones)
        .then(|| network(address, ones.to_string().as_bytes()))
        .flatten();
    let note = "; its mask is written as a length";
    Some(Bare { address: start..close + 2 + end, fixed, note })
}

/// What looks like an IPv6 address and is none: `2001:db8:0:1`, `00:16:3e:00:00:01`.
fn malformed(cut: &Cut<'_>) -> Option<Mistake> {
    let text = cut.text();
    let field = cut.fields.iter().find(|field| field.option.is_err())?;
    let end = commands_start(text);
    let word = words(text, end).find(|word| {
        let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'?' | b'*' | b'.');
        let text = &text[word.clone()];
        let colons = text.iter().filter(|byte| **byte == b':').count();
        let groups = text.split(|byte| *byte == b':').filter(|group| !group.is_empty()).count();
        word.start > cut.colons[0]
            && word.contains(&cut.colons[1])
            && word.end >= field.span.start
            && text.iter().all(is_part)
            && (colons >= 3 || colons == 2 && text.windows(2).any(|pair| pair == b"::") || groups > 2)
    })?;
    let start = word.start;
    let address = &text[word];
    let is_hardware =
        address.len() == 17 && address.split(|byte| *byte == b':').all(|group| group.len() == 2);
    let message = if is_hardware {
        format!("{} is a hardware address: clients are known by their network address alone", quote(address))
    } else {
        format!("{} is no IPv6 address, and has no brackets", quote(address))
    };
    let follows = consequence(cut, start, &shown(address));
    Some(cut.whole(Finding::new(Code::E024, message, "[address] or [network]/length", follows)))
}

/// Whether an address begins as those do that hosts have, so that its first group is no port or daemon.
fn is_usual(address: &[u8]) -> bool {
    let first = address.split(|byte| *byte == b':').next().unwrap_or_default();
    let group = std::str::from_utf8(first).ok().and_then(|first| u16::from_str_radix(first, 16).ok());
    first.is_empty()
        || group.is_some_and(|group| {
            matches!(group, 0x2001..=0x2003 | 0x2400..=0x2fff | 0x3ffe..=0x3fff | 0xfc00..=0xffff | 0x64)
                && first.len() >= 2
        })
}

/// The address that begins there, if nothing else does.
fn at(word: &[u8], start: usize) -> Option<Bare> {
    let rest = &word[start..];
    let inside = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'*');
    let run = rest.iter().position(|byte| !inside(byte)).unwrap_or(rest.len());
    // Never within a word such as ":deny", whose first letters are digits, too.
    let ends = (2..=run).rev().filter(|end| *end == rest.len() || matches!(rest[*end], b':' | b'/' | b'%'));
    for end in ends {
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        if text.contains('*') {
            if let Some(network) = wildcard(text) {
                return Some(Bare {
                    address: start..start + end,
                    fixed: network,
                    note: "; \"*\" means nothing in an IPv6 address",
                });
            }
            continue;
        }
        let Ok(address) = text.parse::<Ipv6Addr>() else { continue };
        return with_ending(address, rest, start, end);
    }
    None
}

/// An address with its zone or prefix length.
fn with_ending(address: Ipv6Addr, rest: &[u8], start: usize, end: usize) -> Option<Bare> {
    let until =
        |at: usize| rest[at..].iter().position(|byte| *byte == b':').map_or(rest.len(), |length| at + length);
    match rest.get(end) {
        Some(b'%') => {
            let last = until(end);
            let zone = &rest[end + 1..last];
            let slash = zone.iter().position(|byte| *byte == b'/');
            let length = slash.map(|at| &zone[at + 1..]);
            let fixed = match length {
                None => plain(address),
                Some(length) => network(address, length),
            };
            let note = "; libwrap knows no zone: without it the address matches on every interface";
            Some(Bare { address: start..start + last, fixed, note })
        }
        Some(b'/') => {
            let last = until(end);
            Some(Bare {
                address: start..start + last,
                fixed: network(address, &rest[end + 1..last]),
                note: "",
            })
        }
        Some(_) | None => Some(Bare { address: start..start + end, fixed: plain(address), note: "" }),
    }
}

/// A single address as a pattern.
fn plain(address: Ipv6Addr) -> Option<String> {
    Some(match address.to_ipv4_mapped() {
        Some(v4) => v4.to_string(),
        None => format!("[{address}]"),
    })
}

/// A network as a pattern.
fn network(address: Ipv6Addr, length: &[u8]) -> Option<String> {
    let bits: u8 = std::str::from_utf8(length).ok()?.parse().ok().filter(|bits| *bits <= 128)?;
    let net =
        Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0));
    match net.to_ipv4_mapped().filter(|_| bits > 96) {
        Some(v4) if bits == 128 => Some(v4.to_string()),
        Some(v4) => Some(format!("{v4}/{}", bits - 96)),
        None => Some(format!("[{net}]/{bits}")),
    }
}

/// `2001:db8::*`, `2001:db8:1:*`: the network, if its groups tell which. `None`: no address at all.
fn wildcard(text: &str) -> Option<Option<String>> {
    let head = text.trim_end_matches(['*', ':']);
    let tail = &text[head.len()..];
    let groups: Vec<&str> = head.split(':').collect();
    let is_group =
        |group: &&str| (1..=4).contains(&group.len()) && group.bytes().all(|it| it.is_ascii_hexdigit());
    if !tail.starts_with(':') || !text.contains(':') || head.is_empty() {
        return None;
    }
    let parts = head.split("::").count();
    if parts > 1 || head.contains('*') {
        let is_address = head.split(':').all(|group| group.is_empty() || group == "*" || is_group(&group));
        return is_address.then_some(None);
    }
    if !groups.iter().all(is_group) || groups.len() > 7 {
        return None;
    }
    let stars = tail.matches('*').count();
    // Each star may be one group: then they are all there.
    let known = stars == 1 || groups.len() + stars == 8;
    let net = format!("{head}::").parse::<Ipv6Addr>().ok();
    Some(net.filter(|_| known).map(|net| format!("[{net}]/{}", 16 * groups.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::advice::{Writer, mistake};

    fn mended(text: &str) -> Option<String> {
        let line = format!("{text}\n");
        let (colons, fields) = mistake::cut(line.as_bytes());
        let writer = Writer::Anybody;
        let kind = TableKind::Deny;
        let found = ipv6(&Cut { bytes: line.as_bytes(), colons, fields: &fields, kind, writer })?;
        match found.place.2.fix {
            Some(crate::parse::diagnostic::Fix::Replace(text)) => Some(text),
            Some(crate::parse::diagnostic::Fix::Advice(_)) | None => Some("?".into()),
        }
    }

    macro_rules! becomes {
        ($($name:ident: $text:expr => $want:expr;)*) => { $(#[test] fn $name() {
            assert_eq!(mended($text).as_deref(), $want);
        })* };
    }

    becomes! {
        behind_the_colon: "sshd:2001:db8::1" => Some("sshd: [2001:db8::1]");
        before_an_option: "exim:2001:db8::2:deny" => Some("exim: [2001:db8::2]: deny");
        spaced: "sshd: 2001:db8::1 : deny" => Some("sshd: [2001:db8::1] : deny");
        option_behind: "sshd: 2001:db8::1: deny" => Some("sshd: [2001:db8::1]: deny");
        zone: "ALL: fe80::1%eth0" => Some("ALL: [fe80::1]");
        zone_and_option: "ALL:fe80::1%eth0:deny" => Some("ALL: [fe80::1]: deny");
        wildcard: "vsftpd: fd7a:115c:a1e0::*" => Some("vsftpd: [fd7a:115c:a1e0::]/48");
        wildcard_group: "vsftpd: 2001:db8:1:2:*" => Some("vsftpd: [2001:db8:1:2::]/64");
        wildcard_of_all_groups: "vsftpd: 2001:db8:*:*:*:*:*:*" => Some("vsftpd: [2001:db8::]/32");
        wildcard_that_is_unclear: "vsftpd: 2001:db8::1:*" => Some("?");
        double_colon: "sshd:::1" => Some("sshd: [::1]");
        double_colon_glued: "sshd::1" => Some("sshd: [::1]");
        double_colon_option: "sshd:::1:allow" => Some("sshd: [::1]: allow");
        no_colon: "sshd ::1" => Some("sshd: [::1]");
        colon_before_the_address: "sshd :2001:db8::1" => Some("sshd: [2001:db8::1]");
        length: "sshd:2001:db8::/32" => Some("sshd: [2001:db8::]/32");
        length_and_host_bits: "sshd: 2001:db8::1/64" => Some("sshd: [2001:db8::]/64");
        length_too_large: "sshd: 2001:db8::1/129" => Some("?");
        length_and_option: "sshd:2001:db8::/32:allow" => Some("sshd: [2001:db8::]/32: allow");
        two: "sshd: 2001:db8::1, 2001:db8::2" => Some("sshd: [2001:db8::1], [2001:db8::2]");
        mapped: "sshd: ::ffff:192.0.2.1" => Some("sshd: 192.0.2.1");
        server: "sshd@2001:db8::1: ALL" => Some("sshd@[2001:db8::1]: ALL");
        user: "sshd: joe@2001:db8::1" => Some("sshd: joe@[2001:db8::1]");
        daemons: "sshd,vsftpd:2001:db8::1" => Some("sshd,vsftpd: [2001:db8::1]");
        hexadecimal_daemon: "face:2001:db8::1" => Some("face: [2001:db8::1]");
        port: "22:2001:db8::1" => Some("22: [2001:db8::1]");
        upper_case: "SSHD:2001:DB8::A" => Some("SSHD: [2001:db8::a]");
        range_of_addresses: "sshd: 2001:db8::1-2001:db8::9" => Some("?");
        semicolon: "sshd: 2001:db8::1;2001:db8::2" => Some("sshd: [2001:db8::1];[2001:db8::2]");
        parentheses: "sshd: (2001:db8::1)" => Some("sshd: [2001:db8::1]");
        angles: "sshd:<2001:db8::1>:deny" => Some("sshd: [2001:db8::1]: deny");
        quotes: "sshd: \"2001:db8::1\"" => Some("sshd: [2001:db8::1]");
        no_opening_bracket: "sshd:2001:db8::1]" => Some("sshd: [2001:db8::1]");
        mask: "sshd: [2001:db8::]/ffff:ffff::" => Some("sshd: [2001:db8::]/32");
        mask_and_option: "sshd: [2001:db8::]/ffff:ffff:: : deny" => Some("sshd: [2001:db8::]/32 : deny");
        large_port: "2222:2001:db8::1" => Some("2222: [2001:db8::1]");
        too_few_groups: "sshd: 2001:db8:0:1" => Some("?");
        hardware: "sshd: 00:16:3e:00:00:01" => Some("?");
        port_and_address: "sshd:22:192.0.2.1" => None;
        command_behind: "sshd: 2001:db8::1: spawn echo a::b" => Some("sshd: [2001:db8::1]: spawn echo a::b");
        full: "sshd: 2001:db8:1:2:3:4:5:6" => Some("sshd: [2001:db8:1:2:3:4:5:6]");
        brackets: "sshd: [2001:db8::1]" => None;
        no_address: "sshd: ALL: allow" => None;
        letters: "a:b:c" => None;
        empty_list: "sshd::allow" => None;
    }
}
