//! Findings on options.

use super::{Code, Finding, Placed, command, follows::refused, quote, shown};
use crate::parse::{
    options::Field,
    rule::{RuleOption, TableKind},
};

/// The options of hosts_options(5).
const NAMES: [&str; 15] = [
    "allow",
    "deny",
    "severity",
    "spawn",
    "twist",
    "aclexec",
    "banners",
    "setenv",
    "keepalive",
    "linger",
    "rfc931",
    "nice",
    "umask",
    "user",
    "group",
];

/// Findings on the option fields of a rule; `line` is the joined line.
pub(in crate::parse) fn options(line: &[u8], fields: &[Field], kind: TableKind) -> Vec<Placed> {
    let mut found = Vec::new();
    let mut is_command = false;
    for (index, Field { span, text, option }) in fields.iter().enumerate() {
        let raw = line.get(span.clone()).unwrap_or_default();
        let mut put = |finding| found.push((span.start, span.len(), finding));
        match option {
            Err(objection) => {
                let is_contradicted = is_decided(&fields[index + 1..]);
                put(error(raw, text, objection, is_command, is_contradicted).follows(refused(kind)));
                // The command goes on behind the colon, and so does what waits for it.
                let before = found.len() - 1;
                if is_command && before > 0 && found[before - 1].2.code == Code::H077 {
                    found.remove(before - 1);
                }
            }
            Ok(option) => {
                let rule = Context {
                    kind,
                    is_last_word: !is_decided(&fields[index + 1..]),
                    has_connection: has_connection(fields, kind),
                    refuses: refuses(fields, kind),
                };
                accepted(raw, option, rule).into_iter().for_each(put)
            }
        }
        is_command = matches!(
            option,
            Ok(RuleOption::Spawn(_) | RuleOption::Twist(_) | RuleOption::Aclexec(_) | RuleOption::Setenv(_))
        );
    }
    found
}

/// Whether one of these options gives the verdict, whatever a command before it returned.
fn is_decided(fields: &[Field]) -> bool {
    let decides = |option: &Result<RuleOption, String>| {
        matches!(option, Err(_) | Ok(RuleOption::Allow | RuleOption::Deny | RuleOption::Twist(_)))
    };
    fields.iter().any(|field| decides(&field.option))
}

/// Whether the rule refuses whatever a command says, and has something for the client: tcpw takes the
/// connection itself.
fn has_connection(fields: &[Field], kind: TableKind) -> bool {
    let is_asked_about = has(fields, |option| matches!(option, RuleOption::Aclexec(_)));
    let serves = has(fields, |option| matches!(option, RuleOption::Twist(_) | RuleOption::Banners(_)));
    refuses(fields, kind) && serves && !is_asked_about
}

/// Whether the rule refuses, if its commands succeed.
fn refuses(fields: &[Field], kind: TableKind) -> bool {
    let is_wrong = fields.iter().any(|field| field.option.is_err());
    match kind {
        _ if is_wrong || has(fields, |option| matches!(option, RuleOption::Deny | RuleOption::Twist(_))) => {
            true
        }
        TableKind::Allow => false,
        TableKind::Deny => !has(fields, |option| matches!(option, RuleOption::Allow)),
    }
}

fn has(fields: &[Field], what: fn(&RuleOption) -> bool) -> bool {
    fields.iter().any(|field| field.option.as_ref().is_ok_and(what))
}

/// What an option stands in.
#[derive(Clone, Copy)]
struct Context {
    kind: TableKind,
    /// No option behind it gives the verdict.
    is_last_word: bool,
    has_connection: bool,
    refuses: bool,
}

