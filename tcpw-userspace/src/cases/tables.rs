//! The tables of cases: parsed once, kept while they are asked for.
//!
//! In: the raw JSON of `allow`, `deny` and `files`. Out: [`Tables`].
//! Invariant: memory is bounded, however many tables the cases have. Nothing is read from
//! disk for a case that has both tables.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    bytes::JsonBytes,
    case::{Case, CaseFiles},
};
use crate::{
    evaluate::IndexedTables,
    parse::{
        parse, pattern_files,
        rule::Tables,
        text::{FileText, Texts},
    },
    source::Source,
};

/// Most bytes of texts whose tables are kept. Parsed they are some twenty times as large.
const CACHED_BYTES: usize = 8 << 20;

/// The tables of a case, and its files.
#[derive(Debug)]
pub struct CaseTables {
    /// Raw JSON of `allow`, `deny` and `files`; `None` where the case lacks it.
    raw: [Option<Box<str>>; 3],
    /// The parsed tables.
    pub tables: IndexedTables,
    /// The files of the case.
    pub files: BTreeMap<PathBuf, FileText>,
}

impl CaseTables {
    fn is_of(&self, raw: [Option<&str>; 3]) -> bool {
        self.raw.iter().map(Option::as_deref).eq(raw)
    }
}

/// Parsed tables by their texts.
#[derive(Debug)]
pub struct TablesCache {
    source: Source,
    policies: HashMap<u64, Rc<CaseTables>>,
    bytes: usize,
}

impl TablesCache {
    /// An empty one. `source`: the tables of cases that have none.
    pub fn new(source: Source) -> Self {
        Self { source, policies: HashMap::new(), bytes: 0 }
    }

    /// The tables of a case.
    ///
    /// # Errors
    /// `allow`, `deny` or `files` is not of the right type.
    pub(super) fn policy<'a>(&mut self, case: &Case<'a>) -> Result<Rc<CaseTables>, Bad<'a>> {
        let raw = [case.allow, case.deny, case.files].map(|value| value.map(RawValue::get));
        let hash = sampled(raw);
        if let Some(policy) = self.policies.get(&hash)
            && policy.is_of(raw)
        {
            return Ok(Rc::clone(policy));
        }
        let size = raw.iter().flatten().map(|text| text.len()).sum();
        if self.bytes.saturating_add(size) > CACHED_BYTES {
            self.policies.clear();
            self.bytes = 0;
        }
        let policy = Rc::new(self.read(raw)?);
        self.bytes += size;
        self.policies.insert(hash, Rc::clone(&policy));
        Ok(policy)
    }

    fn read<'a>(&self, raw: [Option<&'a str>; 3]) -> Result<CaseTables, Bad<'a>> {
        let [allow, deny, files] = raw;
        let (given_allow, given_deny) = (table("hosts.allow", allow)?, table("hosts.deny", deny)?);
        let files = files.map_or_else(|| Ok(BTreeMap::new()), case_files)?;
        let tables = match (given_allow, given_deny) {
            (Some(allow), Some(deny)) => {
                let texts = Texts { allow, deny, files: BTreeMap::new() };
                complete(texts, |path| found(&files, path))
            }
            (allow, deny) => {
                let overlay = |texts: &Texts| {
                    let mut texts = texts.clone();
                    texts.allow = allow.clone().unwrap_or(texts.allow);
                    texts.deny = deny.clone().unwrap_or(texts.deny);
                    for (path, text) in &mut texts.files {
                        if let Some(given) = files.get(path) {
                            *text = given.clone();
                        }
                    }
                    texts
                };
                let texts = self.source.read(|texts| pattern_files(&parse(&overlay(texts)).tables));
                parse(&overlay(&texts)).tables
            }
        };
        let tables = IndexedTables::new(Arc::new(tables));
        Ok(CaseTables { raw: raw.map(|text| text.map(Into::into)), tables, files })
    }
}

