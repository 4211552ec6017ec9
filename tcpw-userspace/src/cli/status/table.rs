//! A status as a person reads it: in columns, red where a listener is not guarded.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Paint, listeners};
use crate::{
    config::Mode,
    control::{ConfirmStatus, LogStatus, Status, TableStatus},
    log::{printable, time_of_day},
};

/// Prints everything except the fields that only `--json` has; `width` is that of the terminal, if it is one.
pub(super) fn print(
    out: &mut impl Write,
    status: &Status,
    all: bool,
    (paint, width): (Paint, Option<usize>),
) -> io::Result<()> {
    let mode = match status.mode {
        Mode::Enforce => "enforce".to_owned(),
        Mode::Audit => paint.red("audit: nothing is refused, what would be is logged"),
    };
    let pinned =
        if status.pinned { "yes: enforcement outlives the daemon" } else { "no: it ends with the daemon" };
    let rows = [
        ("tcpw", format!("{}, pid {}", status.version, status.pid)),
        ("mode", mode),
        ("enforcing", format!("for {}", ago(status.enforcing_since))),
        ("generation", format!("{}, applied {} ago", status.generation, ago(status.applied_at))),
        ("hosts.allow", table(&status.tables.allow, paint)),
        ("hosts.deny", table(&status.tables.deny, paint)),
        ("cgroup", printable(&status.cgroup.to_string_lossy()).into_owned()),
        ("pinned", pinned.to_owned()),
    ];
    let rows = rows.into_iter().chain(log(&status.log, paint).into_iter().map(|text| ("log", text)));
    if let Some(problem) = &status.problem {
        writeln!(out, "{}", paint.red(&format!("PROBLEM      {}", printable(problem))))?;
    }
    for (name, value) in rows {
        writeln!(out, "{name:<12} {value}")?;
    }
    if !status.follow_files {
        writeln!(out, "{:<12} edits come into force only with \"tcpw apply\"", "follow files")?;
    }
    if let Some(ConfirmStatus { before, until }) = &status.confirm {
        let time = time_of_day(UNIX_EPOCH + Duration::from_secs(*until));
        writeln!(out, "{:<12} waited for until {time}; then generation {before} comes back", "confirm")?;
    }
    if let Some(reason) = &status.kernel_not_asked {
        writeln!(
            out,
            "{:<12} as the rules give it, without the kernel's answers: {}",
            "policy",
            printable(reason)
        )?;
    }
    for (device, how) in &status.early_drop {
        writeln!(out, "{:<12} {}: {}", "early drop", printable(device), printable(how))?;
    }
    print_counters(out, status.counters.iter().map(|(name, value)| (name.as_str(), *value)), all, paint)?;
    listeners::print(out, &status.listeners, width.filter(|_| !all), paint)
}

/// Prints the counters that counted something, or all.
pub(super) fn print_counters<'a>(
    out: &mut impl Write,
    counters: impl IntoIterator<Item = (&'a str, u64)>,
    all: bool,
    paint: Paint,
) -> io::Result<()> {
    let counters: Vec<_> = counters.into_iter().filter(|(_, value)| all || *value > 0).collect();
    let width = counters.iter().map(|(_, value)| value.to_string().len()).max().unwrap_or(0);
    writeln!(out, "\nCOUNTERS{}", if counters.is_empty() { "  all 0" } else { "" })?;
    for (name, value) in counters {
        let line = format!("{name:<12} {value:>width$}");
        let is_trouble = matches!(name, "ring_full" | "broken");
        writeln!(out, "{}", if is_trouble { paint.red(&line) } else { line })?;
    }
    Ok(())
}

fn table(table: &TableStatus, paint: Paint) -> String {
    // Enough to tell versions apart; --json has all of it.
    let hash = table.sha256.get(..12).map_or_else(String::new, |start| format!(", sha256 {start}..."));
    let text = format!("{}: {} rules{hash}", printable(&table.path.to_string_lossy()), table.rules);
    if table.errors == 0 {
        return text;
    }
    format!("{text}, {}", paint.red(&format!("{} errors: see \"tcpw check\"", table.errors)))
}

/// A text for each sink; that of one sink does not name it.
fn log(log: &LogStatus, paint: Paint) -> Vec<String> {
    let counts = |written: u64, lost: u64, waiting: u64| {
        let mut text = format!("{written} lines");
        if lost > 0 {
            text += &format!(", {}", paint.red(&format!("{lost} could not be written")));
        }
        if waiting > 0 {
            text += &format!(", {waiting} wait");
        }
        text
    };
    match log.sinks.as_slice() {
        [] => vec![counts(log.written, log.failed, 0)],
        [one] => vec![counts(one.written, one.lost, one.waiting)],
        several => several
            .iter()
            .map(|it| format!("{}: {}", printable(&it.target), counts(it.written, it.lost, it.waiting)))
            .collect(),
    }
}

