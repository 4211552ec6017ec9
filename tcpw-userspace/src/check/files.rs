//! Findings on the files themselves: what they are, and which users may write them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Scope,
    facts::{Facts, Kind, Status},
    place::whole,
};
use crate::parse::{
    code::Code,
    diagnostic::{Diagnostic, Finding, Fix, Sink},
    text::{FileText, Texts},
};

/// Findings on every file; "there is none" is dropped where something better is known.
pub(super) fn check(
    texts: &Texts,
    facts: &dyn Facts,
    scope: Scope,
    diagnostics: &mut Vec<Diagnostic>,
    sink: &mut Sink,
) {
    for (path, text) in [&texts.allow, &texts.deny] {
        // Standing in for a table that was not given.
        if path.as_os_str().is_empty() {
            continue;
        }
        let status = facts.status(path);
        if status.kind == Kind::Dangling && *text == FileText::Missing {
            diagnostics.retain(|it| it.code != Code::H001.as_str() || it.origin.path != *path);
        }
        sink.extend(look_at(path, status, "no rules").map(|finding| finding.at(whole(path), b"")));
        sink.extend(writers(path, status, scope.in_use, facts).map(|finding| finding.at(whole(path), b"")));
    }
    if scope.both && texts.allow.1 == FileText::Missing && texts.deny.1 == FileText::Missing {
        neither(texts, diagnostics);
    }
    for (path, text) in &texts.files {
        // Two slashes begin comments in other languages: that is said where they stand.
        if path.starts_with("/sys/class/net") || path.as_os_str().as_encoded_bytes().starts_with(b"//") {
            continue;
        }
        let status = facts.status(path);
        if status.kind == Kind::Dangling && *text == FileText::Missing {
            diagnostics.retain(|it| it.code != Code::W080.as_str() || *it.origin.path != *path);
        }
        let path: Arc<PathBuf> = Arc::new(path.clone());
        sink.extend(look_at(&path, status, "no patterns").map(|finding| finding.at(whole(&path), b"")));
        sink.extend(writers(&path, status, true, facts).map(|finding| finding.at(whole(&path), b"")));
    }
}

/// Makes one finding of two that each say what the other table decides.
fn neither(texts: &Texts, diagnostics: &mut Vec<Diagnostic>) {
    let is_missing = |it: &Diagnostic| it.code == Code::H001.as_str();
    diagnostics.retain(|it| !is_missing(it) || it.origin.path != texts.deny.0);
    for diagnostic in diagnostics.iter_mut().filter(|it| is_missing(it)) {
        diagnostic.message = format!("neither this file nor {} exists", texts.deny.0.display());
        let advice = "nothing is wrong if that is meant; to refuse others, first allow your own network in hosts.allow, then \
                      write \"ALL: ALL\" to hosts.deny";
        diagnostic.expected = "tables with the rules that are meant".into();
        diagnostic.fix = Some(Fix::Advice(advice.into()));
        diagnostic.consequence = "there are no rules: every client may reach every daemon".into();
    }
}

fn look_at(path: &Path, status: Status, nothing: &str) -> Option<Finding> {
    match status.kind {
        Kind::File | Kind::Missing => None,
        // It reads as an empty file, at once.
        Kind::Other if path == Path::new("/dev/null") => None,
        Kind::Directory => Some(Finding::new(
            Code::W006,
            "this is a directory",
            "a regular file",
            format!("it reads as an empty file: there are {nothing}"),
        )),
        Kind::Dangling => Some(Finding::new(
            Code::W007,
            "this symbolic link leads nowhere",
            "a file",
            format!("it counts as missing: there are {nothing}"),
        )),
        Kind::Other => Some(Finding::new(
            Code::W009,
            "this is no regular file",
            "a regular file",
            "at every connection libwrap waits until something is written into it; tcpw gives up after half a second",
        )),
    }
}

/// Whether others than root may write it. Of tables that are not in use only: whether everybody may.
fn writers(path: &Path, status: Status, in_use: bool, facts: &dyn Facts) -> Option<Finding> {
    let consequence = "a user that may write it decides which clients may connect, and which commands run";
    let finding = |writer: String, advice: String| {
        let message = format!("{writer} may write this file");
        Finding::new(Code::W008, message, "a file that only root may write", consequence).advise(advice)
    };
    if status.kind != Kind::File {
        return None;
    }
    let shown = path.display();
    let directory = path.parent().map(|parent| (parent, facts.status(parent)));
    let is_open = |status: Status| status.mode & 0o1002 == 0o002;
    if status.mode & 0o002 != 0 {
        return Some(finding("every user".into(), format!("chmod o-w {shown}")));
    }
    match directory {
        Some((parent, status)) if status.kind == Kind::Directory && is_open(status) => {
            let writer = format!("every user may write {}, and so", parent.display());
            Some(finding(writer, format!("chmod o-w {}", parent.display())))
        }
        _ if !in_use => None,
        _ if status.owner != 0 => {
            Some(finding(format!("user {}", status.owner), format!("chown root {shown}")))
        }
        _ if status.mode & 0o020 != 0 && status.group != 0 => {
            Some(finding(format!("group {}", status.group), format!("chmod g-w {shown}")))
        }
        _ => None,
    }
}
