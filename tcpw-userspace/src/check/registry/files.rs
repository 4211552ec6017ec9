//! Codes of files and lines.

use super::{ALLOW, DENY, Entry, State, allow, deny, entry, is};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::H001,
        "A table that does not exist has no rules. That is allowed, but an empty file says it more clearly, and \
         a file that was moved away by accident looks just the same.",
        &[allow("sshd: 192.0.2.\n"), is(DENY, State::Missing)],
        "It goes on without a word: without hosts.deny nobody is refused by it, and without both nobody at all.",
        &[allow("sshd: 192.0.2.\n"), deny("# nobody is refused\n")],
    ),
    entry(
        Code::E002,
        "The table is there but cannot be opened. The two tables differ in what follows: hosts.allow then \
         allows nobody, and hosts.deny refuses every client that hosts.allow does not allow.",
        &[allow("sshd: 192.0.2.\n"), is(DENY, State::Unreadable)],
        "It logs \"cannot open\" at each connection; hosts.deny refuses everybody else.",
        &[allow("sshd: 192.0.2.\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::E003,
        "Every line ends in a newline, the last one too. A program that appends without looking, or an editor \
         that leaves the newline out, breaks the table. Even a comment or blanks without a newline do, and so does a \
         backslash at the end of the last line: it joins the line to one that is not there.",
        &[deny("sshd: 198.51.100.7")],
        "The table ends there with an error. hosts.deny then refuses every client of every daemon that no \
         earlier rule decided; hosts.allow only loses the line. tcpw does the same.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::E004,
        "A line, with all its continuation lines and the newline, has at most 2047 bytes. Long lists belong \
         into a pattern file: \"sshd: /etc/tcpw/blocked\".",
        &[is(DENY, State::Long("sshd:", " 198.51.100.7", 160))],
        "As with a missing newline: the table ends there, and hosts.deny refuses everybody.",
        &[deny("sshd: 192.0.2.\nsshd: 198.51.100.\n")],
    ),
    entry(
        Code::E005,
        "A rule is a daemon list, a colon, a client list. Without a colon (outside of brackets) there is no \
         rule. A comment begins with # in the first column; indented, it is taken for a broken rule.",
        &[deny("sshd 198.51.100.7\n")],
        "It logs \"missing \":\" separator\" and skips the line.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W006,
        "A directory can be opened like a file, and reads as nothing.",
        &[deny("sshd: ALL\n"), is(ALLOW, State::Directory)],
        "It takes it for an empty table, without a word.",
        &[deny("sshd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W007,
        "The path is a symbolic link, and what it leads to is gone: the file was moved, or its file system is \
         not mounted.",
        &[allow("sshd: 192.0.2.\n"), is(DENY, State::Dangling)],
        "It takes the table for missing, without a word: nobody is refused.",
        &[allow("sshd: 192.0.2.\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W008,
        "Somebody who is not root may change the file, or the directory it is in. The tables decide who may \
         connect, and their spawn and twist options run commands as root.",
        &[is(DENY, State::Writable("sshd: ALL\n")), allow("sshd: 192.0.2.\n")],
        "It does not look at permissions. tcpdchk would warn, where it works.",
        &[deny("sshd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W009,
        "A table is read anew at every connection. A FIFO or a device makes that depend on whoever writes into it.",
        &[is(DENY, State::Fifo), allow("sshd: 192.0.2.\n")],
        "It waits for a writer: the daemon hangs.",
        &[deny("sshd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W010,
        "C strings end at a NUL byte. It mostly comes from a file system after a crash, or from a file in \
         UTF-16.",
        &[deny("# moved here in May \0\nsshd: 198.51.100.7\n")],
        "It drops the rest of the line with its newline, and glues the next line on: here the rule becomes part \
         of the comment.",
        &[deny("# moved here in May\nsshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W011,
        "A line is continued only if the backslash is its very last character. In a file with CR LF line ends \
         a carriage return stands between.",
        &[deny("sshd: 192.0.2., \\\r\n 198.51.100.\r\n")],
        "The line ends there with a backslash as a pattern, and the next line is a rule of its own.",
        &[deny("sshd: 192.0.2., \\\n 198.51.100.\n")],
    ),
    entry(
        Code::W012,
        "Some editors begin a file with the bytes EF BB BF, and do not show them. They are part of the first word here.",
        &[deny("\u{feff}sshd: ALL\n")],
        "It compares the daemon's name with them: the rule does not match.",
        &[deny("sshd: ALL\n")],
    ),
    entry(
        Code::W013,
        "Between brackets a colon separates nothing. An opening bracket without its partner, or a stray closing \
         one, therefore hides the colons behind it.",
        &[deny("sshd: [2001:db8::1 : deny\n")],
        "It sees no separator, or no options.",
        &[deny("sshd: [2001:db8::1] : deny\n")],
    ),
    entry(
        Code::W014,
        "A backslash at the end continues a comment too.",
        &[deny("# blocked since May \\\nsshd: 198.51.100.7\n")],
        "The next line is part of the comment: it is no rule.",
        &[deny("# blocked since May\nsshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W015,
        "A comment begins with # in the first column. Behind blanks # is a word like any other, so that a rule \
         which was \"commented out\" is in force, with one more daemon that is called #.",
        &[allow(" # sshd: ALL\n")],
        "It takes the line for a rule.",
        &[allow("# sshd: ALL\n")],
    ),
    entry(
        Code::W016,
        "Patterns are separated by space, tab, comma, or a carriage return, and by nothing else: not by a \
         semicolon. There are no quotes.",
        &[deny("sshd: 198.51.100.7; 198.51.100.8\n")],
        "They are part of the pattern, which then never matches.",
        &[deny("sshd: 198.51.100.7, 198.51.100.8\n")],
    ),
    entry(
        Code::W017,
        "A line is continued only if the backslash is its very last character.",
        &[deny("sshd: 192.0.2., \\  \n 198.51.100.\n")],
        "The line ends there with a backslash as a pattern, and the next line is a rule of its own.",
        &[deny("sshd: 192.0.2., \\\n 198.51.100.\n")],
    ),
    entry(
        Code::W018,
        "A continuation joins the lines without anything between. A word at the end and one at the start of \
         the next line become one.",
        &[deny("sshd: 192.0.2.\\\n198.51.100.\n")],
        "It reads one pattern, 192.0.2.198.51.100., which never matches.",
        &[deny("sshd: 192.0.2. \\\n 198.51.100.\n")],
    ),
];