/// Findings on an option that libwrap takes.
fn accepted(raw: &[u8], option: &RuleOption, rule: Context) -> Vec<Finding> {
    let hint = |code, message: &str, consequence: String| {
        vec![Finding::new(code, format!("{} {message}", quote(raw)), "", consequence)]
    };
    let undone = |libwrap: &str, tcpw: &str| {
        let consequence = format!("libwrap {libwrap}; tcpw {tcpw}: here the option does nothing");
        hint(Code::H071, "does nothing here", consequence)
    };
    let of_commands = |what: &str| {
        let consequence = format!("libwrap changes the daemon's {what}; tcpw that of the commands behind it");
        hint(Code::H071, "acts on commands, not on the daemon", consequence)
    };
    match option {
        RuleOption::Allow | RuleOption::Deny | RuleOption::Keepalive => Vec::new(),
        RuleOption::Severity(_) => vec![Finding::new(
            Code::H121,
            format!("{} outlasts the connection", quote(raw)),
            "",
            "libwrap keeps it for all later requests of the same process; tcpw for this one alone",
        )],
        RuleOption::User(_) | RuleOption::Group(_) => {
            let expected = "a service manager that sets user and group";
            let consequence = "the rule decides as it would without it; where there is no such user or group, it refuses \
                               every client it matches";
            let message = format!("{} does nothing", quote(raw));
            vec![Finding::new(Code::W070, message, expected, consequence).advise("delete the option")]
        }
        RuleOption::Spawn(text) => {
            let waited = command::spawn(raw, text);
            waited.into_iter().chain(command::percent(text)).collect()
        }
        RuleOption::Twist(text) => {
            let mut found = hint(
                Code::H072,
                "runs without root's rights",
                "libwrap runs it as the daemon's user; tcpw as the user set in [effects] of /etc/tcpw.toml, within the \
                 limits there; over UDP, and where it is not certain which program listens, the client is refused and \
                 no command runs"
                    .to_owned(),
            );
            found.extend(command::percent(text));
            found
        }
        RuleOption::Aclexec(text) => {
            let fails = match rule.kind {
                _ if !rule.is_last_word => "the option behind it decides all the same",
                TableKind::Allow => "the rest of hosts.allow is skipped, and hosts.deny decides",
                TableKind::Deny => "the client is allowed",
            };
            let mut found = hint(
                Code::H073,
                "makes each client of the rule wait for a command",
                format!(
                    "where the command fails or does not exist, {fails}; where it takes too long, or a limit of tcpw \
                     forbids it, the client must try again"
                ),
            );
            let advice = "nothing is wrong as long as the command exists and ends soon";
            found = found.into_iter().map(|it| it.advise(advice)).collect();
            found.extend((rule.is_last_word && rule.kind == TableKind::Deny).then(|| fails_open(raw)));
            found.extend(command::percent(text));
            found
        }
        RuleOption::Setenv(text) => {
            // Whatever % expansion makes of it, the name keeps its "=".
            let name = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            if name.contains(&b'=') {
                return vec![variable(raw).follows(refused(rule.kind))];
            }
            let mut found = of_commands("environment");
            found.extend(command::percent(text));
            found
        }
        RuleOption::Banners(directory) => {
            let mut found = if rule.has_connection {
                Vec::new()
            } else if rule.refuses {
                undone("sends the file to the client", "not where a command has a say in a refusal")
            } else {
                let consequence = "libwrap sends the file when the client connects; tcpw in front of what the \
                                   daemon sends first: one that waits for its client keeps the text waiting too";
                hint(Code::H071, "goes out with the daemon's first words", consequence.into())
            };
            found.extend((!directory.is_absolute()).then(|| {
                let message =
                    format!("{} is no absolute path", quote(directory.as_os_str().as_encoded_bytes()));
                let consequence =
                    "the banner is found only where the daemon's working directory is the right one";
                Finding::new(Code::W127, message, "a path that begins with \"/\"", consequence)
            }));
            found
        }
        RuleOption::Rfc931(timeout) => {
            let seconds = timeout.unwrap_or(10);
            let message =
                format!("{} may take {seconds} s for each client that the rule matches", quote(raw));
            let consequence = "a client whose firewall drops the question waits that long; the answer is the client's own word";
            vec![Finding::new(Code::H129, message, "", consequence)]
        }
        RuleOption::Linger(_) if rule.has_connection => Vec::new(),
        RuleOption::Linger(_) => undone(
            "sets how long the kernel goes on sending after a close",
            "only on connections of twist and banners, as it cannot on the daemon's own",
        ),
        RuleOption::Nice(_) => of_commands("priority"),
        RuleOption::Umask(_) => of_commands("umask"),
    }
}

fn fails_open(raw: &[u8]) -> Finding {
    Finding::new(
        Code::W122,
        format!("{} lets the client in when the command fails", quote(raw)),
        "aclexec in hosts.allow, before a rule that refuses",
        "where the command fails, is killed or is missing, the client is allowed: no later rule of hosts.deny is read",
    )
}

/// Finding on an option that libwrap refuses; `text` is `raw` without its `\:`.
fn error(
    raw: &[u8],
    text: &[u8],
    objection: &str,
    is_behind_command: bool,
    is_contradicted: bool,
) -> Finding {
    if text.is_empty() {
        return Finding::new(Code::E060, "empty option", "an option after every \":\"", "").replace("");
    }
    if objection.starts_with("bad option name") || objection.starts_with("missing option name") {
        return unknown(raw, objection, is_behind_command);
    }
    let end = raw.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'=').unwrap_or(raw.len());
    let (name, value) = raw.split_at(end);
    let finding = |code, expected: &'static str| Finding::new(code, objection, expected, "");
    let is = |words: &str| objection.starts_with(words);
    if objection.ends_with("requires value") {
        finding(Code::E065, "a value after the option's name")
    } else if objection.ends_with("requires no value") {
        let value = value.trim_ascii();
        let is_other = [&b"allow"[..], b"deny"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word) && !name.eq_ignore_ascii_case(word));
        // Which of the two was meant is not known.
        let finding = finding(Code::E066, "the option's name alone");
        if is_other { finding } else { finding.replace(name) }
    } else if objection.ends_with("must be at end") {
        let advice = if is_contradicted { "keep one of the two" } else { "make it the last option" };
        finding(Code::E067, "no option behind it").advise(advice)
    } else if is("bad umask") {
        finding(Code::E068, "an octal number up to 777")
    } else if is("bad linger") {
        finding(Code::E069, "a number of seconds")
    } else if is("bad rfc931") {
        finding(Code::E074, "a number of seconds greater than 0")
    } else if is("bad nice") {
        finding(Code::E075, "a number")
    } else if is("memory") {
        variable(raw)
    } else {
        severity(raw, name, value, objection)
    }
}

