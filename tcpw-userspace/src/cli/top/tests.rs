//! The model and its picture, without a terminal.
//!
//! The pictures are in `tests/`; `TCPW_BLESS=1` writes them anew.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};

use super::{
    attempt::{Attempt, RuleAt},
    excerpt::Excerpt,
    keys::Command,
    look::Look,
    model::{Model, Over, Wish},
    picture::{KEPT, Reading},
    rows::{Panel, Subject},
    view,
};
use crate::{
    config::Mode,
    control::{
        AttemptCount, Histogram, ListenerStatus, LogStatus, Metrics, NamedCount, RuleCount, Status,
        TableStatus, TablesStatus, TagState,
    },
};

/// 2026-01-02T20:24:20Z.
const NOW: u64 = 1_767_385_460;
const UTF8: Look = Look { is_utf8: true, is_coloured: true };
const ASCII: Look = Look { is_utf8: false, is_coloured: false };

fn metrics(times: u64) -> Metrics {
    let attempts = |service: &str, verdict: &'static str, attempts| AttemptCount {
        service: service.into(),
        verdict: verdict.into(),
        reason: "rule".into(),
        attempts,
    };
    let rule = |table: &'static str, line, attempts| RuleCount {
        table: Some(table.into()),
        line: Some(line),
        attempts,
    };
    let counter = |name: &'static str, value| NamedCount {
        name: name.into(),
        help: "".into(),
        unit: "attempts".into(),
        is_gauge: false,
        value,
    };
    Metrics {
        version: "0.1.0".into(),
        mode: Mode::Enforce,
        enforcing_since: NOW - 7200,
        generation: 3,
        applied_at: NOW - 150,
        is_last_reload_in_force: true,
        has_problem: false,
        problems: Vec::new(),
        log_allowed: true,
        attempts: vec![
            attempts("(name not proven)", "refused", 2),
            attempts("nginx", "allowed", 1_000_000 + 1500 * times),
            attempts("nginx", "refused", 7),
            attempts("sshd", "allowed", 12),
            attempts("sshd", "refused", 4096 + 5 * times),
        ],
        rules: vec![
            rule("allow", 1, 12),
            rule("deny", 2, 4000 + 5 * times),
            rule("deny", 3, 96),
            RuleCount { table: None, line: None, attempts: 5 },
        ],
        held: Histogram::default(),
        user_waits: Histogram::default(),
        lookups: Histogram::default(),
        disagreements: 0,
        index_disagreements: 0,
        counters: vec![counter("allowed", 1_000_012 + 1500 * times), counter("refused", 4105 + 5 * times)],
        maps: Vec::new(),
        log: LogStatus::default(),
    }
}

fn status() -> Status {
    let table = |path: &str| TableStatus { path: path.into(), rules: 3, errors: 0, sha256: "ab".repeat(32) };
    let listener = |ident: &str, local: &str, tag| ListenerStatus {
        pid: 12,
        ident: ident.into(),
        names: vec![ident.into()],
        netns: 1,
        local: local.parse().unwrap(),
        protocol: "tcp".into(),
        proven_by: vec!["root".into()],
        unproven: BTreeMap::new(),
        not_opened: Vec::new(),
        found_by: "executable".into(),
        policy: "refuses all".into(),
        on_deny: "drop".into(),
        tag,
    };
    Status {
        version: "0.1.0".into(),
        pid: 7,
        mode: Mode::Enforce,
        enforcing_since: NOW - 7200,
        follow_files: true,
        confirm: None,
        generation: 3,
        applied_at: NOW - 150,
        tables: TablesStatus { allow: table("/etc/hosts.allow"), deny: table("/etc/hosts.deny") },
        problem: None,
        cgroup: "/".into(),
        pinned: true,
        kernel_not_asked: None,
        early_drop: BTreeMap::new(),
        listeners: vec![
            listener("sshd", "[::]:22", TagState::Written),
            listener("nginx", "0.0.0.0:80", TagState::Written),
            listener("agent", "127.0.0.1:900", TagState::Outside),
        ],
        counters: BTreeMap::new(),
        log: LogStatus::default(),
    }
}

