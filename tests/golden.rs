//! Tables of `rules/NAME/` to diagnostics (`diag.ok`) and rules as parsed (`rules.ok`).
//!
//! `TCPW_BLESS=1` rewrites both. A pattern file `/NAME` is read from the same directory.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

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
        let parsed = parse_directory(&directory);
        let diagnostics: String = parsed.diagnostics.iter().map(|found| format!("{found}\n\n")).collect();
        failures.extend(compare(&directory.join("diag.ok"), &diagnostics));
        failures.extend(compare(&directory.join("rules.ok"), &rules(&parsed)));
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

fn parse_directory(directory: &Path) -> Parsed {
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
            return parsed;
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
    for Rule { origin, number, daemons, clients, options, .. } in &table.rules {
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