/// How long ago, to two units.
fn ago(seconds_since_1970: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    duration(now.saturating_sub(seconds_since_1970))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ListenerStatus, SinkStatus, TablesStatus, TagState};

    fn status() -> Status {
        let table =
            |path: &str, errors| TableStatus { path: path.into(), rules: 2, errors, sha256: "ab".repeat(32) };
        let listener = |ident: &str, local: &str, tag| ListenerStatus {
            pid: 12,
            ident: ident.into(),
            names: vec![ident.into()],
            netns: 1,
            local: local.parse().unwrap(),
            protocol: "tcp".into(),
            proven_by: vec!["root".into()],
            unproven: [].into(),
            not_opened: Vec::new(),
            found_by: "scan".into(),
            policy: "3 rules".into(),
            on_deny: "reset".into(),
            tag,
        };
        Status {
            version: "0.1.0".into(),
            pid: 7,
            mode: Mode::Enforce,
            enforcing_since: 0,
            generation: 3,
            applied_at: 0,
            tables: TablesStatus { allow: table("/a", 0), deny: table("/d", 0) },
            follow_files: true,
            confirm: None,
            problem: None,
            cgroup: "/sys/fs/cgroup".into(),
            pinned: false,
            kernel_not_asked: Some("the policy changed meanwhile".into()),
            early_drop: [("eth0".to_owned(), "XDP, native".to_owned())].into(),
            listeners: vec![
                listener("sshd", "[::]:22", TagState::Written),
                listener("ev\x1b[2Jil", "127.0.0.1:8080", TagState::Written),
            ],
            counters: [("refused".to_owned(), 5), ("allowed".to_owned(), 1234), ("asked".to_owned(), 0)]
                .into(),
            log: LogStatus { written: 5, failed: 0, sinks: vec![sink("syslog", 5, 0, 0)] },
        }
    }

    fn sink(target: &str, written: u64, lost: u64, waiting: u64) -> SinkStatus {
        SinkStatus { target: target.into(), written, lost, waiting }
    }

    fn shown(status: &Status, colour: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, status, false, (Paint(colour), None)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_names_cannot_paint() {
        let text = shown(&status(), true);
        assert!(!text.contains('\x1b'), "nothing is wrong, nothing is red: {text:?}");
        let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("LOCAL")).collect();
        assert_eq!(rows.len(), 3, "{text}");
        let tag = rows[0].find("TAG").unwrap();
        assert!(rows[1][tag..].starts_with("written ") && rows[2][tag..].starts_with("written "), "{text}");
        assert!(text.contains("allowed      1234\nrefused         5\n"), "{text}");
        assert!(!text.contains("asked"));
    }

    #[test]
    fn what_is_not_guarded_is_red_on_a_terminal_only() {
        type Break = fn(&mut Status);
        let breaks: [(Break, &str); 8] = [
            (|it| it.mode = Mode::Audit, "audit: nothing is refused"),
            (|it| it.problem = Some("previous policy stays".into()), "PROBLEM      previous policy stays"),
            (|it| it.listeners[0].tag = TagState::Missing, "tcp [::]:22"),
            (|it| it.listeners[0].tag = TagState::Provisional, "tcp [::]:22"),
            (|it| it.listeners[0].tag = TagState::Outside, "tcp [::]:22"),
            (|it| it.tables.deny.errors = 1, "1 errors"),
            (|it| it.log.sinks[0].lost = 2, "2 could not be written"),
            (|it| it.counters = [("broken".to_owned(), 1)].into(), "broken"),
        ];
        for (spoil, marked) in breaks {
            let mut status = status();
            spoil(&mut status);
            assert!(shown(&status, true).contains(&format!("\x1b[31m{marked}")), "{marked}");
            let plain = shown(&status, false);
            assert!(plain.contains(marked) && !plain.contains('\x1b'), "{plain}");
        }
    }

    #[test]
    fn one_sink_is_a_row_without_a_name_and_several_are_a_row_each() {
        let mut status = status();
        assert!(shown(&status, false).contains("\nlog          5 lines\n"));
        status.log.sinks.push(sink("json:/a\x1b[2J", 3, 1, 7));
        let text = shown(&status, false);
        assert!(text.contains("\nlog          syslog: 5 lines\nlog          json:/a"), "{text}");
        assert!(
            text.contains(": 3 lines, 1 could not be written, 7 wait\n") && !text.contains('\x1b'),
            "{text}"
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown: Vec<_> = [5, 125, 7325, 180_000].map(duration).into();
        assert_eq!(shown, ["5 s", "2 min 5 s", "2 h 2 min", "2 d 2 h"]);
    }
}
