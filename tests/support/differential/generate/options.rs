//! Options, good and bad.

use super::Author;

const KEYWORDS: &[&str] = &[
    "allow",
    "deny",
    "spawn",
    "aclexec",
    "twist",
    "severity",
    "keepalive",
    "linger",
    "rfc931",
    "setenv",
    "nice",
    "umask",
    "user",
    "group",
    "banners",
];

const BAD: &[&str] = &[
    "",
    " ",
    "bogus",
    "allow yes",
    "deny = 1",
    "spawn",
    "aclexec",
    "twist",
    "severity",
    "keepalive on",
    "linger",
    "linger -1",
    "linger x",
    "linger 5x",
    "rfc931 0",
    "rfc931 -1",
    "rfc931 x",
    "setenv",
    "setenv A=b",
    "setenv A=b c",
    "nice x",
    "nice 5x",
    "umask",
    "umask 8",
    "umask 1000",
    "umask -1",
    "umask 0x1f",
    "umask 022x",
    "user",
    "user nosuchuser",
    "user 0",
    "user root.nosuchgroup",
    "user .root",
    "user root.",
    "group nosuchgroup",
    "group",
    "group 0",
    "banners",
    "banners /tmp/lwc/nowhere",
    "severity authpriv.info",
    "severity warn",
    "severity info.auth",
    "severity auth.",
    "severity .info",
    "severity auth.info x",
    "severity local8.info",
    "severity none",
    "severity ftp.info",
    "ALL",
    "(/usr/sbin/safe_finger -l @%h | mail root) &",
    "echo x",
    "allow,",
    "#",
    "=",
    "= x",
    "allow=",
    "nice = = 5",
    "\\",
    "spawn=",
    "deny deny",
    "severity \\: info",
    "option:",
    "[",
    "ALLOW ALL",
    "a\\:b",
    "%",
    "%%",
    "twist=%",
    "sp\\awn x",
];

const SEVERITIES: &[&str] = &[
    "info",
    "auth.info",
    "AUTH.INFO",
    "daemon.notice",
    "local0.debug",
    "local7.alert",
    "kern.emerg",
    "mail.crit",
    "user.err",
    "lpr.warning",
    "news.info",
    "uucp.info",
    "cron.info",
    "crit",
];

/// Commands whose end is known.
const ENDS: &[&str] =
    &["true", "false", "false", "exit 0", "exit 1", "exit 3", "exit 256", "kill -9 $$", "/bin/true"];

const COMMANDS: &[&str] = &[
    "/bin/echo %d %c",
    "logger -t tcpw %h",
    "(echo %a %A %c %d | /bin/cat) &",
    "echo %n %N %u",
    "echo %r %R %p %s",
    "echo %% %%%% 100%",
    "echo %x %z %\\: %",
    "echo \"[%a]\" '%h'",
    "echo %H %%n %%%n",
    "%d",
    "%u",
    "exit %r",
    "exit %R",
    "kill -9 $$ %p",
    "echo [%a]\\:%r",
    "echo a\\:b\\\\:c",
    "%h%n%u",
    "exit %p",
    "echo 100%",
    "%",
    "echo ö %n",
];

impl Author<'_> {
    /// The option part of a rule, from its colon on.
    pub(super) fn options(&mut self) -> String {
        let mut options = String::new();
        let count = self.random.weighted(&[(55, 1), (28, 2), (12, 3), (4, 5)]);
        for index in 0..count {
            options += self.random.weighted(&[(60, ": "), (20, ":"), (15, " : "), (3, ":\t"), (2, ":: ")]);
            let option = self.option(index + 1 == count);
            options += &option;
        }
        if self.random.chance(2) {
            options += ":";
        }
        options
    }

    fn option(&mut self, last: bool) -> String {
        if !self.random.chance(self.taste.good_options) {
            return (*self.random.pick(BAD)).into();
        }
        let mut keyword = *self.random.pick(KEYWORDS);
        // Those that must be last.
        if !last && matches!(keyword, "allow" | "deny" | "twist") && self.random.chance(85) {
            keyword = "spawn";
        }
        if last && self.random.chance(30) {
            keyword = self.random.weighted(&[(2, "allow"), (2, "deny"), (1, "twist")]);
        }
        let value = self.value(keyword);
        let keyword = match self.random.below(12) {
            0 => keyword.to_uppercase(),
            1 => keyword[..1].to_uppercase() + &keyword[1..],
            _ => keyword.to_owned(),
        };
        if value.is_empty() {
            return keyword;
        }
        let between = self.random.weighted(&[
            (80, " "),
            (6, "="),
            (6, " = "),
            (3, "  "),
            (2, "\t"),
            (1, "= "),
            (1, ", "),
        ]);
        format!("{keyword}{between}{value}")
    }

    fn value(&mut self, keyword: &str) -> String {
        match keyword {
            "spawn" | "twist" => self.command(20),
            "aclexec" => self.command(75),
            "severity" => (*self.random.pick(SEVERITIES)).into(),
            "linger" => self.random.pick(&["0", "5", "30", "007"]).to_string(),
            "rfc931" => self.random.pick(&["", "5", "30", "1", "010"]).to_string(),
            "setenv" => self
                .random
                .pick(&["A b", "A", "HELLO %c world", "A %n=%u", "X  y  z", "N %", "A\tb"])
                .to_string(),
            "nice" => self.random.pick(&["", "5", "0", "-5", "19", "40", "+3"]).to_string(),
            "umask" => self.random.pick(&["022", "0", "077", "0777", "7", "00002"]).to_string(),
            "user" => self
                .random
                .pick(&["root", "nobody", "daemon", "root.root", "nobody.nogroup", "daemon.root"])
                .to_string(),
            "group" => self.random.pick(&["root", "nogroup", "daemon"]).to_string(),
            "banners" => {
                self.banners();
                "/tmp/lwc/banners".into()
            }
            _ => String::new(),
        }
    }

    /// A command; that often one whose end is known and counts.
    fn command(&mut self, known: usize) -> String {
        if self.random.chance(known) {
            return (*self.random.pick(ENDS)).into();
        }
        match self.random.below(16) {
            // More than an expansion may have.
            0 => format!("echo {}", "%n".repeat(self.random.between(1, 800))),
            1 => format!("echo {}{}", "%n".repeat(64), "x".repeat(self.random.between(30, 80))),
            2 => format!(
                "echo {}{}",
                "%a%c%d%h".repeat(self.random.between(1, 60)),
                "x".repeat(self.random.below(900))
            ),
            _ if self.random.chance(self.taste.percent) => self.template(),
            _ => (*self.random.pick(COMMANDS)).into(),
        }
    }

    /// Text with % expansions.
    pub(super) fn template(&mut self) -> String {
        let mut text = String::from("echo");
        for _ in 0..self.random.between(1, 6) {
            let letter = *self.random.pick(&[
                'a', 'A', 'c', 'd', 'h', 'H', 'n', 'N', 'p', 'r', 'R', 's', 'u', '%', 'x', ' ', 'ö', 'C',
            ]);
            text += self.random.pick::<&str>(&[" ", " x=", ",", ""]);
            text.push('%');
            text.push(letter);
        }
        text
    }
}
