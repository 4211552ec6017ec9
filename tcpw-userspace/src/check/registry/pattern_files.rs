//! Codes of pattern files.

use super::{Entry, Sample, State, deny, entry, file, is};
use crate::parse::code::Code;

const PATH: &str = "/etc/tcpw/blocked";
const TABLE: Sample = deny("sshd: /etc/tcpw/blocked\n");

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W080,
        "A word with a slash at its start is the path of a file of patterns. This one does not exist.",
        &[TABLE, is(PATH, State::Missing)],
        "The pattern matches nobody, without a word.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::E081,
        "The pattern file is there but cannot be opened.",
        &[TABLE, is(PATH, State::Unreadable)],
        "It logs a warning at each connection, and the pattern matches nobody.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::W082,
        "# means nothing in a pattern file: every word is a pattern, those behind it too.",
        &[TABLE, file(PATH, "# 198.51.100.7 is back\n")],
        "It matches 198.51.100.7, and looks up names to compare with the other words.",
        &[deny("# 198.51.100.7 is back\nsshd: /etc/tcpw/blocked\n"), file(PATH, "198.51.100.8\n")],
    ),
    entry(
        Code::W083,
        "In a pattern file only blanks and newlines separate.",
        &[TABLE, file(PATH, "198.51.100.7,198.51.100.8\n")],
        "It is one pattern, with a comma in it, and never matches.",
        &[TABLE, file(PATH, "198.51.100.7 198.51.100.8\n")],
    ),
    entry(
        Code::W084,
        "EXCEPT is a word of the tables only.",
        &[TABLE, file(PATH, "198.51.100. EXCEPT 198.51.100.7\n")],
        "It is taken for a host's name, and what follows it matches too.",
        &[deny("sshd: /etc/tcpw/blocked EXCEPT 198.51.100.7\n"), file(PATH, "198.51.100.\n")],
    ),
    entry(
        Code::W085,
        "user@host has no meaning in a pattern file; user@/file in the table has.",
        &[TABLE, file(PATH, "root@198.51.100.7\n")],
        "It is taken for a host's name, and never matches.",
        &[deny("sshd: root@/etc/tcpw/blocked\n"), file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::W086,
        "The file names itself, or one that names it.",
        &[TABLE, file(PATH, "198.51.100.7 /etc/tcpw/blocked\n")],
        "It reads the file within itself until the process runs out of memory for its stack, and dies.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::W087,
        "Pattern files may name pattern files. More than 64 deep is no good: each of them stays open.",
        &[deny("sshd: /etc/tcpw/1\n"), is("/etc/tcpw/", State::Chain(66))],
        "It may run out of open files, and then the patterns match nobody.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::W088,
        "C strings end at a NUL byte.",
        &[TABLE, file(PATH, "198.51.100.7\0x\n")],
        "It ignores the rest of the word.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
    entry(
        Code::W089,
        "A word of a pattern file has room for 8191 bytes.",
        &[TABLE, is(PATH, State::Long("", "x", 8192))],
        "It aborts: the daemon dies.",
        &[TABLE, file(PATH, "198.51.100.7\n")],
    ),
];
