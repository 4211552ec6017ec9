//! Words that stand for what the reader of some instructions should have put there.

use super::{Code, Finding, NEVER, quote};

/// Finding on a word that was copied and not filled in.
pub(super) fn placeholder(token: &[u8]) -> Option<Finding> {
    is_placeholder(token).then(|| filled(token))
}

/// What to say of one.
pub(super) fn filled(token: &[u8]) -> Finding {
    let message = format!("{} is a placeholder: it stands for an address or network of yours", quote(token));
    let expected = "your own, such as 192.0.2.7, 192.0.2.0/24 or .example.com";
    Finding::new(Code::W159, message, expected, NEVER)
}

/// Finding on a daemon's name that was copied and not filled in.
pub(super) fn daemon(name: &[u8]) -> Option<Finding> {
    const NAMES: [&[u8]; 6] =
        [b"daemon_list", b"daemon-list", b"daemonlist", b"service_list", b"your_daemon", b"your-service"];
    let has_marks = name.starts_with(b"<") && name.ends_with(b">") && name.len() > 2;
    let has_brackets = name.starts_with(b"[") && is_placeholder(name);
    if !has_marks && !has_brackets && !NAMES.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        return None;
    }
    let message = format!("{} is a placeholder: it stands for a daemon's name", quote(name));
    Some(Finding::new(Code::W159, message, "ALL, or a daemon's name such as sshd", NEVER))
}

/// The placeholder of several words that begins here: `<your ip>`; its number of words.
pub(super) fn of_words(words: &[&[u8]]) -> Option<usize> {
    const MARKS: [(u8, u8); 3] = [(b'<', b'>'), (b'{', b'}'), (b'[', b']')];
    let first = words.first()?;
    let (open, close) = MARKS.iter().find(|(open, _)| first.first() == Some(open))?;
    let count = words.iter().position(|word| word.contains(close)).filter(|last| *last > 0)? + 1;
    let text = String::from_utf8_lossy(&words[..count].join(&b' ')).to_ascii_lowercase();
    let inside = text.get(1..)?.split(char::from(*close)).next()?.trim();
    let is_text = inside.bytes().all(|byte| byte.is_ascii_alphabetic() || b" -_'/".contains(&byte));
    let is_placeholder = is_text && (*open != b'[' || is_instruction(&inside.replace(' ', "_")));
    (is_placeholder && count <= 8).then_some(count)
}

pub(crate) fn is_placeholder(token: &[u8]) -> bool {
    // Most words of large tables are addresses.
    if token.len() < 3 || token.first().is_some_and(u8::is_ascii_digit) {
        return token == b"{}" || token.contains(&b'<') && token.contains(&b'>');
    }
    let Ok(text) = std::str::from_utf8(token) else { return false };
    let text = text.to_ascii_lowercase();
    let text = text.strip_prefix('@').filter(|rest| !rest.starts_with('@')).unwrap_or(&text);
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let inside =
        inside.filter(|(_, tail)| tail.is_empty() || tail.starts_with('/')).map(|(inside, _)| inside);
    if inside.is_some_and(|inside| is_instruction(inside) || matches!(inside, "ip" | "address" | "network")) {
        return true;
    }
    let is_dots = text.len() >= 3 && text.bytes().all(|byte| byte == b'.');
    let has_marks = text.starts_with('<') && text.len() > 1
        || text.contains('<') && text.contains('>')
        || text.starts_with('{') && text.ends_with('}')
        || text.starts_with("__") && text.ends_with("__") && text.len() > 4
        || text.starts_with("@@") && text.ends_with("@@") && text.len() > 4
        || text.starts_with('%') && text.ends_with('%') && text.len() > 2
        || text.starts_with("%(")
        || text.starts_with("#{")
        || text.starts_with('$') && text[1..].starts_with(|it: char| it.is_ascii_alphabetic());
    is_dots || text == "…" || has_marks || is_pattern_of_address(text) || is_instruction(text)
}

/// `x.x.x.x`, `a.b.c.d/24`, `xxx.xxx.xxx.xxx`, `n.n.n.n`, `ip.ad.dr.es`.
fn is_pattern_of_address(text: &str) -> bool {
    let net = text.split('/').next().unwrap_or_default();
    let parts: Vec<&str> = net.split('.').collect();
    let is_letters = |part: &&str| {
        !part.is_empty()
            && part.len() <= 3
            && part.bytes().all(|byte| byte == part.as_bytes()[0] && byte.is_ascii_alphabetic())
    };
    let are_same = || parts.iter().all(|part| part == &parts[0]);
    let first = |part: &&str| part.bytes().next().unwrap_or_default();
    let are_next = || parts.windows(2).all(|pair| first(&pair[0]) + 1 == first(&pair[1]));
    // "xxx.xxx.xxx.0", "ip.ip.ip.ip"
    let is_any = |part: &&str| is_letters(part) && part.starts_with(['x', 'n', 'y', 'z']);
    let is_part =
        |part: &&str| is_any(part) || part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty();
    let is_mixed = parts.iter().all(is_part) && parts.iter().filter(|part| is_any(part)).count() >= 2;
    let is_word = parts[0] == "ip" && are_same();
    parts.len() == 4 && (is_mixed || is_word || parts.iter().all(is_letters) && (are_same() || are_next()))
}

