//! Records to journald, with fields of their own.
//!
//! In: the line of a record, and its fields. Out: a datagram of journald's native protocol.
//! Invariant: no value can begin another field; an entry is one datagram, whatever its parts hold.
//! Source: systemd.io/JOURNAL_NATIVE_PROTOCOL; systemd.journal-fields(7).
//!
//! Written here: the send functions of the crate libsystemd and of libsystemd itself wait while the socket is full.

use super::{LogEntry, datagrams::AsDatagram, line::Renderer};

/// Where it listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Most bytes of a value; the rest is cut off. An entry has at most 48 fields, and a socket takes 208 KiB
/// in one datagram.
const LONGEST_VALUE: usize = 4096;

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    fields: Vec<(&'static str, String)>,
}

impl JournalEntry {
    /// The entry of a line, and fields of the record in addition.
    pub fn new(line: &LogEntry, own: Vec<(&'static str, String)>) -> Self {
        let mut fields = vec![
            ("MESSAGE", line.printable_message()),
            ("PRIORITY", (line.priority & libc::LOG_PRIMASK).to_string()),
            ("SYSLOG_FACILITY", ((line.priority & libc::LOG_FACMASK) >> 3).to_string()),
            ("SYSLOG_IDENTIFIER", line.ident_word()),
            ("SYSLOG_PID", line.pid.to_string()),
        ];
        fields.extend(own);
        Self { fields }
    }
}

impl AsDatagram for JournalEntry {
    fn push_datagram(&self, _renderer: &mut Renderer, out: &mut Vec<u8>) {
        for (name, value) in &self.fields {
            push_field(name, &value[..value.floor_char_boundary(LONGEST_VALUE)], out);
        }
    }
}

fn push_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::example;

    fn datagram(entry: &JournalEntry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.push_datagram(&mut Renderer::default(), &mut out);
        out
    }

    #[test]
    fn entry_has_the_fields_of_a_line_and_its_own() {
        let entry = JournalEntry::new(&example(), vec![("TCPW_CLIENT", "1.2.3.4".into())]);
        assert_eq!(
            String::from_utf8(datagram(&entry)).unwrap(),
            "MESSAGE=refused connect from ::ffff:1.2.3.4 (::ffff:1.2.3.4)\nPRIORITY=4\nSYSLOG_FACILITY=10\n\
             SYSLOG_IDENTIFIER=sshd\nSYSLOG_PID=12345\nTCPW_CLIENT=1.2.3.4\n"
        );
    }

    #[test]
    fn no_value_begins_another_field() {
        let entry =
            JournalEntry { fields: vec![("TCPW_TWIST", "a\n_UID=0\n".into()), ("TCPW_ID", "1".into())] };
        let wanted = [b"TCPW_TWIST\n".as_slice(), &9u64.to_le_bytes(), b"a\n_UID=0\n\nTCPW_ID=1\n"].concat();
        assert_eq!(datagram(&entry), wanted);
        let posing = LogEntry { ident: "sshd\n_UID=0".into(), message: "x\n_UID=0".into(), ..example() };
        let text = String::from_utf8(datagram(&JournalEntry::new(&posing, Vec::new()))).unwrap();
        assert!(
            text.starts_with("MESSAGE=x?_UID=0\n") && text.contains("\nSYSLOG_IDENTIFIER=sshd__UID=0\n"),
            "{text}"
        );
    }

    #[test]
    fn entry_is_one_datagram_whatever_it_holds() {
        let long = "\u{e4}".repeat(1 << 20);
        let line = LogEntry { message: long.clone(), ..example() };
        let entry = JournalEntry::new(&line, vec![("TCPW_NAME", long); 43]);
        // net.core.wmem_default, less what the kernel keeps for itself.
        assert!(datagram(&entry).len() < 200 << 10, "{}", datagram(&entry).len());
    }
}
