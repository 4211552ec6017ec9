//! What `--log` takes: the table of the sinks.
//!
//! In: a word of the settings. Out: a destination, which can be opened.
//! Invariant: whatever is said of a kind of sink (its word, whether it takes a path, where it writes to, how it is opened)
//! is its line in [`KINDS`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{FileSink, StreamSink, datagrams::DatagramSink, journald, sinks::Opened, syslog};

/// What is written to standard output alone.
const STANDARD_OUTPUT: &str = "standard output";

/// A kind of sink.
struct Kind {
    /// Its word in the settings.
    word: &'static str,
    /// Where it writes to without a path; `None`: it needs one.
    place: Option<&'static str>,
    /// An example with a path; `None`: it takes none.
    with_path: Option<&'static str>,
    /// Opens it, at a path if one was written.
    open: fn(Option<&Path>) -> io::Result<Opened>,
}

/// Every kind.
const KINDS: &[Kind] = &[
    Kind {
        word: "stdout",
        place: Some(STANDARD_OUTPUT),
        with_path: None,
        open: |_| Ok(Opened::Lines(Box::new(StreamSink::new(io::stdout())))),
    },
    Kind {
        word: "syslog",
        place: Some(syslog::SOCKET),
        with_path: None,
        open: |_| Ok(Opened::Lines(Box::new(DatagramSink::new(syslog::SOCKET)))),
    },
    Kind {
        word: "journald",
        place: Some(journald::SOCKET),
        with_path: None,
        open: |_| Ok(Opened::Journal(Box::new(DatagramSink::new(journald::SOCKET)))),
    },
    Kind {
        word: "file",
        place: None,
        with_path: Some("file:/var/log/secure"),
        open: |path| Ok(Opened::Lines(Box::new(FileSink::open(path.unwrap_or(Path::new("")))?))),
    },
    Kind {
        word: "json",
        place: Some(STANDARD_OUTPUT),
        with_path: Some("json:/var/log/tcpw.json"),
        open: |path| {
            Ok(Opened::Json(match path {
                None => Box::new(StreamSink::new(io::stdout())),
                Some(path) => Box::new(FileSink::open(path)?),
            }))
        },
    },
];

/// A destination of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// The word of its kind.
    word: &'static str,
    /// What was written behind the word.
    path: Option<PathBuf>,
}

/// Why a setting names no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogTargetError {
    /// A word that names none.
    #[error("\"{0}\" is no log destination: expected {words}", words = expected())]
    Unknown(String),
    /// Two of the settings write to the same place.
    #[error("\"{1}\" writes to {2}, as \"{0}\" does: name each place once")]
    SamePlace(LogTarget, LogTarget, String),
    /// There is none.
    #[error("no log destination: write {words}", words = expected())]
    None,
}

impl LogTarget {
    /// The syslog daemon.
    pub fn syslog() -> Self {
        Self { word: "syslog", path: None }
    }

    /// Checks that no two destinations are the same place. On failure, also the index of the second.
    ///
    /// # Errors
    /// Two are, or there is none.
    pub fn check(all: &[Self]) -> Result<(), (usize, LogTargetError)> {
        for (at, one) in all.iter().enumerate() {
            if let Some(before) = all[..at].iter().find(|before| before.place() == one.place()) {
                let place = one.place().display().to_string();
                return Err((at, LogTargetError::SamePlace(before.clone(), one.clone(), place)));
            }
        }
        if all.is_empty() { Err((0, LogTargetError::None)) } else { Ok(()) }
    }

    /// Opens it. A daemon may be down: its lines wait for it.
    pub(super) fn open(&self) -> io::Result<Opened> {
        match KINDS.iter().find(|kind| kind.word == self.word) {
            Some(kind) => (kind.open)(self.path.as_deref()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where it writes to.
    fn place(&self) -> &Path {
        let of_kind = || KINDS.iter().find(|kind| kind.word == self.word).and_then(|kind| kind.place);
        self.path.as_deref().unwrap_or_else(|| Path::new(of_kind().unwrap_or_default()))
    }
}

/// All that can be written, for messages.
fn expected() -> String {
    let words = KINDS.iter().flat_map(|kind| {
        let alone = kind.place.map(|_| kind.word.to_owned());
        let with_path = kind.with_path.map(|example| format!("{}:PATH (as {example})", kind.word));
        alone.into_iter().chain(with_path)
    });
    let mut words: Vec<String> = words.collect();
    let last = words.pop().unwrap_or_default();
    format!("{} or {last}", words.join(", "))
}

impl FromStr for LogTarget {
    type Err = LogTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, path) = match text.split_once(':') {
            Some((word, path)) => (word, Some(path)),
            None => (text, None),
        };
        let is_it = |kind: &&Kind| {
            kind.word == word
                && match path {
                    None => kind.place.is_some(),
                    Some(path) => kind.with_path.is_some() && !path.is_empty(),
                }
        };
        match KINDS.iter().find(is_it) {
            Some(kind) => Ok(Self { word: kind.word, path: path.map(PathBuf::from) }),
            None => Err(LogTargetError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => write!(out, "{}", self.word),
            Some(path) => write!(out, "{}:{}", self.word, path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_is_read_back_as_written() {
        for text in [
            "stdout",
            "syslog",
            "file:/var/log/secure",
            "file:a:b",
            "journald",
            "json",
            "json:/var/log/tcpw.json",
        ] {
            assert_eq!(text.parse::<LogTarget>().unwrap().to_string(), text);
        }
        assert_eq!(LogTarget::syslog(), "syslog".parse().unwrap());
        for example in KINDS.iter().filter_map(|kind| kind.with_path) {
            assert_eq!(example.parse::<LogTarget>().unwrap().to_string(), example);
        }
    }

    #[test]
    fn other_words_are_refused_with_what_was_expected() {
        for text in ["", "file", "file:", "json:", "syslog:/dev/log", "Stdout", "/var/log/secure"] {
            let error = text.parse::<LogTarget>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{text}\" is no log destination: expected stdout,")));
        }
    }

    #[test]
    fn two_sinks_never_write_to_the_same_place() {
        let check = |words: &[&str]| {
            let all: Vec<LogTarget> = words.iter().map(|word| word.parse().unwrap()).collect();
            LogTarget::check(&all).map_err(|(at, error)| (at, error.to_string()))
        };
        assert_eq!(check(&["syslog", "stdout", "file:/a", "json:/b"]), Ok(()));
        for (words, second) in [
            (["syslog", "stdout", "syslog"], 2),
            (["stdout", "json", "syslog"], 1),
            (["file:/a", "syslog", "json:/a"], 2),
        ] {
            assert_eq!(check(&words).unwrap_err().0, second, "{words:?}");
        }
        assert_eq!(
            check(&["file:/a", "json:/a"]).unwrap_err().1,
            "\"json:/a\" writes to /a, as \"file:/a\" does: name each place once"
        );
        assert!(check(&[]).unwrap_err().1.starts_with("no log destination: write stdout, syslog,"));
    }
}