/// `your.domain`, `my-ip`, `ip_address`, `your_network/mask`.
fn is_instruction(text: &str) -> bool {
    const SUBJECTS: [&str; 14] = [
        "ip",
        "ips",
        "ipaddress",
        "ipaddr",
        "address",
        "addr",
        "domain",
        "host",
        "hostname",
        "network",
        "net",
        "subnet",
        "server",
        "mask",
    ];
    const OWNERS: [&str; 6] = ["your", "my", "some", "the", "trusted", "yourown"];
    let words: Vec<&str> = text.split(['.', '-', '_', '/']).filter(|word| !word.is_empty()).collect();
    let glued = |word: &str| {
        OWNERS.iter().any(|owner| word.strip_prefix(owner).is_some_and(|rest| SUBJECTS.contains(&rest)))
    };
    let is_subject = |word: &&str| SUBJECTS.contains(word) || glued(word);
    const FILL_IN: [&str; 9] = [
        "todo",
        "fixme",
        "changeme",
        "change_me",
        "replaceme",
        "replace_me",
        "placeholder",
        "client_list",
        "client-list",
    ];
    if FILL_IN.contains(&text) {
        return true;
    }
    // "office_ip", "your_home_ip", "server1.yourdomain.com"
    const ENDS: [&str; 4] = ["ip", "ipaddress", "netgroup", "network"];
    let is_domain = |word: &&str| matches!(*word, "yourdomain" | "mydomain" | "yourcompany" | "mycompany");
    if let [first, .., last] = words.as_slice()
        && *first != "some"
        && (text.contains('_') && ENDS.contains(last) && !text.contains('.')
            || OWNERS.contains(first) && ENDS.contains(last) && !text.contains('.'))
    {
        return true;
    }
    if words.len() > 2
        && words.iter().any(is_domain)
        && matches!(words.last(), Some(&("com" | "org" | "net")))
    {
        return true;
    }
    match words.as_slice() {
        [] => false,
        [one] => glued(one) || matches!(*one, "ipaddress" | "ipaddr"),
        [first, rest @ ..] if OWNERS.contains(first) => {
            rest.iter().any(is_subject)
                && rest.iter().all(|word| {
                    is_subject(word)
                        || matches!(*word, "name" | "com" | "org" | "here" | "cidr" | "24" | "32")
                })
        }
        [first, ..] if glued(first) => true,
        words => {
            let all = words
                .iter()
                .all(|word| is_subject(word) || matches!(*word, "netmask" | "cidr" | "x" | "here"));
            all && text.contains(['_', '/']) || words == ["ip", "address"] || words == ["domain", "name"]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_names() {
        for text in [
            "<net>/<mask>",
            "<ip>",
            "x.x.x.x",
            "xxx.xxx.xxx.xxx",
            "a.b.c.d",
            "...",
            "your.domain",
            "yourdomain.com",
            "your-ip",
            "YOUR_IP_ADDRESS",
            "IP_ADDRESS",
            "my.ip.address",
            "<your-network>/24",
            "X.X.X.X/24",
            "__IP__",
            "$CLIENT",
            "your_ip/32",
            "some.host.name",
            "trusted_ip",
            "…",
            "[your-ip]",
            "[ip]/24",
            "ip.ip.ip.ip",
            "aaa.bbb.ccc.ddd",
            "XXX.XXX.XXX.0/24",
            "client_ip",
            "YOUR_HOME_IP",
            "server1.yourdomain.com",
            "@your_netgroup",
            "%IP%",
            "%(ip)s",
            "#{ip}",
            "@@IP@@",
            "CHANGEME",
            "10.0.0.0/<mask>",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in [
            "ip.example.com",
            "host.example.com",
            "gate",
            "your.name",
            "192.0.2.1",
            ".example.com",
            "server",
            "network",
            "mask",
            "my.house.example",
            "a.b.c.example",
            "w.x.y.com",
            "..",
            "[::1]",
            "@hosts",
            "/etc/hosts.list",
            "domain",
            "ips.example.org",
            "the-net.example",
            "10.x.x.x",
            "gate-ip",
            "net.example",
            "www.aa.bb.cc",
        ] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }
}