fn record(id: u64, service: &str, client: &str, is_refused: bool) -> Value {
    let (fate, rule) = if is_refused {
        (
            "refused",
            json!({"table": "hosts.deny", "file": "/etc/hosts.deny", "line": 2, "text": "sshd: 198.51.100."}),
        )
    } else {
        (
            "accepted",
            json!({"table": "hosts.allow", "file": "/etc/hosts.allow", "line": 1, "text": "ALL: 192.0.2."}),
        )
    };
    json!({
        "kind": "attempt", "time": format!("2026-01-02T20:24:{:02}.000000Z", id % 60), "id": id, "fate": fate,
        "reason": "rule", "protocol": "tcp", "source": "handshake", "generation": 3,
        "listener": {"ident": service, "pid": 12, "names": [service], "doubt": null},
        "client": {"address": client, "port": 4000}, "server": {"address": "192.0.2.1", "port": 22}, "rule": rule,
    })
}

fn attempts() -> Vec<Attempt> {
    let count = json!({
        "kind": "unproven-count", "time": "2026-01-01T23:59:00.000000Z", "clients": "network",
        "network": "203.0.113.0/24", "attempts": 30,
    });
    let records = [
        count,
        record(2, "sshd", "198.51.100.7", true),
        record(3, "nginx", "2001:db8:1234:5678:9abc:def0:1234:5678", true),
        record(4, "sshd", "192.0.2.9", false),
        record(5, "sshd", "198.51.100.7", true),
    ];
    (1..).zip(&records).map(|(number, record)| Attempt::new(number, record)).collect()
}

fn reading(second: u64, attempts: Vec<Attempt>) -> Reading {
    let text = |table: &str, line, text: &str| (RuleAt { table: table.into(), line }, text.to_owned());
    Reading {
        at: Duration::from_secs(second),
        now: NOW,
        metrics: Box::new(metrics(second)),
        status: Some(Box::new(status())),
        attempts,
        since_us: 1,
        missed: 0,
        texts: Some([text("allow", 1, "ALL: 192.0.2."), text("deny", 2, "sshd: 198.51.100.")].into()),
    }
}

/// After two readings, two seconds apart.
fn model() -> Model {
    let mut model = Model::new(reading(10, attempts()));
    model.take(reading(12, Vec::new()));
    model
}

fn screen(model: &mut Model, look: Look, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            model.page = view::page(frame.area());
            view::draw(frame, model, look);
        })
        .unwrap();
    let shown = terminal.backend().to_string();
    // Each line is in quotes.
    let lines = shown.lines().map(|line| line.trim_start_matches('"').trim_end_matches('"').trim_end());
    lines.map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn is_golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/tests").join(name);
    if std::env::var_os("TCPW_BLESS").is_some() {
        fs::write(&path, shown).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == shown, "TCPW_BLESS=1 accepts this\n--- wanted\n{wanted}\n--- shown\n{shown}");
}

fn keys(model: &mut Model, commands: &[Command]) {
    for command in commands {
        assert_eq!(model.apply(*command), Wish::Nothing, "{command:?}");
    }
}

/// The first cell of each row.
fn firsts(model: &Model) -> Vec<String> {
    model.rows(model.panel).0.into_iter().map(|row| row.cells[0].shown.clone()).collect()
}

#[test]
fn pictures_are_golden() {
    let mut all = String::new();
    for panel in Panel::ALL {
        let mut model = model();
        keys(&mut model, &[Command::Show(panel)]);
        all += &screen(&mut model, UTF8, 80, 24);
    }
    is_golden("80x24.txt", &all);
    is_golden("200x60.txt", &screen(&mut model(), UTF8, 200, 60));
    let mut troubled = model();
    troubled.fail("no daemon is running".into(), NOW);
    troubled.fail("no daemon is running".into(), NOW + 9);
    troubled.picture.metrics.mode = Mode::Audit;
    troubled.picture.metrics.log_allowed = false;
    troubled.picture.metrics.problems = vec!["hosts.deny:1: a \u{1b}[2J problem".into(), "another".into()];
    is_golden("trouble.txt", &screen(&mut troubled, ASCII, 80, 24));
}

#[test]
fn details_are_golden() {
    let mut all = String::new();
    for panel in Panel::ALL {
        let mut model = model();
        keys(&mut model, &[Command::Show(panel)]);
        let wish = model.apply(Command::Enter);
        if let Wish::Read(path, line) = wish {
            let lines = Ok(vec![(1, "# refused\u{7}".into()), (2, "sshd: 198.51.100.".into())]);
            model.excerpt = Some(Excerpt { path, line, lines, sha256: "ab".repeat(32) });
        }
        all += &screen(&mut model, UTF8, 80, 24);
    }
    let mut model = model();
    keys(&mut model, &[Command::Help]);
    all += &screen(&mut model, ASCII, 80, 24);
    is_golden("details.txt", &all);
}

