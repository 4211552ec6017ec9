//! Findings on options.

use super::{Finding, quote, shown};
use crate::parse::rule::RuleOption;

const REFUSES: &str = "every client that the rule matches is refused, in hosts.allow too";

/// Finding on an option field.
pub(in crate::parse) fn option(field: &[u8], option: &Result<RuleOption, String>) -> Option<Finding> {
    match option {
        Err(objection) => Some(error(field, objection)),
        Ok(RuleOption::Allow | RuleOption::Deny | RuleOption::Severity(_)) => None,
        Ok(RuleOption::User(_) | RuleOption::Group(_)) => Some(Finding::new(
            "W070",
            format!("{} does nothing", quote(field)),
            "a service manager that sets user and group",
            "libwrap only checks that the name exists; an unknown name refuses",
        )),
        Ok(RuleOption::Twist(_)) => Some(Finding::new(
            "H072",
            format!("{} is not acted on yet", quote(field)),
            "",
            "the daemon does not get the connection: it is refused, and no command runs",
        )),
        Ok(RuleOption::Aclexec(_)) => Some(Finding::new(
            "H073",
            format!("{} is not acted on yet", quote(field)),
            "",
            "the command is taken to succeed",
        )),
        Ok(
            RuleOption::Spawn(_)
            | RuleOption::Keepalive
            | RuleOption::Linger(_)
            | RuleOption::Rfc931(_)
            | RuleOption::Setenv(_)
            | RuleOption::Nice(_)
            | RuleOption::Umask(_)
            | RuleOption::Banners(_),
        ) => Some(Finding::new(
            "H071",
            format!("{} is not acted on yet", quote(field)),
            "",
            "the rule decides as if the option were not there",
        )),
    }
}

fn error(field: &[u8], objection: &str) -> Finding {
    if field.is_empty() {
        let finding = Finding::new("E060", "empty option".into(), "an option after every \":\"", REFUSES);
        return finding.fix("no \":\" at the end of the rule");
    }
    if objection.starts_with("bad option name") {
        return unknown(field, objection);
    }
    let expected = match objection {
        _ if objection.ends_with("requires value") => "a value after the option's name",
        _ if objection.ends_with("requires no value") => "the option's name alone",
        _ if objection.ends_with("must be at end") => "no option behind it",
        _ if objection.starts_with("bad syslog") => {
            "[facility.]level: kern user mail daemon auth lpr news uucp cron local0-7; \
             emerg alert crit err warning notice info debug"
        }
        _ if objection.starts_with("bad umask") => "an octal number up to 777",
        _ if objection.starts_with("bad linger") => "a number of seconds",
        _ if objection.starts_with("bad rfc931") => "a number of seconds greater than 0",
        _ if objection.starts_with("bad nice") => "a number",
        _ if objection.starts_with("memory") => "setenv NAME VALUE, without \"=\"",
        _ => "an option of hosts_options(5)",
    };
    if objection.starts_with("memory") {
        let fixed = shown(field).replacen('=', " ", 1);
        return Finding::new("E063", format!("bad variable in {}", quote(field)), expected, REFUSES)
            .fix(fixed);
    }
    Finding::new("E062", objection.to_owned(), expected, REFUSES)
}

fn unknown(field: &[u8], objection: &str) -> Finding {
    let command = shown(field);
    let is_command = matches!(field, [b'(' | b'/', ..]) || field.iter().any(|byte| b"|&;>".contains(byte));
    if is_command {
        let message = format!("shell command without \"spawn\": \"{command}\"");
        return Finding::new("E061", message, "spawn or twist before a command", REFUSES)
            .fix(format!("spawn {command}"));
    }
    let finding = Finding::new(
        "E064",
        objection.to_owned(),
        "allow, deny, severity, spawn, twist, aclexec, banners, setenv, keepalive, linger, rfc931, nice, umask",
        REFUSES,
    );
    let word = command.split([' ', '\t', '=']).next().unwrap_or_default().to_ascii_lowercase();
    match word.as_str() {
        "accept" | "permit" | "allowed" | "yes" => finding.fix("allow"),
        "refuse" | "reject" | "denied" | "drop" | "no" => finding.fix("deny"),
        _ => finding,
    }
}
