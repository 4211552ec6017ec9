//! One line, byte for byte as libwrap's daemons and xinetd write it.
//!
//! In: both ends of an attempt. Out: a message, and the line around it. No I/O.
//! Invariant: one entry is one line of printable bytes, whatever its parts hold.
//! Source: tcp_wrappers 7.6 `refuse.c`, `tcpd.c`; xinetd 2.3.15 `log.c`; RFC 3164.

use std::{fmt::Display, io::Write as _, time::SystemTime};

use super::time::stamp;

/// The fields of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When it happened.
    pub time: SystemTime,
    /// Name of this host.
    pub host: String,
    /// The ident: the name of the listening process.
    pub ident: String,
    /// Id of the listening process.
    pub pid: u32,
    /// The message.
    pub message: String,
    /// Facility and level, as syslog(3) takes them.
    pub priority: i32,
}

impl LogEntry {
    /// The line of a log file, with its newline:
    /// `Jan  2 20:24:17 gate sshd[12345]: refused connect from 1.2.3.4 (1.2.3.4)`.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        Renderer::default().line(self, &mut line);
        line
    }

    /// The ident as it stands in a line: a single word.
    pub(super) fn ident_word(&self) -> String {
        let mut word = Vec::new();
        push_word(&self.ident, &mut word);
        String::from_utf8_lossy(&word).into_owned()
    }

    /// The message as it stands in a line.
    pub(super) fn printable_message(&self) -> String {
        let mut message = Vec::new();
        push_printable(&self.message, &mut message);
        String::from_utf8_lossy(&message).into_owned()
    }

    /// The datagram for /dev/log: no host name, no newline; the syslog daemon adds them.
    pub fn datagram(&self) -> Vec<u8> {
        let mut datagram = Vec::new();
        Renderer::default().datagram(self, &mut datagram);
        datagram
    }
}

/// Renders many entries: a time stamp is made once for all lines of a second.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    /// Seconds since 1970, and their stamp.
    stamp: Option<(u64, String)>,
}

impl Renderer {
    /// Appends [`LogEntry::line`].
    pub(super) fn line(&mut self, entry: &LogEntry, out: &mut Vec<u8>) {
        out.extend_from_slice(self.stamp(entry.time).as_bytes());
        out.push(b' ');
        push_word(&entry.host, out);
        out.push(b' ');
        push_tail(entry, out);
        out.push(b'\n');
    }

    /// Appends [`LogEntry::datagram`].
    pub(super) fn datagram(&mut self, entry: &LogEntry, out: &mut Vec<u8>) {
        out.push(b'<');
        push_number(entry.priority, out);
        out.push(b'>');
        out.extend_from_slice(self.stamp(entry.time).as_bytes());
        out.push(b' ');
        push_tail(entry, out);
    }

    fn stamp(&mut self, time: SystemTime) -> &str {
        let second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (_, stamp) = match self.stamp.take().filter(|(known, _)| *known == second) {
            Some(known) => self.stamp.insert(known),
            None => self.stamp.insert((second, stamp(time))),
        };
        stamp
    }
}

fn push_tail(entry: &LogEntry, out: &mut Vec<u8>) {
    push_word(&entry.ident, out);
    out.push(b'[');
    push_number(entry.pid, out);
    out.extend_from_slice(b"]: ");
    push_printable(&entry.message, out);
}

/// A connection was refused. `service` is the id of an xinetd service, else `None`;
/// `client` is its verified name (`user@` in front, if known), else its address.
pub fn refused(service: Option<&str>, client: &str, address: &str) -> String {
    match service {
        None => format!("refused connect from {client} ({address})"),
        Some(id) => format!("FAIL: {id} libwrap from={address}"),
    }
}

/// An attempt was refused, and nothing proves that it came from the address it shows. Parameters as for [`refused`].
///
/// Worded so that no watcher of refused connections (fail2ban, logwatch) takes it for one: neither
/// `refused connect from` nor `FAIL:` occurs in it.
pub fn unproven(service: Option<&str>, client: &str, address: &str) -> String {
    match service {
        None => format!("refused unproven attempt from {client} ({address})"),
        Some(id) => format!("refused unproven attempt: {id} libwrap from={address}"),
    }
}

/// So many more attempts of [`unproven`] sources in that network were refused.
pub fn more_unproven(attempts: u64, network: &str) -> String {
    format!("refused {attempts} more unproven attempts from {network}")
}

/// So many more attempts of a network were made within that many seconds, than have lines of their own.
pub fn more(attempts: u64, network: &str, seconds: u64) -> String {
    format!("{attempts} more attempts from {network} in {seconds} s")
}

/// So many more SYNs of [`unproven`] sources were dropped at devices, before the stack.
pub fn more_at_devices(syns: u64) -> String {
    format!("refused {syns} more unproven SYNs at devices of early-drop")
}

/// A connection was refused, and a command gets it. Source: tcp_wrappers 7.6 `options.c`, `twist_option`.
pub fn twist(client: &str, command: &str) -> String {
    format!("twist {client} to {command}")
}

/// A connection was accepted. Parameters as for [`refused`].
pub fn accepted(service: Option<&str>, client: &str, address: &str) -> String {
    match service {
        None => format!("connect from {client} ({address})"),
        Some(id) => format!("START: {id} pid=0 from={address}"),
    }
}

