//! Tables of `rules/NAME/` to diagnostics (`diag.ok`), rules as parsed (`rules.ok`) and the compiled
//! policy (`policy.ok`).
//!
//! `TCPW_BLESS=1` rewrites them. A pattern file `/NAME` is read from the same directory.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use tcpw_userspace::check::{Scope, check, facts::Given};
use tcpw_userspace::names::NamesSet;
use tcpw_userspace::parse::{
    Parsed, parse, pattern_files,
    rule::{List, Rule, Table, TableEnd},
    text::{FileText, Texts},
};

#[test]
fn tables_give_the_golden_diagnostics_and_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut names: Vec<PathBuf> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 12, "only {} directories in {}", names.len(), root.display());
    let mut failures = Vec::new();
    for directory in names {
        let (texts, parsed) = parse_directory(&directory);
        let checked = check(&texts, &Given::default(), Scope { both: true, in_use: true });
        let diagnostics: String = checked.diagnostics.iter().map(|found| format!("{found}\n\n")).collect();
        failures.extend(compare(&directory.join("diag.ok"), &diagnostics));
        failures.extend(compare(&directory.join("rules.ok"), &rules(&parsed)));
        failures.extend(compare(&directory.join("policy.ok"), &policy(&parsed)));
    }
    assert!(failures.is_empty(), "TCPW_BLESS=1 accepts these\n{}", failures.join("\n"));
}

