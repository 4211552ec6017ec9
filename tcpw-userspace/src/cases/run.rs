//! Lines in, lines out.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    rc::Rc,
};

use memchr::memchr;

use super::{
    answer::{CaseAnswer, Id, rule},
    bytes::JsonBytes,
    case::Case,
    lookup::{CaseLookup, PID, host_name},
    recent_tables::{RecentTables, Recognised},
    tables::{CaseTables, TablesCache},
};
use crate::{
    evaluate::{
        quoted_bytes,
        request::{AccessRequest, Known},
    },
    parse::rule::{Origin, Text},
};

/// Most bytes of a line.
const LINE_BYTES: usize = 256 << 20;

/// What became of the cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaseCounts {
    /// Cases that were judged.
    pub cases: u64,
    /// Those that say what they expect.
    pub compared: u64,
    /// Those that differ from it.
    pub differing: u64,
    /// Lines that are no case.
    pub bad: u64,
}

impl fmt::Display for CaseCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, compared, differing, bad } = self;
        let s = |count: u64| if count == 1 { "" } else { "s" };
        write!(out, "{cases} case{}, {compared} with an expected verdict, {differing} differ", s(*cases))?;
        if *bad > 0 { write!(out, ", {bad} bad line{}", s(*bad)) } else { Ok(()) }
    }
}

/// Why a line is no case.
#[derive(Debug)]
pub struct BadCase {
    column: usize,
    message: String,
}

impl fmt::Display for BadCase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.column, self.message)
    }
}

impl BadCase {
    fn new(error: &serde_json::Error, before: usize) -> Self {
        let text = error.to_string();
        let message = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
        Self { column: before + error.column().max(1), message: message.into() }
    }
}

/// Judges every case of `input`, called `name` in messages.
///
/// `answers` gets one line for each, `remarks` differences and bad lines.
///
/// # Errors
/// Reading or writing fails.
pub fn run(
    name: &str,
    mut input: BufReader<impl Read>,
    answers: impl Write,
    remarks: &mut dyn Write,
    cache: &mut TablesCache,
) -> io::Result<CaseCounts> {
    let mut clerk = Clerk { name, answers, remarks, cache, count: CaseCounts::default() };
    let mut recent = RecentTables::default();
    let (mut line, mut short) = (Vec::new(), Vec::new());
    for number in 1.. {
        line.clear();
        if input.buffer().is_empty() {
            // Whoever asks one case after the other waits for the answer.
            clerk.answers.flush()?;
        }
        if !read_line(&mut input, &mut line)? {
            break;
        }
        if line.len() > LINE_BYTES {
            let message = format!("longer than {} MiB", LINE_BYTES >> 20);
            clerk.refuse(number, &BadCase { column: 1, message })?;
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"//") {
            continue;
        }
        if let Some(tables) = recent.recognise(text, &mut short)
            && clerk.judge(number, &short, tables)?.is_ok()
        {
            continue;
        }
        match clerk.judge(number, text, [None; 2])? {
            Ok(()) => recent.learn(text),
            Err(BadCase { column, message }) => {
                let column = column + line.len() - line.trim_ascii_start().len();
                clerk.refuse(number, &BadCase { column, message })?;
            }
        }
    }
    clerk.answers.flush()?;
    Ok(clerk.count)
}

/// Who takes the cases.
struct Clerk<'a, W> {
    name: &'a str,
    answers: W,
    remarks: &'a mut dyn Write,
    cache: &'a mut TablesCache,
    count: CaseCounts,
}

