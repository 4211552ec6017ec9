//! Long tables that cases repeat: recognised as they are written, without being read as JSON.
//!
//! In: a line. Out: the line without the tables that were seen before, and those tables.
//! Invariant: what is recognised is byte for byte a JSON string that was read before, and stands
//! where the object of the line has that field; in any doubt nothing is recognised.

use memchr::memchr2;
use serde_json::value::RawValue;

/// Shorter tables are read as quickly.
const LONG: usize = 512;

/// Most tables that are remembered.
const MOST: usize = 16;

/// Most bytes of a table that is remembered.
const MOST_BYTES: usize = 1 << 20;

/// Bytes at the end of a table that are compared before the rest: tables often begin alike.
const TAIL: usize = 32;

/// The raw JSON of `allow` and `deny`, as far as it was recognised.
pub(super) type Recognised<'a> = [Option<&'a RawValue>; 2];

/// Tables of the last lines.
#[derive(Debug, Default)]
pub(super) struct RecentTables {
    tables: Vec<Box<RawValue>>,
    oldest: usize,
}

impl RecentTables {
    /// Writes the line into `short`, with null for every table that is known; those are returned.
    pub(super) fn recognise(&self, line: &[u8], short: &mut Vec<u8>) -> Option<Recognised<'_>> {
        if line.len() < LONG || self.tables.is_empty() {
            return None;
        }
        let mut recognised: Recognised<'_> = [None; 2];
        let mut written = 0;
        short.clear();
        fields(line, |field, start| {
            let known = self.known(&line[start..])?;
            short.extend_from_slice(&line[written..start]);
            short.extend_from_slice(b"null");
            written = start + known.get().len();
            recognised[field] = Some(known);
            Some(known.get().len())
        })?;
        short.extend_from_slice(&line[written..]);
        recognised.iter().any(Option::is_some).then_some(recognised)
    }

    /// Remembers the long tables of a line that is a case.
    pub(super) fn learn(&mut self, line: &[u8]) {
        if line.len() < LONG {
            return;
        }
        let mut found = [None; 2];
        let ends = fields(line, |field, start| {
            found[field] = Some(start);
            None
        });
        for start in found.into_iter().flatten().filter(|_| ends.is_some()) {
            let table = string(line, start).map(|end| &line[start..end]);
            let table = table.filter(|table| (LONG..MOST_BYTES).contains(&table.len()));
            let table = table.and_then(|table| String::from_utf8(table.to_vec()).ok());
            let Some(table) = table.and_then(|table| RawValue::from_string(table).ok()) else { continue };
            if self.known(&line[start..]).is_some() {
                continue;
            }
            if self.tables.len() < MOST {
                self.tables.push(table);
            } else {
                self.tables[self.oldest] = table;
                self.oldest = (self.oldest + 1) % MOST;
            }
        }
    }

    /// The known table that `text` begins with.
    fn known(&self, text: &[u8]) -> Option<&RawValue> {
        let is_here = |table: &&RawValue| {
            let table = table.get().as_bytes();
            let tail = table.len() - TAIL;
            text.get(tail..table.len()).is_some_and(|here| here == &table[tail..])
                && text[..tail] == table[..tail]
        };
        self.tables.iter().map(|table| &**table).find(is_here)
    }
}

/// Walks over the fields of an object that fills the line. `table` is told of each string `allow`
/// (0) or `deny` (1) and where it starts; it may tell its length. `None`: it is no plain object, or
/// has one of them twice.
fn fields(line: &[u8], mut table: impl FnMut(usize, usize) -> Option<usize>) -> Option<()> {
    let mut at = skip(line, 0, b'{')?;
    let mut seen = [false; 2];
    loop {
        let end = string(line, at)?;
        let field = match &line[at..end] {
            b"\"allow\"" => Some(0),
            b"\"deny\"" => Some(1),
            // It may be one of them.
            name if name.contains(&b'\\') => return None,
            _ => None,
        };
        at = skip(line, end, b':')?;
        if let Some(field) = field
            && std::mem::replace(&mut seen[field], true)
        {
            return None;
        }
        let length = field.filter(|_| line.get(at) == Some(&b'"')).and_then(|field| table(field, at));
        let end = blanks(line, length.map_or_else(|| value(line, at), |length| Some(at + length))?);
        match line.get(end)? {
            b',' => at = blanks(line, end + 1),
            b'}' if blanks(line, end + 1) == line.len() => return Some(()),
            _ => return None,
        }
    }
}

