//! Text that is stuck to brackets: `[fe80::1]%eth0`, `x[2001:db8::2]`.

use super::{Code, Finding, NEVER, quote, shown};
use crate::parse::number;

/// Finding on a host pattern with brackets that are neither all of it nor its network.
pub(super) fn stuck(token: &[u8]) -> Option<Finding> {
    let open = token.iter().position(|byte| *byte == b'[')?;
    let close = token.iter().position(|byte| *byte == b']').filter(|close| *close > open)?;
    let (before, inner, behind) = (&token[..open], &token[open + 1..close], &token[close + 1..]);
    if before.is_empty() && (behind.is_empty() || behind.starts_with(b"/")) {
        return None;
    }
    let rest = [before, behind].concat();
    let message = format!("{} is stuck to the brackets of {}", quote(&rest), quote(token));
    let expected = "the brackets alone: [address] or [network]/length";
    let finding = Finding::new(Code::W150, message, expected, NEVER);
    let plain = inner.strip_prefix(b"[").unwrap_or(inner);
    let (address, zone) = match number::ipv6(plain) {
        Some(found) => found,
        None => return Some(finding),
    };
    // Brackets too many.
    if rest.iter().all(|byte| matches!(byte, b'[' | b']')) && zone.is_none() {
        return Some(finding.replace(format!("[{}]", shown(plain))));
    }
    if plain != inner {
        return Some(finding);
    }
    let is_zone = before.is_empty() && behind.starts_with(b"%") && zone.is_none();
    let (zone_text, length) = match behind.iter().position(|byte| *byte == b'/') {
        Some(at) => behind.split_at(at),
        None => (behind, &b""[..]),
    };
    let is_plain = zone_text[zone_text.len().min(1)..]
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    Some(if is_zone && is_plain && address.to_ipv4_mapped().is_none() {
        let message = format!(
            "libwrap knows no zone behind brackets: {}; without it the address matches on every interface",
            quote(zone_text)
        );
        let finding = Finding::new(Code::W150, message, expected, NEVER);
        finding.replace(format!("[{}]{}", shown(inner), shown(length)))
    } else {
        finding
    })
}
