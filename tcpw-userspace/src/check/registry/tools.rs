//! Codes of what other programs write into the tables.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::E090,
        "The action hostsdeny of fail2ban 0.10.0 to 0.10.2 appends \"ALL: ADDRESS\" for IPv6 addresses too, \
         without brackets. 0.10.3 writes the brackets. The daemon may be another one than ALL.",
        &[deny("ALL: 2001:db8::7\n")],
        "It reads the client 2001 with options db8 and 7: the address is not refused.",
        &[deny("ALL: [2001:db8::7]\n")],
    ),
    entry(
        Code::E091,
        "host-deny and block-ip-hostsdeny of Wazuh, since these are C programs (4.2), and host-deny.sh of OSSEC \
         before 2.9 append \"ALL:ADDRESS\" for IPv6 addresses too, without brackets. OSSEC since 2.9 writes them.",
        &[deny("ALL:2001:db8::7\n")],
        "It reads the client 2001 with options db8 and 7: the address is not refused.",
        &[deny("ALL:[2001:db8::7]\n")],
    ),
    entry(
        Code::E092,
        "DenyHosts writes what it read from the log behind \"sshd: \", without brackets around an IPv6 address.",
        &[deny("# DenyHosts: Thu Jan  1 12:00:00 2026 | sshd: 2001:db8::7\nsshd: 2001:db8::7\n")],
        "It reads the client 2001 with options db8 and 7: the address is not refused.",
        &[deny("# DenyHosts: Thu Jan  1 12:00:00 2026 | sshd: 2001:db8::7\nsshd: [2001:db8::7]\n")],
    ),
    entry(
        Code::E093,
        "DenyHosts with an empty BLOCK_SERVICE writes addresses alone. That is meant for a file of its own, a \
         pattern file that a rule in hosts.deny names, and not for hosts.deny itself.",
        &[deny("198.51.100.7\n")],
        "It logs \"missing \":\" separator\" and skips the line: the address is not refused.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W094,
        "DenyHosts reads addresses out of log lines that clients can shape, for example by their user names. \
         Before it took numeric addresses only, a client could make it write ALL \
         (CVE-2007-4323, CVE-2007-5715, CVE-2013-6890).",
        &[deny("# DenyHosts: Thu Jan  1 12:00:00 2026 | sshd: all\nsshd: all\n"), allow("sshd: 192.0.2.\n")],
        "It refuses every client that hosts.allow does not allow.",
        &[
            deny("# DenyHosts: Thu Jan  1 12:00:00 2026 | sshd: 198.51.100.7\nsshd: 198.51.100.7\n"),
            allow("sshd: 192.0.2.\n"),
        ],
    ),
    entry(
        Code::H095,
        "sshguard writes eight addresses into a rule and begins the next one at once, so that eight, sixteen, \
         ... blocked addresses leave a rule without clients.",
        &[allow(
            "###sshguard###\nALL : 198.51.100.1 198.51.100.2 198.51.100.3 198.51.100.4 198.51.100.5 198.51.100.6 \
             198.51.100.7 198.51.100.8 : DENY\nALL :  : DENY\n###sshguard###\n",
        )],
        "The rule never matches, and does no harm.",
        &[allow("###sshguard###\nALL : 198.51.100.7 : DENY\n###sshguard###\n")],
    ),
    entry(
        Code::W096,
        "sshguard keeps its rules between two lines \"###sshguard###\". When it starts, and when it ends, it \
         deletes everything from the first of them to the second. One of them is missing here.",
        &[allow("###sshguard###\nALL : 198.51.100.7 : DENY\nsshd: 192.0.2.\n")],
        "Nothing; but sshguard will delete the rest of the file.",
        &[allow("###sshguard###\nALL : 198.51.100.7 : DENY\n###sshguard###\nsshd: 192.0.2.\n")],
    ),
    entry(
        Code::E097,
        "fail2ban, DenyHosts, OSSEC and Wazuh append their rules without looking whether the last line has a \
         newline. If it has none, their rule is glued to it.",
        &[deny("sshd: 198.51.100.7ALL: 198.51.100.8\n")],
        "It reads a client 198.51.100.7ALL, and an option that does not exist: neither address is refused.",
        &[deny("sshd: 198.51.100.7\nALL: 198.51.100.8\n")],
    ),
    entry(
        Code::W098,
        "fail2ban, DenyHosts, OSSEC and Wazuh append their rules without looking whether the last line has a \
         newline. If that is a comment without one, their rule becomes part of it.",
        &[deny("# end of fileALL: 198.51.100.8\n")],
        "It is a comment: the address is not refused.",
        &[deny("# end of file\nALL: 198.51.100.8\n")],
    ),
];
