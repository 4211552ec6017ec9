//! Ranges of addresses as networks.

use std::net::Ipv4Addr;

/// Most networks that are offered for a range.
const MOST: usize = 8;

/// The networks that are exactly the addresses from `first` to `last`, with blanks between; the inner
/// `None` if they are too many. `None` if it is no range.
#[expect(clippy::option_option, reason = "no range, or one that is not offered")]
pub(super) fn networks(first: Ipv4Addr, last: Ipv4Addr) -> Option<Option<String>> {
    let (mut at, last) = (u64::from(first.to_bits()), u64::from(last.to_bits()));
    if at > last {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    while at <= last {
        let room = 63 - (last - at + 1).leading_zeros();
        let bits = at.trailing_zeros().min(room).min(32);
        let address = Ipv4Addr::from_bits(u32::try_from(at).ok()?);
        all.push(match bits {
            0 => address.to_string(),
            32 => "0.0.0.0/0.0.0.0".to_owned(),
            bits => format!("{address}/{}", 32 - bits),
        });
        if all.len() > MOST {
            return Some(None);
        }
        at += 1 << bits;
    }
    Some(Some(all.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! is {
        ($($name:ident: $first:expr, $last:expr => $want:expr;)*) => { $(#[test] fn $name() {
            let found = networks($first.parse().unwrap(), $last.parse().unwrap());
            assert_eq!(found.as_ref().map(|it| it.as_deref()), $want);
        })* };
    }

    is! {
        one: "192.0.2.1", "192.0.2.1" => Some(Some("192.0.2.1"));
        network: "192.0.2.0", "192.0.2.255" => Some(Some("192.0.2.0/24"));
        some: "192.0.2.10", "192.0.2.20" => Some(Some("192.0.2.10/31 192.0.2.12/30 192.0.2.16/30 192.0.2.20"));
        all: "0.0.0.0", "255.255.255.255" => Some(Some("0.0.0.0/0.0.0.0"));
        many: "0.0.0.1", "255.255.255.254" => Some(None);
        backwards: "192.0.2.9", "192.0.2.1" => None;
    }
}