#[test]
fn changed_and_missing_files_are_said_to_be() {
    let shown = |sha256: &str, lines| {
        let mut model = model();
        keys(&mut model, &[Command::Show(Panel::Rules)]);
        let Wish::Read(path, line) = model.apply(Command::Enter) else { panic!("a rule has a file") };
        assert_eq!((path.to_str(), line), (Some("/etc/hosts.deny"), 2));
        model.excerpt = Some(Excerpt { path, line, lines, sha256: sha256.into() });
        screen(&mut model, UTF8, 100, 30)
    };
    let lines = || Ok(vec![(1, "ALL: ALL".into())]);
    let same = shown(&"ab".repeat(32), lines());
    assert!(!same.contains("HAS CHANGED") && same.contains("it has no line 2 any more"), "{same}");
    assert!(shown(&"cd".repeat(32), lines()).contains("HAS CHANGED"));
    assert!(shown("", lines()).contains("is not known"));
    let gone = shown("", Err("No such file".into()));
    assert!(gone.contains("/etc/hosts.deny: No such file"), "{gone}");
}

#[test]
fn every_size_and_state_can_be_drawn() {
    for (width, height) in
        [(1, 1), (2, 40), (39, 8), (40, 7), (40, 8), (41, 9), (159, 40), (160, 40), (300, 90)]
    {
        for panel in Panel::ALL {
            let mut model = model();
            keys(&mut model, &[Command::Show(panel), Command::Last]);
            let closed = screen(&mut model, UTF8, width, height);
            assert_eq!(closed.contains("too s"), width > 4 && (width < 40 || height < 8), "{closed}");
            model.apply(Command::Enter);
            keys(&mut model, &[Command::Last]);
            screen(&mut model, UTF8, width, height);
            keys(&mut model, &[Command::Help, Command::Page(1)]);
            screen(&mut model, ASCII, width, height);
        }
    }
}

