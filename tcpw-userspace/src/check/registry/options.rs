//! Codes of options.

use super::{Entry, State, allow, deny, entry, is};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::E060,
        "Behind the client list each colon begins an option. A colon at the end of the rule begins one that is \
         empty.",
        &[allow("sshd: 192.0.2.:\n")],
        "An option in error refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::E061,
        "hosts_access(5) describes commands without a keyword. The library as it is built today takes \
         hosts_options(5): a command follows spawn or twist.",
        &[deny("sshd: ALL: (echo %a | mail root) &\n"), allow("sshd: 192.0.2.\n")],
        "It takes the command for an unknown option, runs nothing, and refuses; in hosts.allow too.",
        &[deny("sshd: ALL: spawn (echo %a | mail root) &\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::E062,
        "severity takes a level, or a facility, a dot and a level. The facilities are kern, user, mail, daemon, \
         auth, lpr, news, uucp, cron and local0 to local7; the levels emerg, alert, crit, err, warning, notice, \
         info and debug. authpriv, warn and error are not among them.",
        &[allow("sshd: 192.0.2.: severity authpriv.info\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: severity auth.info\n")],
    ),
    entry(
        Code::E063,
        "setenv takes a name, a blank and a value.",
        &[allow("sshd: 192.0.2.: setenv ORIGIN=%a\n")],
        "It fails with \"memory allocation failure\" and refuses every client the rule matches.",
        &[allow("sshd: 192.0.2.: setenv ORIGIN %a\n")],
    ),
    entry(
        Code::E064,
        "The options are allow, deny, severity, spawn, twist, aclexec, banners, setenv, keepalive, linger, \
         rfc931, nice, umask, user and group. A colon within a command is written \\:, or it begins an option.",
        &[allow("sshd: 192.0.2.: permit\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: allow\n")],
    ),
    entry(
        Code::E065,
        "The option needs a value.",
        &[allow("sshd: 192.0.2.: severity\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: severity info\n")],
    ),
    entry(
        Code::E066,
        "allow, deny and keepalive take no value.",
        &[allow("sshd: 192.0.2.: allow yes\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: allow\n")],
    ),
    entry(
        Code::E067,
        "allow, deny and twist end a rule: no option may follow.",
        &[allow("sshd: 192.0.2.: allow: severity info\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: severity info: allow\n")],
    ),
    entry(
        Code::E068,
        "umask takes an octal number up to 777.",
        &[allow("sshd: 192.0.2.: umask 0888\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: umask 022\n")],
    ),
    entry(
        Code::E069,
        "linger takes a number of seconds, 0 or more.",
        &[allow("sshd: 192.0.2.: linger 5s\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: linger 5\n")],
    ),
    entry(
        Code::W070,
        "user and group were meant to change the daemon's identity. A mistake in the library makes them do nothing \
         when the name exists. They are the service manager's business.",
        &[allow("in.fingerd: 192.0.2.: user nobody\n")],
        "It does nothing. If there is no such user or group, it refuses.",
        &[allow("in.fingerd: 192.0.2.\n")],
    ),
    entry(
        Code::H071,
        "libwrap does it in the daemon's own process, which tcpw is not in. banners of a client that is let in go \
         out in front of what the daemon sends first, 4096 bytes at most, and none where the client's user decides; \
         linger acts on connections of clients that are refused with a banner or a twist; setenv, nice and umask act \
         on the commands behind them alone.",
        &[allow("sshd: 192.0.2.: linger 5\n")],
        "It does what hosts_options(5) says. Under tcpw linger decides nothing and does nothing here.",
        &[allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H072,
        "twist replaces the daemon by a command that talks to the client. Under tcpw it has no rights but those of \
         the user in [effects], and runs as often as the limits there allow.",
        &[deny("in.fingerd: ALL: twist /bin/echo go away\n"), allow("sshd: 192.0.2.\n")],
        "It runs the command, mostly as root. Under tcpw what needs root does not work; over UDP, and where it is \
         not certain who listens, the client is refused and no command runs.",
        &[deny("in.fingerd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H073,
        "aclexec asks a command whether the rule counts: each client of the rule waits until it has ended. A command that \
         does not exist fails like any other.",
        &[allow("sshd: ALL: aclexec /usr/local/bin/known %a\n")],
        "It runs the command, and leaves the table without a match if that fails. So does tcpw; but where a \
         limit of [effects] suppressed the command, nothing is decided, and the client tries again.",
        &[allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::E074,
        "rfc931 takes a number of seconds greater than 0, or nothing.",
        &[allow("sshd: 192.0.2.: rfc931 0\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: rfc931 5\n")],
    ),
    entry(
        Code::E075,
        "nice takes one whole number, or nothing.",
        &[allow("sshd: 192.0.2.: nice low\n")],
        "It refuses every client the rule matches, in hosts.allow too.",
        &[allow("sshd: 192.0.2.: nice 5\n")],
    ),
    entry(
        Code::H077,
        "The decision waits until the spawned command has ended. With & at its end the shell leaves it running \
         and comes back at once.",
        &[deny("sshd: ALL: spawn echo %a >> /var/log/refused\n"), allow("sshd: 192.0.2.\n")],
        "The client, and with it a daemon that is one process, waits for the command.",
        &[deny("sshd: ALL: spawn echo %a >> /var/log/refused &\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W078,
        "The letters are %a %A (addresses of client and server), %n %N (names), %h %H (name or address), %c \
         (user@host), %d (daemon), %s (daemon@host), %u (user), %p (process), %r %R (ports) and %%.",
        &[deny("sshd: ALL: spawn logger refused %i &\n"), allow("sshd: 192.0.2.\n")],
        "The letter and its % become nothing, with a warning each time.",
        &[deny("sshd: ALL: spawn logger refused %a &\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H079,
        "%u, and %c with it, is what the client's ident server answers. Characters of the shell in it become _, \
         but a hyphen, a slash and dots stay, so that at the start of a word it can be an option of the command, \
         and in a path lead elsewhere.",
        &[deny("sshd: ALL: spawn touch /var/log/seen/%u &\n"), allow("sshd: 192.0.2.\n")],
        "It hands the text to the shell so.",
        &[deny("sshd: ALL: spawn touch /var/log/seen/%a &\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H120,
        "twist replaces the process. A daemon that runs on and judges one client after the other cannot be \
         replaced.",
        &[deny("rpcbind: ALL: twist /bin/true\n"), allow("sshd: 192.0.2.\n")],
        "In such a process it logs an error and refuses.",
        &[deny("rpcbind: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H121,
        "severity changes a variable of the process, and nobody changes it back.",
        &[deny("in.ftpd: ALL: severity local0.info\n"), allow("sshd: 192.0.2.\n")],
        "In a daemon that runs on, lines about later clients have this severity too. tcpw forgets it.",
        &[deny("in.ftpd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W122,
        "A command of aclexec that fails, is killed or does not exist makes the whole table end without a match. \
         In hosts.deny that means: allowed.",
        &[deny("sshd: ALL: aclexec /usr/local/bin/is-bad %a\n"), allow("sshd: 192.0.2.\n")],
        "It lets the client in, and looks at no later rule of hosts.deny.",
        &[allow("sshd: ALL: aclexec /usr/local/bin/is-good %a\n"), deny("sshd: ALL\n")],
    ),
    entry(
        Code::W123,
        "That a command of aclexec failed is kept in a variable of the process which nobody clears. A rule of \
         hosts.deny that matches later and has options then counts as no match.",
        &[
            allow("sshd: ALL: aclexec /usr/local/bin/is-good %a\n"),
            deny("ALL: ALL: spawn logger refused %a &\n"),
        ],
        "It lets in a client that hosts.deny should refuse. tcpw forgets the failure.",
        &[allow("sshd: ALL: aclexec /usr/local/bin/is-good %a\n"), deny("ALL: ALL\n")],
    ),
    entry(
        Code::W124,
        "Commands run as a user without rights. A mailer that is set-uid (exim) does not work so; one that is \
         set-gid (postfix, opensmtpd) does. Of files, that user changes those that are named in [effects] of \
         tcpw.toml, and in /var/log those that belong to it.",
        &[
            deny("sshd: ALL: spawn (echo %a | mail root) &\n"),
            allow("sshd: 192.0.2.\n"),
            is("/usr/sbin/sendmail", State::Missing),
        ],
        "It runs commands as the daemon's user, mostly root, who may do all that.",
        &[
            deny("sshd: ALL: spawn (echo %a | mail root) &\n"),
            allow("sshd: 192.0.2.\n"),
            is("/usr/sbin/sendmail", State::Text("#!/bin/sh\n")),
        ],
    ),
    entry(
        Code::W126,
        "The kernel keeps the banner of a client that is let in until the daemon sends something: 4096 bytes at \
         most, after % expansion.",
        &[
            allow("vsftpd: ALL: banners /etc/banners\n"),
            is("/etc/banners", State::Directory),
            is("/etc/banners/vsftpd", State::Long("", "Welcome. ", 600)),
        ],
        "It sends any file. tcpw lets such clients in without, and says how many.",
        &[
            allow("vsftpd: ALL: banners /etc/banners\n"),
            is("/etc/banners", State::Directory),
            is("/etc/banners/vsftpd", State::Text("Welcome.\n")),
        ],
    ),
    entry(
        Code::W127,
        "The path of banners is looked for from the daemon's working directory unless it begins with a slash.",
        &[deny("vsftpd: ALL: banners banners\n"), allow("sshd: 192.0.2.\n")],
        "It mostly finds nothing, and warns.",
        &[deny("vsftpd: ALL: banners /etc/banners\n"), is("/etc/banners", State::Directory)],
    ),
    entry(
        Code::W128,
        "banners names a directory with one file for each daemon, called like it.",
        &[deny("vsftpd: ALL: banners /etc/banners\n"), is("/etc/banners", State::Missing)],
        "It sends nothing, and warns each time.",
        &[deny("vsftpd: ALL: banners /etc/banners\n"), is("/etc/banners", State::Directory)],
    ),
    entry(
        Code::H129,
        "rfc931 asks the client's ident server who the user is. Hosts that drop the question, as most firewalls \
         do, make the client wait for the whole time.",
        &[allow("sshd: ALL: rfc931\n")],
        "It waits 10 seconds, or as many as are given, for each such client. tcpw asks once the \
         handshake is complete, and the connection's data wait.",
        &[allow("sshd: ALL\n")],
    ),
];