/// Audit mode let a connection pass that the policy refuses. Parameters as for [`refused`].
///
/// Worded so that no watcher of refused connections (fail2ban, logwatch) takes it for one:
/// neither `refused connect from` nor `FAIL:` occurs in it.
pub fn would_refuse(service: Option<&str>, client: &str, address: &str) -> String {
    match service {
        None => format!("would refuse connect from {client} ({address})"),
        Some(id) => format!("would refuse: {id} libwrap from={address}"),
    }
}

/// What happened to a client at a listener whose name any user may have chosen. It is written in tcpw's own name.
///
/// Worded so that no watcher of refused connections takes it for one: `refused connect from`, `connect from` and `FAIL:`
/// do not occur in it, and the listener's name is a single word.
pub fn in_own_name(
    (what, whose): (&str, &str),
    (ident, pid): (&str, u32),
    client: &str,
    address: &str,
) -> String {
    let mut listener = Vec::new();
    push_word(ident, &mut listener);
    let listener = String::from_utf8_lossy(&listener);
    format!("{what} at a listener {whose}, {listener}[{pid}]: {client} ({address})")
}

/// This host's name without its domain, as syslog daemons write it.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    match name.split('.').next() {
        Some(short) if !short.is_empty() => short.to_owned(),
        Some(_) | None => "localhost".to_owned(),
    }
}

fn push_number(number: impl Display, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

/// A process chooses the name of its executable: it must not be able to forge a line.
fn push_printable(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return out.extend_from_slice(text.as_bytes());
    }
    let printable = text.chars().map(|c| if c.is_control() { '?' } else { c });
    out.extend_from_slice(printable.collect::<String>().as_bytes());
}

/// As [`push_printable`], but a single word, so that `[pid]:` can follow.
fn push_word(text: &str, out: &mut Vec<u8>) {
    let is_plain = |c: char| c.is_ascii_graphic() && !"[]:".contains(c);
    out.extend(text.chars().map(|c| if is_plain(c) { u8::try_from(c).unwrap_or(b'_') } else { b'_' }));
    if text.is_empty() {
        out.push(b'-');
    }
}

/// An entry for the tests of the sinks.
#[cfg(test)]
pub(super) fn example() -> LogEntry {
    LogEntry {
        time: SystemTime::UNIX_EPOCH,
        host: "gate".to_owned(),
        ident: "sshd".to_owned(),
        pid: 12345,
        message: refused(None, "::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        priority: super::priority::REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ident: &str, message: String) -> LogEntry {
        LogEntry { ident: ident.to_owned(), message, ..example() }
    }

    fn line(ident: &str, message: String) -> String {
        let entry = entry(ident, message);
        let line = String::from_utf8(entry.line()).unwrap();
        line.strip_prefix(&stamp(entry.time)).unwrap().to_owned()
    }

    #[test]
    fn lines_are_those_of_the_secure_log() {
        let mapped = "::ffff:1.2.3.4";
        let six = "3ffe:ffff:100:200::212:34ff:fe12:3456";
        let daytime = Some("daytime-stream");
        assert_eq!(
            line("sshd", refused(None, mapped, mapped)),
            " gate sshd[12345]: refused connect from ::ffff:1.2.3.4 (::ffff:1.2.3.4)\n"
        );
        assert_eq!(
            line("xinetd-ipv6", refused(daytime, six, six)),
            format!(" gate xinetd-ipv6[12345]: FAIL: daytime-stream libwrap from={six}\n")
        );
        assert_eq!(
            line("xinetd-ipv6", accepted(daytime, mapped, mapped)),
            " gate xinetd-ipv6[12345]: START: daytime-stream pid=0 from=::ffff:1.2.3.4\n"
        );
        assert_eq!(
            line("in.wrapd", accepted(None, "good.example.test", "10.9.0.1")),
            " gate in.wrapd[12345]: connect from good.example.test (10.9.0.1)\n"
        );
    }

    #[test]
    fn datagram_has_priority_and_no_host() {
        let entry = example();
        let wanted = format!(
            "<84>{} sshd[12345]: refused connect from ::ffff:1.2.3.4 (::ffff:1.2.3.4)",
            stamp(entry.time)
        );
        assert_eq!(String::from_utf8(entry.datagram()).unwrap(), wanted);
    }

    #[test]
    fn audit_lines_are_not_taken_for_refusals() {
        for service in [None, Some("daytime-stream")] {
            let message = would_refuse(service, "1.2.3.4", "1.2.3.4");
            assert!(message.starts_with("would refuse"));
            assert!(!message.contains("refused connect") && !message.contains("FAIL"));
        }
    }

    #[test]
    fn lines_in_the_own_name_are_not_taken_for_those_of_a_daemon() {
        let pose = "sshd[1]: refused connect from 8.8.8.8 (8.8.8.8)";
        let text = in_own_name(("refused", "whose name is not proven"), (pose, 7), "1.2.3.4", "1.2.3.4");
        assert_eq!(
            text,
            "refused at a listener whose name is not proven, sshd_1___refused_connect_from_8.8.8.8_(8.8.8.8)[7]: 1.2.3.4 (1.2.3.4)"
        );
        assert!(!text.contains("connect from"));
    }

    #[test]
    fn no_part_can_forge_a_line() {
        let forged = entry("sshd[1]: x\ny z", "a\nb\tc\u{7f}\u{85}d\r".to_owned());
        let text = String::from_utf8(forged.line()).unwrap();
        assert!(text.ends_with(" gate sshd_1___x_y_z[12345]: a?b?c??d?\n"), "{text}");
        assert!(line("", String::new()).contains(" -[12345]: "));
    }

    #[test]
    fn host_name_is_one_short_word() {
        let name = host_name();
        assert!(!name.is_empty() && !name.contains('.'));
    }
}