impl<W: Write> Clerk<'_, W> {
    /// Judges and answers the case of a line; `tables` were taken out of it.
    fn judge(&mut self, number: u64, text: &[u8], tables: Recognised<'_>) -> io::Result<Result<(), BadCase>> {
        let judged = read(text).and_then(|mut case| {
            let [allow, deny] = tables;
            (case.allow, case.deny) = (allow.or(case.allow), deny.or(case.deny));
            let (policy, answer) = judge(&case, number, text, self.cache)?;
            Ok((case, policy, answer))
        });
        let (case, policy, answer) = match judged {
            Ok(judged) => judged,
            Err(bad) => return Ok(Err(bad)),
        };
        self.count.cases += 1;
        self.count.compared += u64::from(case.expect.is_some());
        let mut differences = Vec::new();
        answer.compare(&case, |difference| differences.push(difference));
        self.count.differing += u64::from(!differences.is_empty());
        for difference in differences {
            let (name, id, place) = (self.name, answer.id, place(&policy, &answer));
            writeln!(self.remarks, "{name}:{number}: {id}: {difference}{place}")?;
        }
        serde_json::to_writer(&mut self.answers, &answer)?;
        self.answers.write_all(b"\n")?;
        Ok(Ok(()))
    }

    /// Tells of a line that is no case.
    fn refuse(&mut self, number: u64, bad: &BadCase) -> io::Result<()> {
        self.count.bad += 1;
        writeln!(self.remarks, "{}:{number}:{bad}: {EXPECTED}; this case is left out", self.name)
    }
}

/// Reads a line; of one that is too long no more than shows that it is. False at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut is_any = false;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = memchr(b'\n', buffer);
        let length = end.map_or(buffer.len(), |end| end + 1);
        if line.len() <= LINE_BYTES {
            line.extend_from_slice(&buffer[..length]);
        }
        input.consume(length);
        is_any |= length > 0;
        if end.is_some() || length == 0 {
            return Ok(is_any);
        }
    }
}

/// What a line should be.
const EXPECTED: &str =
    "expected a JSON object, as {\"daemon\":\"sshd\",\"client_addr\":\"192.0.2.1\",\"expect\":\"allow\"}";

/// Reads one case.
///
/// # Errors
/// It is none.
pub fn read(text: &[u8]) -> Result<Case<'_>, BadCase> {
    serde_json::from_slice(text).map_err(|error| BadCase::new(&error, 0))
}

/// Judges one case, read from `text`, which stands in line `number`.
///
/// # Errors
/// Its tables or addresses are no text.
pub fn judge<'a>(
    case: &Case<'a>,
    number: u64,
    text: &[u8],
    cache: &mut TablesCache,
) -> Result<(Rc<CaseTables>, CaseAnswer<'a>), BadCase> {
    let policy = cache.policy(case).map_err(|(error, raw)| {
        let before = raw.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let bad = BadCase::new(&error, before);
        // Of a table that is no text the beginning is shown.
        if raw.starts_with('{') { bad } else { BadCase { column: before + 1, ..bad } }
    })?;
    let daemons = [Text::from(case.daemon.0.as_ref())];
    let (client_name, server_name) =
        (host_name(case.client_name.as_ref()), host_name(case.server_name.as_ref()));
    let request = AccessRequest {
        daemons: &daemons,
        client_address: address(case.client_addr.as_ref(), "client_addr")?,
        server_address: address(case.server_addr.as_ref(), "server_addr")?,
        client_port: case.client_port,
        server_port: case.server_port,
        pid: PID,
        resident: case.resident.unwrap_or_default(),
        known: Known {
            client_name: Some(&client_name),
            server_name: Some(&server_name),
            client_user: Some(case.client_user.as_ref().map_or(b"unknown", |user| &user.0)),
        },
    };
    let judgement = policy.tables.evaluate(&request, &CaseLookup(&policy.files));
    let id = case.id.map_or(Id::Line(number), Id::Own);
    let answer = CaseAnswer::new(id, policy.tables.tables(), judgement);
    Ok((policy, answer))
}

fn address<'a>(address: Option<&'a JsonBytes<'_>>, field: &str) -> Result<Option<&'a str>, BadCase> {
    let Some(address) = address.filter(|address| !address.0.is_empty()) else { return Ok(None) };
    let bad = |_| BadCase { column: 1, message: format!("{field} is no text") };
    std::str::from_utf8(&address.0).map(Some).map_err(bad)
}

/// Where the rule of an answer stands.
fn place(policy: &CaseTables, answer: &CaseAnswer<'_>) -> String {
    let Some(rule) = answer.rule.and_then(|index| rule(policy.tables.tables(), index)) else {
        return "; no rule matched".into();
    };
    let Origin { path, line, column, .. } = rule.origin();
    format!("; {}:{line}:{column}: {}", path.display(), quoted_bytes(&rule.text()))
}
