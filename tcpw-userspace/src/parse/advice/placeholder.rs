//! Words that stand for what the reader of some instructions should have put there.

use super::{Code, Finding, quote};

/// What follows.
const CONSEQUENCE: &str =
    "it is compared as it stands and matches no client of yours: the rule does nothing for anybody";

/// Finding on a word that was copied and not filled in.
pub(super) fn placeholder(token: &[u8]) -> Option<Finding> {
    if !is_placeholder(token) {
        return None;
    }
    let message = format!("{} is a placeholder: it stands for an address or network of yours", quote(token));
    let expected = "your own, such as 192.0.2.7, 192.0.2.0/24 or .example.com";
    Some(Finding::new(Code::W159, message, expected, CONSEQUENCE))
}

pub(crate) fn is_placeholder(token: &[u8]) -> bool {
    // Most words of large tables are addresses.
    if token.len() < 3 || token.first().is_some_and(u8::is_ascii_digit) {
        return token == b"{}";
    }
    let Ok(text) = std::str::from_utf8(token) else { return false };
    let text = text.to_ascii_lowercase();
    let is_dots = text.len() >= 3 && text.bytes().all(|byte| byte == b'.');
    let has_marks = text.starts_with('<') && text.len() > 1
        || text.contains('<') && text.contains('>')
        || text.starts_with('{') && text.ends_with('}')
        || text.starts_with("__") && text.ends_with("__") && text.len() > 4
        || text.starts_with('$') && text[1..].starts_with(|it: char| it.is_ascii_alphabetic());
    is_dots || text == "…" || has_marks || is_pattern_of_address(&text) || is_instruction(&text)
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
    parts.len() == 4
        && (parts.iter().all(is_letters)
            && (are_same() || parts == ["a", "b", "c", "d"] || parts == ["w", "x", "y", "z"]))
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
        ] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }
}
