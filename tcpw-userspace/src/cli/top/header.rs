//! The lines above the panels: what is in force, how many attempts there are, what needs the administrator.
//!
//! In: a [`Model`]. Out: three lines. Invariant: pure.

use ratatui::{
    style::{Modifier, Style},
    text::Line,
};

use super::{
    look::Look,
    model::Model,
    rows::{rate_text, thousands},
};
use crate::{
    config::Mode,
    control::{Status, TagState},
    log::printable,
};

/// The lines.
pub(super) fn header(model: &Model, width: u16, look: Look) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let fit = |text: &str| look.fit(text, width, false);
    let title = match &model.trouble {
        Some((reason, since)) => {
            let text = format!(" tcpw top  NO ANSWER since {} UTC: {reason} (last picture)", clock(*since));
            Line::styled(fit(&printable(&text)), look.alarm().add_modifier(Modifier::REVERSED))
        }
        None => Line::styled(fit(&title(model)), bold),
    };
    let problems = &model.picture.metrics.problems;
    let problems = match problems.as_slice() {
        [] => Line::raw(" no problems"),
        [first, others @ ..] => {
            let more =
                if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            let text = format!(" PROBLEM{more}: {}", printable(first));
            Line::styled(fit(&text), look.alarm())
        }
    };
    vec![title, Line::raw(fit(&attempts(model))), problems]
}

fn title(model: &Model) -> String {
    let metrics = &model.picture.metrics;
    let mode = match metrics.mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "AUDIT (nothing is refused)",
    };
    let age = age(model.picture.now.saturating_sub(metrics.applied_at));
    let paused = if model.is_paused { "PAUSED  " } else { "" };
    let status = model.picture.status.as_ref().map(|status| listeners(status)).unwrap_or_default();
    format!(" tcpw top  {paused}{mode}  generation {}, {age} old  {status}", metrics.generation)
}

fn listeners(status: &Status) -> String {
    let count = |wanted: &[TagState]| status.listeners.iter().filter(|it| wanted.contains(&it.tag)).count();
    let mut text = format!("{} listeners", count(&[TagState::Written]));
    let others = [
        (count(&[TagState::Missing, TagState::Provisional]), "NOT IDENTIFIED"),
        (count(&[TagState::Outside]), "outside"),
    ];
    for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
        text += &format!(", {number} {what}");
    }
    text
}

/// Of the kernel's own counters: they count every attempt, with or without a record.
fn attempts(model: &Model) -> String {
    let picture = &model.picture;
    let (refused, word) = match picture.metrics.mode {
        Mode::Enforce => ("refused", "refused"),
        Mode::Audit => ("would_refuse", "would refuse"),
    };
    let of = |counter, word| {
        let (rate, total) =
            (rate_text(picture.rate_of_counter(counter)), thousands(picture.counter(counter)));
        format!("{word} {rate}/s ({total})")
    };
    let mut text = format!(" {}   {}", of("allowed", "allowed"), of(refused, word));
    if picture.counter("early_dropped") > 0 {
        text += &format!("   {}", of("early_dropped", "dropped at devices"));
    }
    text
}

/// How long, in one unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

fn clock(seconds: u64) -> String {
    let second = seconds % 86400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}
