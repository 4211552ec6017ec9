//! A rule to its canonical form, and back as a proof.

use super::{Why, command, layout, word};
use crate::parse::{
    lexer::Lexer,
    list::{is_except, split_at, tokens},
    options,
};

/// What a rule says: the words of its lists and its option fields.
#[derive(PartialEq, Eq)]
struct Parts {
    daemons: Vec<Vec<u8>>,
    clients: Vec<Vec<u8>>,
    /// As they are written, without the blanks around them and those that mean nothing.
    options: Vec<Vec<u8>>,
}

/// An option as it is printed: with a break where the author broke the line.
type Shown = Vec<u8>;

/// A joined line, which is a rule, in canonical form.
///
/// `joins` are the offsets where the author's continuation lines begin.
pub(super) fn canonical(line: &[u8], joins: &[usize]) -> Result<Vec<u8>, Why> {
    let mut parts = read(line)?;
    let shown = shown(line, joins);
    for token in &mut parts.daemons {
        *token = word::daemon(token);
    }
    for token in &mut parts.clients {
        *token = word::client(token);
    }
    let pieces = pieces(&parts, &shown);
    // Indentation counts in libwrap's buffer, so a long rule may fit on one line only.
    let wrapped = proven(layout::lines(&pieces), &parts);
    if wrapped == Err(Why::WouldBeTooLong) { proven(layout::one_line(&pieces), &parts) } else { wrapped }
}

/// The text, if it reads as these parts.
fn proven(text: Vec<u8>, parts: &Parts) -> Result<Vec<u8>, Why> {
    let mut lexer = Lexer::new(&text);
    let Some(line) = lexer.next() else { return Err(Why::Backslash) };
    if line.broken {
        return Err(if line.is_full() { Why::WouldBeTooLong } else { Why::Backslash });
    }
    let reads_the_same = line.span == (0..text.len()) && read(&line.bytes).as_ref() == Ok(parts);
    if reads_the_same { Ok(text) } else { Err(Why::Backslash) }
}

fn read(line: &[u8]) -> Result<Parts, Why> {
    let colon = split_at(line, b':').ok_or(Why::NoSeparator)?;
    let behind = &line[colon + 1..];
    let end = split_at(behind, b':').map_or(line.len(), |at| colon + 1 + at);
    let words = |field| tokens(field, 0).map(|(_, token): (_, &[u8])| token.to_vec()).collect::<Vec<_>>();
    let (daemons, clients) = (words(&line[..colon]), words(&line[colon + 1..end]));
    if [&line[..colon], &line[colon + 1..end]].into_iter().any(|field| !is_balanced(field)) {
        return Err(Why::Brackets);
    }
    if daemons.iter().chain(&clients).any(|token| token.starts_with(b"#")) {
        return Err(Why::InnerComment);
    }
    let fields = if end < line.len() { options::parse(line, end + 1) } else { Vec::new() };
    if fields.iter().any(|field| field.option.is_err()) {
        return Err(Why::WrongOption);
    }
    let options = fields.into_iter().map(|field| spelt(&line[field.span], &[], command::squeezed)).collect();
    Ok(Parts { daemons, clients, options })
}

/// The options as they are printed.
fn shown(line: &[u8], joins: &[usize]) -> Vec<Shown> {
    let Some(first) = split_at(line, b':') else { return Vec::new() };
    let Some(second) = split_at(&line[first + 1..], b':').map(|at| first + 1 + at) else { return Vec::new() };
    let fields = options::parse(line, second + 1);
    let has_command = fields.iter().any(|field| is_command(&line[field.span.clone()]));
    let mut end =
        line[..second].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    let mut all = Vec::new();
    for field in fields {
        let span = field.span;
        let inner: Vec<usize> =
            joins.iter().filter(|at| span.contains(at)).map(|at| at - span.start).collect();
        let text = spelt(&line[span.clone()], &inner, |text| text.to_vec());
        let is_broken = has_command && joins.iter().any(|at| (end..=span.start).contains(at));
        let break_before: &[u8] = if is_broken { &[command::BREAK] } else { b"" };
        all.push([break_before, &text].concat());
        end = span.end;
    }
    all
}

/// An option with its name in small letters and single blanks; a command's value is made by `squeeze`.
fn spelt(option: &[u8], breaks: &[usize], squeeze: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let end = options::keyword_end(option).unwrap_or(option.len());
    let name = option[..end].to_ascii_lowercase();
    let behind = &option[end..];
    let value = behind.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'=')).unwrap_or(behind.len());
    let gap: Vec<u8> = behind[..value].iter().map(|byte| if *byte == b'\t' { b' ' } else { *byte }).collect();
    let text = &behind[value..];
    if !is_command(option) {
        return [name, gap, text.to_vec()].concat();
    }
    let breaks: Vec<usize> = breaks.iter().filter_map(|at| at.checked_sub(end + value)).collect();
    [name, gap, squeeze(&command::printed(text, &breaks))].concat()
}

/// Whether an option is a command for the shell.
fn is_command(option: &[u8]) -> bool {
    let end = options::keyword_end(option).unwrap_or(option.len());
    [&b"spawn"[..], b"twist", b"aclexec"].iter().any(|name| name.eq_ignore_ascii_case(&option[..end]))
}

/// Whether every bracket has its counterpart behind it.
fn is_balanced(field: &[u8]) -> bool {
    let depth = field.iter().try_fold(0u32, |depth, byte| match byte {
        b'[' => Some(depth + 1),
        b']' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}

/// The texts between which a line may be broken.
fn pieces(parts: &Parts, options: &[Shown]) -> Vec<Vec<u8>> {
    let Parts { daemons, clients, .. } = parts;
    let mut pieces = list(daemons);
    close(&mut pieces, 0);
    let first_client = pieces.len();
    pieces.extend(list(clients));
    if !options.is_empty() {
        close(&mut pieces, first_client);
    }
    for (index, option) in options.iter().enumerate() {
        let colon: &[u8] = if index + 1 < options.len() { b":" } else { b"" };
        pieces.push([option, colon].concat());
    }
    pieces
}

/// The colon behind a list that began at piece `first`.
fn close(pieces: &mut Vec<Vec<u8>>, first: usize) {
    match pieces.get_mut(first..).and_then(|list| list.last_mut()) {
        Some(last) => last.push(b':'),
        None => pieces.push(b":".to_vec()),
    }
}

/// Commas between patterns, none beside EXCEPT.
fn list(tokens: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let next = tokens.iter().skip(1).map(Some).chain([None]);
    let pieces = tokens.iter().zip(next).map(|(token, next)| {
        let has_comma = !is_except(token) && next.is_some_and(|next| !is_except(next));
        [token.as_slice(), if has_comma { b"," } else { b"" }].concat()
    });
    pieces.collect()
}