#[test]
fn nothing_depends_on_colours_or_letters_beyond_ascii() {
    let mut model = model();
    for panel in Panel::ALL {
        keys(&mut model, &[Command::Show(panel)]);
        let shown = screen(&mut model, ASCII, 200, 60);
        assert!(shown.is_ascii(), "{shown}");
        assert!(shown.contains(&format!("[{} {}]", model_key(panel), panel.name())), "{shown}");
        assert_eq!(shown.lines().filter(|line| line.contains("|> ")).count(), 1, "{shown}");
    }
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    model.fail("gone".into(), NOW);
    terminal.draw(|frame| view::draw(frame, &model, ASCII)).unwrap();
    let cells = &terminal.backend().buffer().content;
    assert!(cells.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    terminal.draw(|frame| view::draw(frame, &model, UTF8)).unwrap();
    assert!(terminal.backend().buffer().content.iter().any(|cell| cell.fg == ratatui::style::Color::Red));
}

fn model_key(panel: Panel) -> usize {
    Panel::ALL.iter().position(|it| *it == panel).unwrap() + 1
}

#[test]
fn rates_are_of_readings_of_one_daemon_up_to_five_seconds_apart() {
    let rule = RuleAt { table: "deny".into(), line: 2 };
    let mut model = Model::new(reading(0, Vec::new()));
    assert_eq!(model.picture.rate_of_service("sshd", true), None);
    // One reading that is much, then nothing for a while.
    model.take(reading(2, Vec::new()));
    assert_eq!(model.picture.rate_of_service("sshd", true), Some(5_000));
    assert_eq!(model.picture.rate_of_rule(&rule), Some(5_000));
    assert_eq!(model.picture.rate_of_counter("allowed"), Some(1_500_000));
    for second in 3..=7 {
        model.take(Reading { metrics: Box::new(metrics(2)), ..reading(second, Vec::new()) });
    }
    assert_eq!(model.picture.rate_of_service("sshd", true), Some(0));
    // A daemon that is started anew counts from 0.
    let anew = Reading { metrics: Box::new(metrics(0)), since_us: 2, ..reading(8, Vec::new()) };
    model.take(anew);
    assert_eq!(model.picture.rate_of_service("sshd", true), None);
    assert_eq!(model.picture.rate_of_service("other", true), None);
    model.take(Reading { metrics: Box::new(metrics(4)), since_us: 2, ..reading(10, Vec::new()) });
    assert_eq!(model.picture.rate_of_service("sshd", true), Some(10_000));
    assert_eq!(model.picture.rate_of_service("other", true), Some(0));
}

#[test]
fn attempts_are_kept_up_to_a_bound_and_not_from_one_daemon_to_the_next() {
    let many = |from: u64| -> Vec<Attempt> {
        (from..from + KEPT as u64)
            .map(|id| Attempt::new(id, &record(id, "sshd", "192.0.2.1", true)))
            .collect()
    };
    let mut model = Model::new(reading(0, many(1)));
    model.take(Reading { missed: 3, ..reading(1, many(10_000).split_off(KEPT - 10)) });
    assert_eq!((model.picture.attempts.len(), model.picture.missed), (KEPT, 3));
    assert_eq!(model.picture.attempts.front().map(|it| it.number), Some(11));
    model.take(Reading { since_us: 2, ..reading(2, attempts()) });
    assert_eq!((model.picture.attempts.len(), model.picture.missed), (5, 0));
}

#[test]
fn rows_are_sorted_by_each_column_and_filtered() {
    let mut model = model();
    assert_eq!(firsts(&model), ["sshd", "nginx", "(name not proven)"]);
    keys(&mut model, &[Command::Reverse]);
    assert_eq!(firsts(&model), ["(name not proven)", "nginx", "sshd"]);
    // From REFUSED to ALLOWED, and to the first column over the end.
    keys(&mut model, &[Command::PreviousColumn]);
    assert_eq!(firsts(&model), ["nginx", "sshd", "(name not proven)"]);
    keys(&mut model, &[Command::NextColumn, Command::NextColumn, Command::NextColumn]);
    assert_eq!(firsts(&model), ["(name not proven)", "nginx", "sshd"]);
    keys(&mut model, &[Command::PreviousColumn]);
    assert_eq!(model.list(Panel::Services).sort.column, 5);

    keys(&mut model, &[Command::Show(Panel::Clients)]);
    let v6 = "2001:db8:1234:5678:9abc:def0:1234:5678";
    assert_eq!(firsts(&model), ["198.51.100.7", "192.0.2.9", v6]);
    keys(&mut model, &[Command::Filter, Command::Write('S'), Command::Write('s'), Command::Write('h')]);
    assert_eq!(firsts(&model), ["198.51.100.7", "192.0.2.9"]);
    keys(&mut model, &[Command::Write('x')]);
    assert!(screen(&mut model, UTF8, 80, 24).contains("filter: Sshx_"));
    assert_eq!(firsts(&model), [""; 0]);
    keys(&mut model, &[Command::Rub, Command::Enter, Command::Show(Panel::Refusals)]);
    assert_eq!(firsts(&model), ["20:24:05", "20:24:03", "20:24:02"]);
    keys(&mut model, &[Command::Back]);
    assert_eq!(firsts(&model), ["20:24:05", "20:24:03", "20:24:02", "01-01 23:59"]);
}

#[test]
fn selection_stays_with_its_row() {
    let mut model = model();
    keys(&mut model, &[Command::Show(Panel::Refusals), Command::Move(1)]);
    let selected = |model: &Model| {
        let (rows, place) = model.rows(model.panel);
        (place, rows.get(place).map(|row| row.subject.clone()))
    };
    assert_eq!(selected(&model), (1, Some(Subject::Attempt(3))));
    let new = vec![Attempt::new(6, &record(6, "sshd", "192.0.2.200", true))];
    model.take(reading(13, new));
    assert_eq!(selected(&model), (2, Some(Subject::Attempt(3))));
    keys(&mut model, &[Command::First]);
    assert_eq!(selected(&model), (0, Some(Subject::Attempt(6))));
    keys(&mut model, &[Command::Last, Command::Move(5)]);
    assert_eq!(selected(&model), (4, Some(Subject::Attempt(1))));
    // Its row goes away.
    model.take(Reading { since_us: 2, ..reading(14, attempts().split_off(3)) });
    assert_eq!(selected(&model), (0, Some(Subject::Attempt(5))));
}

#[test]
fn quit_goes_back_first_and_pause_is_told() {
    let mut model = model();
    keys(&mut model, &[Command::Help, Command::Quit]);
    assert!(matches!(model.over, Over::Nothing));
    assert_eq!(model.apply(Command::Pause), Wish::Pause(true));
    assert!(screen(&mut model, UTF8, 80, 24).contains("PAUSED"));
    assert_eq!(model.apply(Command::Pause), Wish::Pause(false));
    assert_eq!(model.apply(Command::Quit), Wish::Quit);
}
