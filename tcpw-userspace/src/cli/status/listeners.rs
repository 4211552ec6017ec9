//! The table of listeners: a row for each listening socket of the host.
//!
//! In: listeners, the width of the terminal. Out: rows in columns, red where a listener is not guarded. Invariant: a row of a
//! terminal is one line, as long as the columns that are never left out fit it; which are left out is said.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

use super::Paint;
use crate::{
    control::{ListenerStatus, TagState},
    log::printable,
};

const HEADS: [&str; 10] =
    ["LOCAL", "PID", "IDENT", "NAMES", "PROVEN", "NETNS", "FOUND BY", "TAG", "ON DENY", "POLICY"];

/// What is left out first where the terminal is too narrow. LOCAL, NAMES, TAG and POLICY never are.
const LEFT_OUT_FIRST: [&str; 6] = ["FOUND BY", "NETNS", "ON DENY", "IDENT", "PID", "PROVEN"];

type Row = [String; HEADS.len()];

/// Prints the table; `width`: the columns of the terminal, if it is to fit one.
pub(super) fn print(
    out: &mut impl Write,
    listeners: &[ListenerStatus],
    width: Option<usize>,
    paint: Paint,
) -> io::Result<()> {
    writeln!(out, "\nLISTENERS{}", if listeners.is_empty() { "  none" } else { "" })?;
    if listeners.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row> = std::iter::once(HEADS.map(str::to_owned)).chain(listeners.iter().map(row)).collect();
    let mut left_out = 0;
    let mut lines = lines(&rows, &[]);
    while let Some(next) = LEFT_OUT_FIRST.get(..=left_out)
        && width.is_some_and(|width| lines.iter().any(|line| line.chars().count() > width))
    {
        lines = self::lines(&rows, next);
        left_out += 1;
    }
    let are_guarded = listeners.iter().map(|it| it.tag == TagState::Written);
    for (line, is_guarded) in lines.into_iter().zip([true].into_iter().chain(are_guarded)) {
        writeln!(out, "{}", if is_guarded { line } else { paint.red(&line) })?;
    }
    if left_out > 0 {
        let heads = LEFT_OUT_FIRST[..left_out].join(", ");
        writeln!(out, "no room for {heads}: \"tcpw status --all\"")?;
    }
    for sentence in listeners.iter().flat_map(|it| &it.not_opened) {
        writeln!(out, "NOT OPENED   {}", printable(sentence))?;
    }
    Ok(())
}

/// The rows without some columns, aligned.
fn lines(rows: &[Row], without: &[&str]) -> Vec<String> {
    let mut columns = Table::new();
    columns.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    columns.add_rows(rows.iter().map(|row| {
        row.iter().zip(HEADS).filter(|(_, head)| !without.contains(head)).map(|(cell, _)| cell.clone())
    }));
    for column in columns.column_iter_mut() {
        column.set_padding((0, 1));
    }
    columns.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn row(it: &ListenerStatus) -> Row {
    [
        format!("{} {}", it.protocol, it.local),
        it.pid.to_string(),
        printable(&it.ident).into_owned(),
        printable(&it.names.join(",")).into_owned(),
        printable(&proven(it)).into_owned(),
        it.netns.to_string(),
        printable(&it.found_by).into_owned(),
        tag(it.tag).to_owned(),
        printable(&it.on_deny).into_owned(),
        printable(&it.policy).into_owned(),
    ]
}

/// What proves its names, and what does not.
fn proven(it: &ListenerStatus) -> String {
    match it.unproven.first_key_value() {
        None if it.names.is_empty() => "-".into(),
        None => it.proven_by.join(","),
        Some((_, why)) if it.unproven.len() == it.names.len() => format!("no: {why}"),
        Some((name, why)) => format!("{}; not {name}: {why}", it.proven_by.join(",")),
    }
}

fn tag(state: TagState) -> &'static str {
    match state {
        TagState::Written => "written",
        TagState::Provisional => "provisional",
        TagState::Missing => "MISSING",
        TagState::Outside => "OUTSIDE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, tag: TagState) -> ListenerStatus {
        ListenerStatus {
            pid: 1234,
            ident: name.into(),
            names: vec![name.into()],
            netns: 4_026_531_840,
            local: "[::]:22".parse().unwrap(),
            protocol: "tcp".into(),
            proven_by: vec!["root".into()],
            unproven: [].into(),
            not_opened: Vec::new(),
            found_by: "executable".into(),
            policy: "refuses all".into(),
            on_deny: "close".into(),
            tag,
        }
    }

    fn shown(width: Option<usize>) -> Vec<String> {
        let mut out = Vec::new();
        let listeners = [listener("sshd", TagState::Written), listener("in.telnetd", TagState::Outside)];
        print(&mut out, &listeners, width, Paint(false)).unwrap();
        String::from_utf8(out).unwrap().lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn narrow_terminal_has_fewer_columns_and_is_told_which() {
        let whole = shown(None);
        assert_eq!(whole.len(), 3);
        let longest = whole.iter().map(|line| line.chars().count()).max().unwrap();
        assert_eq!(shown(Some(longest)), whole, "it fits");
        let fewer = shown(Some(longest - 1));
        assert_eq!(fewer.last().unwrap(), "no room for FOUND BY: \"tcpw status --all\"");
        for width in (50..longest).rev() {
            let lines = shown(Some(width));
            assert!(lines[..3].iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
            assert!(
                lines[2].starts_with("tcp [::]:22")
                    && lines[2].contains(" OUTSIDE ")
                    && lines[2].ends_with(" refuses all"),
                "{lines:#?}"
            );
        }
        // What is never left out may be longer.
        assert_eq!(shown(Some(10))[0], "LOCAL       NAMES      TAG     POLICY");
    }
}
