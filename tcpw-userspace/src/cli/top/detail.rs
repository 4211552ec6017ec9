//! What is told of one row: a rule's line and its neighbours, a refusal's record, a client's attempts, a service's listeners.
//!
//! In: a [`Picture`], an [`Excerpt`]. Out: a title and lines of text. Invariant: pure; no line has a control character.

use super::{
    super::{recent, why},
    attempt::{Attempt, RuleAt},
    excerpt::Excerpt,
    picture::Picture,
    rows::{Subject, rate_text, thousands},
};
use crate::{
    control::{ListenerStatus, TagState},
    log::printable,
};

/// Attempts that are shown of a rule or a service.
const MOST: usize = 20;

/// Title and lines of what is open.
pub(super) fn detail(
    subject: &Subject,
    picture: &Picture,
    excerpt: Option<&Excerpt>,
) -> (String, Vec<String>) {
    match subject {
        Subject::Service(service) => (printable(service).into_owned(), of_service(service, picture)),
        Subject::Client(client) => (client.clone(), of_client(client, picture)),
        Subject::Rule(at) => of_rule(at, picture, excerpt),
        Subject::Attempt(number) => of_attempt(*number, picture, excerpt),
    }
}

fn of_service(service: &str, picture: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    for count in picture.metrics.attempts.iter().filter(|it| it.service == service) {
        let verdict = count.verdict.replace('_', " ");
        lines.push(printable(&format!("{verdict} ({}): {}", count.reason, thousands(count.attempts))).into());
    }
    let status = picture.status.as_ref();
    let listeners = status.iter().flat_map(|status| &status.listeners);
    let is_its = |it: &&ListenerStatus| it.ident == service || it.names.iter().any(|name| name == service);
    for it in listeners.filter(is_its) {
        let tag = match it.tag {
            TagState::Written => "",
            TagState::Provisional => ", known by its process name alone",
            TagState::Missing => ", not identified",
            TagState::Outside => ", outside the cgroup: not judged",
        };
        let text = format!("listener {} {}, pid {}: {}{tag}", it.protocol, it.local, it.pid, it.policy);
        lines.push(printable(&text).into_owned());
    }
    let shown = printable(service);
    last_attempts(&mut lines, picture, MOST, |attempt| attempt.service == *shown);
    lines
}

fn of_client(client: &str, picture: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    last_attempts(&mut lines, picture, usize::MAX, |attempt| attempt.client == client);
    lines
}

fn of_rule(at: &RuleAt, picture: &Picture, excerpt: Option<&Excerpt>) -> (String, Vec<String>) {
    let title = match picture.path_of(&at.table) {
        Some(path) if at.line > 0 => printable(&format!("{}:{}", path.display(), at.line)).into_owned(),
        Some(_) | None => "(other lines)".into(),
    };
    let hits = thousands(picture.hits(at));
    let mut lines = vec![format!("hits: {hits}, {} a second", rate_text(picture.rate_of_rule(at)))];
    cite(&mut lines, picture, excerpt);
    last_attempts(&mut lines, picture, MOST, |attempt| {
        attempt.rule.as_ref().is_some_and(|rule| rule.at == *at)
    });
    (title, lines)
}

fn of_attempt(number: u64, picture: &Picture, excerpt: Option<&Excerpt>) -> (String, Vec<String>) {
    let Some(attempt) = picture.attempts.iter().find(|it| it.number == number) else {
        return ("attempt".into(), vec!["it is forgotten: there have been 4,096 others since".into()]);
    };
    let record = attempt.record();
    let mut lines: Vec<String> = if attempt.more.is_some() {
        vec![recent::line(&record)]
    } else {
        let mut text = Vec::new();
        // A vector takes all that is written.
        drop(why::tell(&record, &mut text));
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    };
    let (decided, in_force) = (recent::text(&record, "generation"), picture.metrics.generation.to_string());
    if attempt.rule.is_some() && decided != in_force {
        lines.push(format!("  generation {decided} decided; {in_force} is in force now"));
    }
    cite(&mut lines, picture, excerpt);
    (format!("{} at {}", attempt.client, attempt.service), lines)
}

/// The lines of the file, and whether they are those in force.
fn cite(lines: &mut Vec<String>, picture: &Picture, excerpt: Option<&Excerpt>) {
    let Some(excerpt) = excerpt else { return };
    let path = excerpt.path.display();
    lines.push(String::new());
    let found = match &excerpt.lines {
        Ok(found) => found,
        Err(reason) => {
            lines.push(printable(&format!("{path}: {reason}")).into_owned());
            return;
        }
    };
    lines.push(printable(&format!("{path}:{}", excerpt.line)).into_owned());
    let in_force = picture.hash_of(&excerpt.path);
    if in_force.is_empty() || excerpt.sha256.is_empty() {
        lines.push("(whether it has changed since it was put in force is not known)".into());
    } else if in_force != excerpt.sha256 {
        lines.push("(the file HAS CHANGED since: this is not the text in force)".into());
    }
    for (number, text) in found {
        let mark = if *number == excerpt.line { '>' } else { ' ' };
        lines.push(format!("{mark} {number:>5}  {}", printable(text)));
    }
    if !found.iter().any(|(number, _)| *number == excerpt.line) {
        lines.push(format!("(it has no line {} any more)", excerpt.line));
    }
}

/// The last attempts that are meant, the newest first.
fn last_attempts(
    lines: &mut Vec<String>,
    picture: &Picture,
    most: usize,
    is_meant: impl Fn(&Attempt) -> bool,
) {
    if !lines.is_empty() {
        lines.push(String::new());
    }
    let before = lines.len();
    let meant = picture.attempts.iter().rev().filter(|it| it.more.is_none() && is_meant(it));
    lines.extend(meant.take(most).map(|attempt| recent::line(&attempt.record())));
    if lines.len() == before {
        lines.push("no record of it among those that are remembered".into());
    } else {
        lines.insert(before, "last attempts:".into());
    }
}