fn compare(path: &Path, text: &str) -> Option<String> {
    if std::env::var_os("TCPW_BLESS").is_some() {
        fs::write(path, text).expect("rewrite the golden file");
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    (want != text).then(|| format!("{} differs:\n--- wanted\n{want}\n--- found\n{text}", path.display()))
}

fn parse_directory(directory: &Path) -> (Texts, Parsed) {
    let read = |name: &Path| match fs::read(directory.join(name)) {
        Ok(bytes) => FileText::Bytes(bytes.into()),
        Err(_) => FileText::Missing,
    };
    let table = |name: &str| (Arc::new(PathBuf::from(name)), read(Path::new(name)));
    let mut texts = Texts { allow: table("hosts.allow"), deny: table("hosts.deny"), files: BTreeMap::new() };
    loop {
        let parsed = parse(&texts);
        let named = pattern_files(&parsed.tables);
        let new: Vec<_> = named.into_iter().filter(|path| !texts.files.contains_key(path)).collect();
        if new.is_empty() {
            return (texts, parsed);
        }
        texts.files.extend(new.into_iter().map(|path| {
            // "/unreadable" stands for a file that cannot be read.
            let text = match path.to_str() {
                Some("/unreadable") => FileText::Unreadable("Permission denied".into()),
                Some("/sys/class/net/lo") => FileText::Bytes(Arc::new([])),
                _ => read(path.strip_prefix("/").unwrap_or(&path)),
            };
            (path, text)
        }));
    }
}

fn rules(parsed: &Parsed) -> String {
    let mut text = String::new();
    print_rules(&mut text, parsed).expect("writing to a String cannot fail");
    text
}

fn print_rules(text: &mut String, parsed: &Parsed) -> std::fmt::Result {
    for table in [&parsed.tables.allow, &parsed.tables.deny] {
        print_table(text, table)?;
    }
    for file in parsed.tables.files.values() {
        writeln!(text, "{}:", file.path.display())?;
        for (origin, pattern) in &file.patterns {
            writeln!(text, "  {}:{} {}", origin.line, origin.column, shown(pattern))?;
        }
    }
    Ok(())
}

fn print_table(text: &mut String, table: &Table) -> std::fmt::Result {
    let end = match table.end {
        TableEnd::Complete => "",
        TableEnd::Broken => " (broken)",
    };
    writeln!(text, "{}:{end}", table.path.display())?;
    for rule in &table.rules {
        let origin = rule.origin();
        let Rule { number, daemons, clients, options, .. } = &*rule;
        writeln!(text, "  {}:{} line {number}", origin.line, origin.column)?;
        let daemon = |token: &tcpw_userspace::parse::rule::DaemonPattern| {
            let server = token.server.as_ref().map(|server| format!(" at {}", shown(server)));
            format!("{}{}", shown(&token.daemon), server.unwrap_or_default())
        };
        writeln!(text, "    daemons {}", list(daemons, daemon))?;
        let client = |token: &tcpw_userspace::parse::rule::ClientPattern| {
            let user = token.user.as_ref().map(|user| format!("{} at ", shown(user)));
            format!("{}{}", user.unwrap_or_default(), shown(&token.host))
        };
        writeln!(text, "    clients {}", list(clients, client))?;
        for field in options {
            match &field.option {
                Ok(option) => writeln!(text, "    option {}", shown(option))?,
                Err(error) => writeln!(text, "    refuses: {error}")?,
            }
        }
    }
    for complaint in &table.complaints {
        writeln!(text, "  before rule {}: {}", complaint.before, complaint.text)?;
    }
    Ok(())
}

fn list<P>(list: &List<P>, print: impl Fn(&P) -> String) -> String {
    let parts = std::iter::successors(Some(list), |list| list.except.as_deref());
    let parts: Vec<String> =
        parts.map(|part| part.patterns.iter().map(&print).collect::<Vec<_>>().join(", ")).collect();
    parts.join(" EXCEPT ")
}

/// `Debug`, with byte strings as text.
fn shown(value: &dyn std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    let mut text = String::new();
    let mut rest = debug.as_str();
    while let Some(start) = rest.find('[') {
        let Some(end) = rest[start..].find(']').map(|length| start + length) else { break };
        let inner = &rest[start + 1..end];
        let bytes: Option<Vec<u8>> = inner.split(", ").map(|byte| byte.parse().ok()).collect();
        match bytes {
            Some(bytes) => {
                text.push_str(&rest[..start]);
                text.push_str(&format!("{:?}", String::from_utf8_lossy(&bytes)));
            }
            None => text.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    text + rest
}

/// Longest table printed whole; of a longer one the first entries and their number.
const SHOWN: usize = 40;

/// The compiled policy: for each policy who has it, and which networks get which outcome.
#[expect(clippy::unwrap_used, reason = "writing to a String does not fail; a helper of the test above")]
fn policy(parsed: &Parsed) -> String {
    let policy = tcpw_tests::policy::compile(&parsed.tables, &[]).expect("the policy fits");
    let header = policy.header(1, 0);
    let mut out = String::new();
    let name =
        |set: &NamesSet| if set.is_empty() { "(any other daemon)".to_owned() } else { set.to_string() };
    for port in 0..header.port_classes {
        for server in 0..header.server_classes {
            for (set, class) in &policy.names_sets {
                let index = (class * header.port_classes + port) * header.server_classes + server;
                let number = policy.policies[index as usize];
                writeln!(out, "{} port class {port} server class {server}: policy {number}", name(set))
                    .unwrap();
            }
        }
    }
    let mut ports = policy.ports.clone();
    ports.sort_unstable();
    for (port, class) in ports {
        writeln!(out, "port {port}: class {class}").unwrap();
    }
    let outcomes = |class: u32| -> String {
        let count = u32::try_from(policy.outcomes.len()).unwrap() / header.client_classes;
        (0..count)
            .map(|number| match policy.outcomes[(number * header.client_classes + class) as usize] {
                0 => '-',
                1 => 'A',
                2 => 'R',
                3 => '?',
                // With a command, keepalive, both.
                5 => 'S',
                9 => 'K',
                13 => 'B',
                // Refused with a command.
                6 => 'C',
                // With a banner or a twist, and with a command too.
                18 => 'T',
                22 => 'D',
                // Let in with a banner.
                33 => 'W',
                other => panic!("outcome {other}"),
            })
            .collect()
    };
    let mut lines: Vec<String> = Vec::new();
    for (prefix, class) in policy.clients_v4.prefixes() {
        lines.push(format!("{}/{} {}", Ipv4Addr::from(prefix.address), prefix.bits, outcomes(*class)));
    }
    for (prefix, class) in policy.clients_v6.prefixes() {
        lines.push(format!("{}/{} {}", Ipv6Addr::from(prefix.address), prefix.bits, outcomes(*class)));
    }
    for line in lines.iter().take(SHOWN) {
        writeln!(out, "{line}").unwrap();
    }
    if lines.len() > SHOWN {
        writeln!(out, "... {} prefixes", lines.len()).unwrap();
    }
    for (prefix, class) in &policy.servers_v4 {
        writeln!(out, "server {}/{}: class {class}", Ipv4Addr::from(prefix.address), prefix.bits).unwrap();
    }
    for (prefix, class) in &policy.servers_v6 {
        writeln!(out, "server {}/{}: class {class}", Ipv6Addr::from(prefix.address), prefix.bits).unwrap();
    }
    out
}