/// A hash of the lengths and of some of the text: reading all of a large table for
/// every case would take longer than judging it. Texts that collide replace each other.
fn sampled(raw: [Option<&str>; 3]) -> u64 {
    const SAMPLES: usize = 16;
    const BYTES: usize = 16;
    let mut hasher = DefaultHasher::new();
    for text in raw {
        let bytes = text.unwrap_or_default().as_bytes();
        bytes.len().hash(&mut hasher);
        if bytes.len() <= SAMPLES * BYTES {
            hasher.write(bytes);
        } else {
            let step = (bytes.len() - BYTES) / (SAMPLES - 1);
            for start in (0..SAMPLES).map(|index| index * step) {
                hasher.write(&bytes[start..start + BYTES]);
            }
        }
    }
    hasher.finish()
}

/// An error, and the raw text it is in.
type Bad<'a> = (serde_json::Error, &'a str);

type NamedText = (Arc<PathBuf>, FileText);

fn table<'a>(name: &str, raw: Option<&'a str>) -> Result<Option<NamedText>, Bad<'a>> {
    let Some(raw) = raw else { return Ok(None) };
    let text = match serde_json::from_str::<Option<JsonBytes<'_>>>(raw).map_err(|error| (error, raw))? {
        None => FileText::Missing,
        Some(text) => FileText::Bytes(text.0.as_ref().into()),
    };
    Ok(Some((Arc::new(name.into()), text)))
}

fn case_files(raw: &str) -> Result<BTreeMap<PathBuf, FileText>, Bad<'_>> {
    let CaseFiles(files) =
        serde_json::from_str::<Option<_>>(raw).map_err(|error| (error, raw))?.unwrap_or_default();
    let entry = |(path, text): (JsonBytes<'_>, JsonBytes<'_>)| {
        let path = PathBuf::from(OsStr::from_bytes(&path.0));
        (path, FileText::Bytes(text.0.as_ref().into()))
    };
    Ok(files.into_iter().map(entry).collect())
}

/// Parses until no new file is named.
fn complete(mut texts: Texts, find: impl Fn(&Path) -> FileText) -> Tables {
    loop {
        let tables = parse(&texts).tables;
        let mut named = pattern_files(&tables);
        named.retain(|path| !texts.files.contains_key(path));
        if named.is_empty() {
            return tables;
        }
        texts.files.extend(named.into_iter().map(|path| {
            let text = find(&path);
            (path, text)
        }));
    }
}

/// Directories every machine has.
const DIRECTORIES: [&str; 5] = ["/", "/dev", "/etc", "/sys/class/net/lo", "/tmp"];

/// A file every machine has; nobody looks for patterns in it.
const FILE: &str = "/etc/passwd";

/// Most bytes of a file's name: linux uapi/limits.h, `NAME_MAX`.
const NAME_BYTES: usize = 255;

/// Most bytes of a path with its end: `PATH_MAX`.
const PATH_BYTES: usize = 4096;

/// What is at a path of a case: one of its own files, a directory that holds some, or what every machine has.
pub(super) fn found(files: &BTreeMap<PathBuf, FileText>, path: &Path) -> FileText {
    let unreadable = |why: &str| FileText::Unreadable(why.into());
    let is_file = |path: &Path| path == Path::new(FILE) || files.contains_key(path);
    let has = |path: &Path| {
        let above = |directory: &&str| Path::new(directory).starts_with(path);
        DIRECTORIES.iter().any(above) || is_file(path) || files.keys().any(|file| file.starts_with(path))
    };
    let text = path.as_os_str().as_bytes();
    let is_directory = text.ends_with(b"/") || text.ends_with(b"/.");
    if path.ancestors().skip(usize::from(!is_directory)).any(is_file) {
        return unreadable("Not a directory");
    }
    // What comes first on the way is what the system complains of.
    let is_too_long = |path: &Path| {
        path.file_name().is_some_and(|name| name.len() > NAME_BYTES) && path.parent().is_some_and(has)
    };
    if text.len() >= PATH_BYTES || path.ancestors().any(is_too_long) {
        return unreadable("File name too long");
    }
    match files.get(path) {
        Some(text) => text.clone(),
        None if has(path) => FileText::Bytes([].into()),
        None => FileText::Missing,
    }
}