/// Past blanks, one byte and blanks.
fn skip(line: &[u8], at: usize, byte: u8) -> Option<usize> {
    let at = blanks(line, at);
    (line.get(at) == Some(&byte)).then(|| blanks(line, at + 1))
}

fn blanks(line: &[u8], at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// The end of a string that starts at `at`.
fn string(line: &[u8], at: usize) -> Option<usize> {
    if line.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', line.get(at..)?)?;
        match line[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The end of a value that starts at `at`; whether it is a valid one is for others to say.
fn value(line: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at, 0usize);
    loop {
        match line.get(at)? {
            b'"' => at = string(line, at)?,
            b'[' | b'{' => {
                depth += 1;
                at += 1;
                continue;
            }
            b']' | b'}' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b',' | b':' | b' ' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let ends = |byte: &u8| b",:]}[{\" ".contains(byte);
                at += line[at..].iter().position(ends)?.max(1);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(text: &str) -> String {
        format!("\"{}\"", text.repeat(LONG))
    }

    /// What is left of `line` once `learnt` was seen.
    fn short(learnt: &str, line: &str) -> Option<(String, [bool; 2])> {
        let mut recent = RecentTables::default();
        recent.learn(learnt.as_bytes());
        let mut short = Vec::new();
        let recognised = recent.recognise(line.as_bytes(), &mut short)?;
        Some((String::from_utf8(short).unwrap(), recognised.map(|table| table.is_some())))
    }

    #[test]
    fn repeated_table_is_taken_out() {
        let (table, other) = (long("a\\n"), long("b"));
        let line = |id: &str, deny: &str| {
            format!(
                "{{ \"id\": \"{id}\" ,\"allow\":{table},\"x\":[{{\"allow\":1}}, -1.5e3, \"]\\\"\"],\"deny\":{deny}}} "
            )
        };
        let left = |deny: &str| line("2", deny).replace(&table, "null");
        assert_eq!(short(&line("1", "null"), &line("2", "null")), Some((left("null"), [true, false])));
        assert_eq!(short(&line("1", "null"), &line("2", &other)), Some((left(&other), [true, false])));
        assert_eq!(short(&line("1", &other), &line("2", &other)), Some((left("null"), [true, true])));
    }

    #[test]
    fn anything_else_is_left_alone() {
        let table = long("a");
        let known = format!("{{\"allow\":{table}}}");
        assert!(short(&known, &known).is_some());
        for line in [
            format!("{{\"allow\":{table}}}}}"),
            format!("{{\"allow\":{table}"),
            format!("{{\"allow\":{table},\"allow\":null}}"),
            format!("{{\"allow\":{table},\"\\u0061llow\":null}}"),
            format!("{{\"x\":{table}}}"),
            format!("{{\"x\":{{\"allow\":{table}}}}}"),
            format!("[{{\"allow\":{table}}}]"),
            format!("{{\"allow\":{}}}", long("b")),
            format!("{{\"allow\":\"a{}}}", &table[1..]),
            format!("{{\"allow\":{},\"x\":{table}}}", &table[..table.len() - 1]),
        ] {
            assert_eq!(short(&known, &line), None, "{line}");
        }
    }

    #[test]
    fn old_tables_make_room() {
        let mut recent = RecentTables::default();
        for number in 0..100 {
            recent.learn(format!("{{\"deny\":{}}}", long(&format!("{number} "))).as_bytes());
        }
        assert_eq!(recent.tables.len(), MOST);
        let line = format!("{{\"deny\":{}}}", long("99 "));
        assert!(recent.recognise(line.as_bytes(), &mut Vec::new()).is_some());
    }
}
