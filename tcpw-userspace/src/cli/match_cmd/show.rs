//! An explanation for people.
//!
//! Invariant: the lines `client:`, `server:`, `matched:`, `option:` and `access:` are those of
//! tcpdmatch, in its order, so that what reads them goes on.

use std::io::{self, Write};

use crate::parse::lookalike;

use super::{
    ask::AskedConnection,
    explain::{Compared, Explanation, Missed, Party, RuleLine},
    place::QuotedPlace,
};

/// Writes one explanation.
pub(super) fn show(question: &AskedConnection, found: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let mut out = PrintableWriter(out);
    let out = &mut out;
    headline(question, found, out)?;
    party("client", &found.client, out)?;
    party("server", &found.server, out)?;
    writeln!(out, "server:   process  {}", question.daemon)?;
    if let Some(RuleLine { place: QuotedPlace { file, .. }, number, .. }) = &found.rule {
        writeln!(out, "matched:  {file} line {number}")?;
    }
    for option in &found.options {
        writeln!(out, "option:   {}", option.place.text)?;
    }
    writeln!(out, "access:   {}", found.access)?;
    details(found, out)
}

fn headline(question: &AskedConnection, found: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let verdict = match (found.verdict, found.via) {
        ("allow", _) => "allowed",
        (_, "twist") => "refused (another program gets the connection)",
        _ => "refused",
    };
    let client = found.client.address.as_deref().or(found.client.name.as_deref()).unwrap_or("unknown");
    write!(out, "{verdict}: {} from {client}: ", question.daemon)?;
    match (&found.rule, found.via) {
        (Some(rule), "error") => writeln!(out, "wrong option at {}", cited(&rule.place)),
        (Some(rule), "exit") => writeln!(out, "an expansion is too long at {}", cited(&rule.place)),
        (Some(rule), _) => writeln!(out, "{}", cited(&rule.place)),
        (None, "table-error") => writeln!(out, "hosts.deny cannot be read to its end"),
        (None, _) => writeln!(out, "no rule matches"),
    }
}

fn party(which: &str, party: &Party, out: &mut impl Write) -> io::Result<()> {
    if let Some(name) = party.name.as_deref().filter(|name| *name != "unknown") {
        writeln!(out, "{which}:   hostname {name}")?;
    }
    if let Some(address) = &party.address {
        writeln!(out, "{which}:   address  {address}")?;
    }
    if let Some(user) = &party.user {
        writeln!(out, "{which}:   username {user}")?;
    }
    if let Some(port) = party.port {
        writeln!(out, "{which}:   port     {port}")?;
    }
    Ok(())
}

/// What tcpdmatch does not tell.
fn details(found: &Explanation, out: &mut impl Write) -> io::Result<()> {
    if let Some(RuleLine { daemon: Some(daemon), client: Some(client), .. }) = &found.rule {
        writeln!(out, "because:  daemon token {}, client token {}", token(daemon), token(client))?;
    }
    for option in &found.options {
        writeln!(out, "effect:   {}: {}", option.place.text, option.effect)?;
    }
    if let Some(severity) = &found.severity {
        writeln!(out, "severity: {severity}")?;
    }
    for look_up in &found.lookups {
        let by = look_up.asked_by.as_ref().map(|place| format!(" for {}", cited(place))).unwrap_or_default();
        let answer = &look_up.answer;
        match (look_up.made, look_up.what.as_str()) {
            (true, what) => writeln!(out, "look-up:  {what}{by}: {answer}")?,
            (false, what @ "client user") => {
                writeln!(out, "look-up:  {what}{by}: not made, taken as {answer} (USER@ gives one)")?;
            }
            (false, what @ "server port") => {
                writeln!(out, "look-up:  {what}{by}: taken as {answer} (--port gives it)")?;
            }
            (false, what) => {
                writeln!(out, "look-up:  {what}{by}: not made, taken as {answer} (--resolve makes it)")?;
            }
        }
    }
    for warning in &found.warnings {
        writeln!(out, "warning:  {}", warning.strip_prefix("warning: ").unwrap_or(warning))?;
    }
    if let Some(enforced) = &found.enforced {
        let verdict = if enforced.verdict == "allow" { "allows" } else { "refuses" };
        writeln!(
            out,
            "note:     tcpw run looks up no names at the ports of name servers: it {verdict} this client ({})",
            enforced.matched
        )?;
    }
    for missed in found.trace.iter().flatten() {
        trace(missed, out)?;
    }
    Ok(())
}

fn trace(missed: &Missed, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "no match: {}", cited(&missed.rule.place))?;
    let compared = compared(&missed.compared, missed.list == Some("daemon"));
    match (missed.list, &missed.except) {
        (Some(list), None) => writeln!(out, "          {list} list: nothing in it matches {compared}")?,
        (Some(list), Some(token)) => {
            let QuotedPlace { line, column, text, .. } = token;
            writeln!(out, "          {list} list: EXCEPT \"{text}\" at {line}:{column} matches {compared}")?;
        }
        (None, _) => writeln!(out, "          it matches, but its aclexec failed: the table ends here")?,
    }
    missed.because.iter().try_for_each(|because| writeln!(out, "          {}", lookalike::escaped(because)))
}

fn compared(compared: &Compared, is_daemon: bool) -> String {
    let Compared { daemon, port, address, name, user } = compared;
    let which = if is_daemon { "server " } else { "" };
    let parts = [
        daemon.as_ref().map(|daemon| format!("daemon {daemon}")),
        port.map(|port| format!("port {port}")),
        address.as_ref().map(|address| format!("{which}address {address}")),
        name.as_ref().map(|name| format!("{which}name {name}")),
        user.as_ref().map(|user| format!("user {user}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn cited(place: &QuotedPlace) -> String {
    let QuotedPlace { file, line, column, text } = place;
    format!("{file}:{line}:{column}: {text}")
}

fn token(place: &QuotedPlace) -> String {
    format!("\"{}\" at {}:{}", place.text, place.line, place.column)
}

/// A writer that lets no control character through: tables and names are not to steer a terminal.
struct PrintableWriter<'a, W>(&'a mut W);

impl<W: Write> Write for PrintableWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let plain: Vec<u8> = bytes
            .iter()
            .map(|byte| if byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t') { b'?' } else { *byte })
            .collect();
        self.0.write_all(&plain)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
