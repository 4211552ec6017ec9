//! What happened to a case, as an [`Answer`].

use nix::sys::{signal::Signal, wait::WaitStatus};
use tcpw_tests::differential::Answer;

use crate::{
    ask::{Run, UMASK},
    recording::Record,
};

/// LOG_INFO and LOG_WARNING: what libwrap logs with until an option says otherwise.
const SEVERITIES: (i32, i32) = (6, 4);
const RFC931_TIMEOUT_S: i32 = 10;

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// What the lines of a case tell.
#[derive(Default)]
struct Told {
    matched: Option<String>,
    options: Vec<String>,
    warnings: Vec<String>,
    commands: Vec<String>,
    numbers: Vec<i32>,
    error: bool,
    twist: bool,
    /// It is about to end the process.
    exits: bool,
    deny_table_broken: bool,
}

impl Run {
    /// The library's answer.
    pub(crate) fn answer(&self) -> Answer {
        let mut told = Told::default();
        for record in &self.records {
            match record {
                Record::Log(_, line) => told.line(&shown(line)),
                Record::Command(command) => told.commands.push(text(command)),
                Record::Sleep(_) => told.exits = true,
                Record::Numbers(numbers) => told.numbers.clone_from(numbers),
            }
        }
        let banner = (!self.sent.is_empty()).then(|| text(&self.sent));
        Answer { banner, ..told.answer(self.end) }
    }

    /// Everything that happened, for people.
    pub(crate) fn trace(&self) -> Vec<String> {
        let line = |record: &Record| match record {
            Record::Log(priority, line) => Some(format!("{}: {}", priority_name(*priority), shown(line))),
            Record::Command(command) => Some(format!("exec: {}", text(command))),
            Record::Sleep(seconds) => Some(format!("sleep {seconds}")),
            Record::Numbers(_) => None,
        };
        self.records.iter().filter_map(line).collect()
    }
}

impl Told {
    fn line(&mut self, line: &str) {
        if let Some(place) = line.strip_prefix("matched:  hosts.") {
            self.matched = Some(place.replacen(" line ", ":", 1));
            self.options.clear();
        } else if let Some(option) = line.strip_prefix("option:   ") {
            self.options.push(option.to_owned());
        } else if line.starts_with("aclexec returned") {
            // The rule did not decide after all.
            self.matched = None;
            self.options.clear();
        } else if line.starts_with("twist ") {
            self.twist = true;
        } else {
            self.error |= line.starts_with("error: ");
            self.exits |= line.starts_with("warning: ") && line.contains("twist_option");
            let unread = line.starts_with("warning: hosts.deny") && line.contains("subsequent rules");
            self.deny_table_broken |= unread || line.starts_with("warning: cannot open hosts.deny");
            self.warnings.push(line.to_owned());
        }
    }

    fn answer(self, end: WaitStatus) -> Answer {
        let mut answer = Answer {
            expect: "deny".into(),
            matched: self.matched.clone().unwrap_or_else(|| "none".into()),
            warnings: self.warnings,
            spawned: self.commands,
            ..Answer::default()
        };
        let &[allowed, allow, deny, mask, niceness, timeout, user, group] = self.numbers.as_slice() else {
            let signal = if let WaitStatus::Signaled(_, signal, _) = end { Some(signal) } else { None };
            answer.via = match signal {
                Some(Signal::SIGALRM) => "timeout",
                Some(_) => "crash",
                None if self.twist && !self.exits => "twist",
                None => "exit",
            }
            .into();
            answer.signal = signal.filter(|signal| *signal != Signal::SIGALRM).map(|signal| signal as i32);
            return answer;
        };
        let allowed = allowed != 0;
        if allowed {
            answer.expect = "allow".into();
        }
        let last = self.options.last().and_then(|option| option.split_whitespace().next());
        let last_decides =
            last.is_some_and(|last| last.eq_ignore_ascii_case("allow") || last.eq_ignore_ascii_case("deny"));
        answer.via = match self.matched {
            _ if self.error => "error",
            Some(_) if last_decides => "option",
            Some(_) => "rule",
            None if self.deny_table_broken && !allowed => "table-error",
            None => "default",
        }
        .into();
        answer.severity = ((allow, deny) != SEVERITIES).then(|| priority_name(deny));
        answer.umask = (mask != i32::try_from(UMASK).unwrap_or_default()).then(|| format!("{mask:03o}"));
        answer.nice = (niceness != 0).then_some(niceness);
        answer.rfc931 = (timeout != RFC931_TIMEOUT_S).then_some(timeout);
        answer.uid = (user != 0).then_some(user);
        answer.gid = (group != 0).then_some(group);
        answer
    }
}

/// A message, with a process's number hidden.
fn shown(line: &[u8]) -> String {
    let line = text(line);
    if let Some((before, after)) = line.split_once(" exited with")
        && line.starts_with("warning: ")
        && let Some((context, number)) = before.rsplit_once(": process ")
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return format!("{context}: process PID exited with{after}");
    }
    line
}

/// UTF-8; other bytes as `\xHH`.
fn text(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks().map(|chunk| {
        let other: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        chunk.valid().to_owned() + &other
    });
    chunks.collect()
}

fn priority_name(priority: i32) -> String {
    let name = |names: &[&'static str], number: i32| {
        usize::try_from(number).ok().and_then(|number| names.get(number).copied()).unwrap_or("?")
    };
    let level = name(&LEVELS, priority & 7);
    match priority >> 3 {
        0 => level.to_owned(),
        facility => format!("{}.{level}", name(&FACILITIES, facility)),
    }
}
