//! The codes of diagnostics: each stands for one kind of mistake, for good.
//!
//! E: libwrap rejects it. W: it can hardly be what was meant. H: good to know.
//! A code keeps its meaning and its letter; [`crate::check::registry`] explains each.

use std::fmt;

use super::diagnostic::Severity;

macro_rules! codes {
    ($($code:ident $title:literal)*) => {
        /// What kind of mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $code,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// As it is written: `W010`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// What it is about, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    H001 "there is no table"
    E002 "the table cannot be read"
    E003 "the last line has no newline"
    E004 "a line is too long"
    E005 "no colon between daemons and clients"
    W006 "a directory in a file's place"
    W007 "a symbolic link that leads nowhere"
    W008 "others than root may write the file"
    W009 "not a regular file"

    W010 "NUL byte"
    W011 "carriage return after a continuation"
    W012 "byte order mark"
    W013 "brackets that do not pair"
    W014 "a comment that continues"
    W015 "an indented comment is a rule"
    W016 "a separator of another language"
    W017 "blanks after a continuation"
    W018 "continued lines glued together"

    W020 "an empty list"
    W021 "EXCEPT at the start of a list"
    W022 "EXCEPT of nothing"
    W023 "a comment behind a rule"
    E024 "IPv6 address without brackets"
    H025 "the same pattern twice in a list"
    H026 "patterns behind ALL"
    H027 "EXCEPT of an EXCEPT"
    W028 "EXCEPT ALL"
    W029 "a rule that matches nobody"

    W030 "nothing after the @"
    W031 "a netgroup or file in a daemon list"
    H032 "needs the client's user name"
    H033 "needs a netgroup"
    H034 "needs a host name"
    W035 "nearly a word of the language"
    W036 "a client's wildcard as a daemon"
    W037 "a daemon's name with a dot at its end"
    W038 "an odd user name"
    W039 "FAIL is no longer a word"

    W040 "octal or hexadecimal network"
    W041 "host bits in an IPv4 network"
    W042 "junk behind a prefix length"
    W043 "IPv6 network without length"
    W044 "network of mapped IPv4 addresses"
    H045 "host bits in an IPv6 network"
    W046 "bad IPv6 prefix length"
    W047 "no address in the brackets of a network"
    W048 "IPv6 network without brackets"
    W049 "no network"
    W050 "bad IPv4 mask"
    W051 "address part with a leading dot"
    W052 "no address prefix"
    W053 "no IPv4 address"
    W054 "mapped IPv4 address"
    W055 "no address in the brackets"
    W056 "address glob that names can match"
    W057 "IPv6 address compared as text"
    W058 "no such interface"
    W059 "mask with holes"

    E060 "empty option"
    E061 "shell command without spawn"
    E062 "bad severity"
    E063 "bad variable"
    E064 "no such option"
    E065 "option without its value"
    E066 "option with a value it does not take"
    E067 "option that must be the last"
    E068 "bad umask"
    E069 "bad linger time"
    W070 "user and group do nothing"
    H071 "option with less effect in tcpw"
    H072 "twist runs without root's rights"
    H073 "aclexec makes each client wait for a command"
    E074 "bad ident timeout"
    E075 "bad nice value"
    H077 "spawn without &"
    W078 "no such % letter"
    H079 "the client chooses what a command reads"

    W080 "a pattern file is missing"
    E081 "a pattern file cannot be read"
    W082 "comment in a pattern file"
    W083 "comma in a pattern file"
    W084 "EXCEPT in a pattern file"
    W085 "@ in a pattern file"
    W086 "a pattern file includes itself"
    W087 "pattern files nested too deep"
    W088 "NUL byte in a pattern file"
    W089 "word too long for a pattern file"

    E090 "fail2ban before 0.10.3: IPv6 without brackets"
    E091 "Wazuh or OSSEC: IPv6 without brackets"
    E092 "DenyHosts: IPv6 without brackets"
    E093 "DenyHosts without BLOCK_SERVICE"
    W094 "DenyHosts was made to refuse everybody"
    H095 "sshguard's empty rule"
    W096 "half a block of sshguard"
    E097 "two rules on one line"
    W098 "a rule glued to a comment"

    H100 "no program known to use libwrap"
    W101 "not the name the daemon has"
    H102 "a daemon without its in."
    W104 "no port"
    W105 "port in an odd spelling"
    W106 "ports in a form that is not understood"
    W107 "an address in the daemon list"
    W109 "IPv6 network of length 0"
    W110 "address part above 255"
    W111 "leading zero in an address prefix"
    W112 "range of addresses"
    W113 "name that ends in a dot"
    H114 "host name without a domain"
    W115 "no host name is spelt so"
    W117 "glob in brackets"
    W118 "name prefix that anybody can have"
    W119 "an address that no client has"

    H120 "twist in a resident daemon"
    H121 "severity stays for later requests"
    W122 "a failing aclexec lets in"
    W123 "a failing aclexec spoils hosts.deny"
    W124 "a command that cannot work"
    W126 "a banner too long for clients that are let in"
    W127 "banners in a relative directory"
    W128 "no directory of banners"
    H129 "rfc931 waits for the client"
    H132 "LOCAL depends on the resolver"
    H133 "KNOWN depends on the resolver"
    H134 "PARANOID depends on the resolver"
    W135 "UNKNOWN is the client's choice"

    W140 "the same rule twice"
    W141 "a rule that is never reached"
    W142 "everybody is locked out"
    H143 "nobody is refused"
    W144 "nobody may use ssh"

    W150 "text stuck to brackets"
    E151 "an option word without its colon does the opposite"
    W152 "an option word without its colon"
    W153 "network and mask apart"
    W154 "a network's address without its length"
    E157 "a line that goes on in the next one"
    W158 "a rule that changes nothing"
    W159 "a placeholder"

    W163 "a look-alike character"
    E164 "a look-alike character that breaks the rule"
    E166 "a colon inside a command"
    W167 "a comment of another language"
    E168 "a comment behind a rule begins an option"
    W170 "a template"
    W171 "a rule in a pattern file"
    H172 "a service's name in place of the program's"
    H173 "bans that others make needless"
    H174 "* in place of ALL"
}

impl Code {
    /// Its severity: that of its letter.
    pub const fn severity(self) -> Severity {
        match self.as_str().as_bytes() {
            [b'E', ..] => Severity::Error,
            [b'H', ..] => Severity::Hint,
            _ => Severity::Warning,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}