/// A variable that setenv(3) does not take.
fn variable(raw: &[u8]) -> Finding {
    let message = format!("bad variable in {}", quote(raw));
    let plain: Vec<u8> = raw.iter().map(|byte| if *byte == b'=' { b' ' } else { *byte }).collect();
    Finding::new(Code::E063, message, "setenv NAME VALUE, without \"=\"", "").replace(plain)
}

/// A severity that libwrap does not know, and the one that comes nearest.
fn severity(raw: &[u8], name: &[u8], value: &[u8], objection: &str) -> Finding {
    const LEVELS: [(&str, &str); 6] = [
        ("warn", "warning"),
        ("error", "err"),
        ("panic", "emerg"),
        ("critical", "crit"),
        ("information", "info"),
        ("emergency", "emerg"),
    ];
    const FACILITIES: [(&str, &str); 4] =
        [("authpriv", "auth"), ("security", "auth"), ("ftp", "daemon"), ("syslog", "daemon")];
    let expected = "[facility.]level: kern user mail daemon auth lpr news uucp cron local0-7; \
                    emerg alert crit err warning notice info debug";
    let finding = Finding::new(Code::E062, objection, expected, "");
    let value = String::from_utf8_lossy(value);
    let value = value.trim_matches(|c: char| c.is_ascii_whitespace() || c == '=').to_ascii_lowercase();
    let (facility, level) = value.rsplit_once('.').map_or((None, value.as_str()), |(f, l)| (Some(f), l));
    let meant = |names: &[(&str, &'static str)], name: &str| {
        names.iter().find(|(wrong, _)| *wrong == name).map(|(_, right)| (*right).to_owned())
    };
    let new_level = meant(&LEVELS, level);
    let new_facility = facility.map(|facility| (facility, meant(&FACILITIES, facility)));
    if new_level.is_none() && !new_facility.as_ref().is_some_and(|(_, new)| new.is_some()) {
        return finding;
    }
    let level = new_level.unwrap_or_else(|| level.to_owned());
    let fixed = match new_facility {
        Some((old, new)) => format!("{} {}.{level}", shown(name), new.unwrap_or_else(|| old.to_owned())),
        None => format!("{} {level}", shown(name)),
    };
    if fixed.len() > raw.len() + 16 { finding } else { finding.replace(fixed) }
}

/// The option that a word in small letters is nearly.
pub(super) fn near(word: &str) -> Option<&'static str> {
    let is_near = |name: &&&str| {
        let limit = name.len() / 4;
        name.len().abs_diff(word.len()) <= limit && strsim::osa_distance(name, word) <= limit
    };
    NAMES.iter().find(is_near).copied()
}

/// An option that does not exist.
fn unknown(raw: &[u8], objection: &str, is_behind_command: bool) -> Finding {
    let end = raw.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'=').unwrap_or(raw.len());
    let (word, behind) = raw.split_at(end);
    let word = String::from_utf8_lossy(word).to_ascii_lowercase();
    let near = near(&word);
    let is_other = matches!(word.as_str(), "exec" | "run" | "shell");
    let is_whole = !matches!(raw, [b'|' | b'&' | b'>' | b'<' | b')' | b';', ..] | [b'/', b'/', ..]);
    let is_command = matches!(raw, [b'(' | b'/', ..]) || raw.iter().any(|byte| b"|&;>".contains(byte));
    let is_command = is_command && is_whole;
    if is_command && !is_other && !is_behind_command && near.is_none() {
        let message = format!("shell command without \"spawn\": {}", quote(raw));
        return Finding::new(Code::E061, message, "spawn or twist before a command", "")
            .replace([b"spawn ", raw].concat());
    }
    let finding = Finding::new(
        Code::E064,
        objection,
        "allow, deny, severity, spawn, twist, aclexec, banners, setenv, keepalive, linger, rfc931, nice, umask",
        "",
    );
    if is_behind_command {
        return finding.advise("write each colon within a command as \"\\:\"");
    }
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return finding.advise("a port can only stand in the place of the daemon, as in \"22: 192.0.2.1\"");
    }
    match word.as_str() {
        "accept" | "permit" | "allowed" | "granted" | "grant" | "yes" => return finding.replace("allow"),
        "refuse" | "reject" | "denied" | "drop" | "no" => return finding.replace("deny"),
        "banner" => return finding.replace([b"banners", behind].concat()),
        "exec" | "run" | "shell" => return finding.replace([b"spawn", behind].concat()),
        _ => {}
    }
    match near {
        Some(name) => finding.replace([name.as_bytes(), behind].concat()),
        None => finding,
    }
}
