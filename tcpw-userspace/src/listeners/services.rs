//! /etc/services: the port of a service's name.
//!
//! In: the file's text. Out: a port. No I/O. Source: services(5).

/// The port of `name` (or of an alias) over `protocol`.
pub fn port(text: &str, name: &str, protocol: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let official = words.next()?;
        let (port, over) = words.next()?.split_once('/')?;
        let is_named = official == name || words.any(|alias| alias == name);
        if is_named && over == protocol { port.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Network services\ndaytime\t\t13/tcp\ndaytime\t\t13/udp\n\
                        font-service\t7100/tcp\txfs # X Font Service\nbad\nworse 12\nworst x/tcp\n";

    #[test]
    fn name_alias_and_protocol_count() {
        assert_eq!(port(TEXT, "daytime", "tcp"), Some(13));
        assert_eq!(port(TEXT, "xfs", "tcp"), Some(7100));
        assert_eq!(port(TEXT, "xfs", "udp"), None);
        assert_eq!(port(TEXT, "X", "tcp"), None);
        assert_eq!(port(TEXT, "worst", "tcp"), None);
    }
}
