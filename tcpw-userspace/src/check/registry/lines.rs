//! Codes of mistakes that are seen in a line as a whole.

use super::{Entry, allow, deny, entry, file};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W150,
        "Brackets stand around the address alone. Behind them only the length of a network may follow. A pattern has no \
         zone: addresses are compared without it.",
        &[deny("sshd: [fe80::1]%eth0\n")],
        "It compares the whole word with the client's address and name: that never matches.",
        &[deny("sshd: [fe80::1]\n")],
    ),
    entry(
        Code::E151,
        "An option stands behind a colon of its own. Without the colon it is one more client, and the rule does what \
         its table does: hosts.allow allows, hosts.deny refuses.",
        &[allow("sshd: 198.51.100.7 deny\n"), deny("sshd: ALL\n")],
        "It allows 198.51.100.7, and any host that is called \"deny\".",
        &[allow("sshd: 198.51.100.7: deny\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W152,
        "An option stands behind a colon of its own. Without the colon it is one more client.",
        &[allow("sshd: 192.0.2.7 allow\n"), deny("sshd: ALL\n")],
        "It looks for a host that is called \"allow\", and asks for the names of clients to find out.",
        &[allow("sshd: 192.0.2.7: allow\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W153,
        "A network and its mask are one word, with a slash and no blanks. Two words are two patterns.",
        &[allow("sshd: 192.0.2.0 255.255.255.0\n"), deny("sshd: ALL\n")],
        "It matches the single addresses 192.0.2.0 and 255.255.255.0, which no client has.",
        &[allow("sshd: 192.0.2.0/255.255.255.0\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W154,
        "An address that ends in 0 is mostly that of a network. Without a length it is a single address; a prefix ends in \
         a dot.",
        &[allow("sshd: 192.0.2.0\n"), deny("sshd: ALL\n")],
        "It matches the one client 192.0.2.0.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::E157,
        "A rule ends at the end of its line, unless the very last character is a backslash. Some pages print the rule \
         of the HOWTO on two lines and leave it out.",
        &[deny("sshd: ALL: spawn (echo %a\n | mail root) &\n"), allow("sshd: 192.0.2.\n")],
        "It runs the first half of the command, and skips the second line, as it has no colon.",
        &[deny("sshd: ALL: spawn (echo %a \\\n | mail root) &\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W158,
        "What no rule refuses is allowed. A rule of hosts.allow keeps nobody out by itself: some rule behind it, mostly in \
         hosts.deny, must refuse the others. \"ALL EXCEPT a\" does not match a, and refuses it neither.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("vsftpd: ALL\n")],
        "It allows every client to use sshd, with the rule and without it.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("sshd, vsftpd: ALL\n")],
    ),
    entry(
        Code::W159,
        "Instructions write <net>/<mask>, x.x.x.x or your.domain where your own networks and hosts belong.",
        &[allow("sshd: <net>/<mask>\n"), deny("sshd: ALL\n")],
        "It compares clients with the words as they stand.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W163,
        "Text from a web page or a word processor may have characters that look like others, or like nothing: no-break \
         spaces, full-width colons and commas, typographic quotes, zero-width spaces, letters of other alphabets. They \
         are shown as \\u{..}.",
        &[deny("sshd: 198.51.100.7\u{a0}198.51.100.8\n")],
        "It takes them for part of a word, which then never matches.",
        &[deny("sshd: 198.51.100.7 198.51.100.8\n")],
    ),
    entry(
        Code::E164,
        "Text from a web page or a word processor may have characters that look like a blank or a colon and are none. In \
         an option they make another option of it, which does not exist; in place of the colon the line is no rule.",
        &[allow("sshd: 192.0.2.1:\u{a0}allow\n"), deny("sshd: ALL\n")],
        "It refuses every client the rule matches, or skips the line.",
        &[allow("sshd: 192.0.2.1: allow\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::E166,
        "A colon ends an option, in the middle of a command too. Inside commands it is written \\:.",
        &[deny("in.ftpd: ALL: twist /bin/echo 421 Sorry: go away\n"), allow("sshd: 192.0.2.\n")],
        "It cuts the command at the colon and takes the rest for an option, which does not exist.",
        &[deny("in.ftpd: ALL: twist /bin/echo 421 Sorry\\: go away\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W167,
        "Only # in the first column begins a comment. Behind //, ; or -- the line is a rule like any other.",
        &[allow("// sshd: ALL\n"), deny("vsftpd: ALL\n")],
        "It reads a rule for the daemons // and sshd.",
        &[allow("# sshd: ALL\n"), deny("vsftpd: ALL\n")],
    ),
    entry(
        Code::E168,
        "Comments stand on lines of their own. Behind a rule each word of a comment is a client, and a colon in it \
         begins an option.",
        &[allow("sshd: 192.0.2. # note: the office\n"), deny("sshd: ALL\n")],
        "It takes what follows the colon for an option, which does not exist, and refuses every client the rule matches.",
        &[allow("# note: the office\nsshd: 192.0.2.\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W170,
        "The file has places that a program fills in (Jinja, ERB, Go templates, shell variables). As it stands it is no \
         table.",
        &[allow("sshd: {{ ssh_clients }}\n"), deny("sshd: ALL\n")],
        "It takes the place for a client's name.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W171,
        "A pattern file holds clients only, one beside the other or one a line. The daemons and options stand in the rule \
         that names the file.",
        &[deny("sshd: /etc/tcpw/blocked\n"), file("/etc/tcpw/blocked", "sshd: 198.51.100.7 : deny\n")],
        "It takes each word for a client: the address still matches, and so do hosts that are called \"sshd:\" or \"deny\".",
        &[deny("sshd: /etc/tcpw/blocked\n"), file("/etc/tcpw/blocked", "198.51.100.7\n")],
    ),
    entry(
        Code::H172,
        "A rule is for the name of a program. Some names that are often written are those of services, or a program's \
         former one.",
        &[deny("portmap: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It compares with the name that the program gives itself: rpcbind.",
        &[deny("rpcbind: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H173,
        "Programs that ban clients write the same address more than once, or one of a network that another rule refuses \
         already. Nothing is wrong.",
        &[
            deny(
                "sshd: 198.51.100.7\nsshd: 198.51.100.7\nsshd: 198.51.100.8\nsshd: 198.51.100.7\nsshd: 198.51.100.8\n",
            ),
            allow("sshd: 192.0.2.\n"),
        ],
        "It never gets to the later rules, and refuses the same clients.",
        &[deny("sshd: 198.51.100.7\nsshd: 198.51.100.8\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H174,
        "The pattern \"*\" fits every text: the address of any client, and any name. ALL says the same in the word that \
         hosts_access(5) has for it.",
        &[allow("sshd: *\n"), deny("vsftpd: 198.51.100.7\n")],
        "It matches every client, and looks up no name.",
        &[allow("sshd: ALL\n"), deny("vsftpd: 198.51.100.7\n")],
    ),
];
