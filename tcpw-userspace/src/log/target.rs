//! What `--log` takes.

use std::{fmt, io, path::PathBuf, str::FromStr};

use super::{FileSink, LogSink, StreamSink, SyslogSink};

/// Where the syslog daemon listens.
const DEV_LOG: &str = "/dev/log";

/// A destination of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    #[default]
    Stdout,
    /// The syslog daemon.
    Syslog,
    /// A file.
    File(PathBuf),
}

/// A word that names no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no log destination: expected stdout, syslog or file:PATH (as file:/var/log/secure)")]
pub struct LogTargetError(String);

impl LogTarget {
    pub(super) fn open(&self) -> io::Result<Box<dyn LogSink>> {
        Ok(match self {
            Self::Stdout => Box::new(StreamSink::new(io::stdout())),
            Self::Syslog => Box::new(SyslogSink::new(DEV_LOG)),
            Self::File(path) => Box::new(FileSink::open(path)?),
        })
    }
}

impl FromStr for LogTarget {
    type Err = LogTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "syslog" => Ok(Self::Syslog),
            other => match other.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Self::File(path.into())),
                Some(_) | None => Err(LogTargetError(other.to_owned())),
            },
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => write!(out, "stdout"),
            Self::Syslog => write!(out, "syslog"),
            Self::File(path) => write!(out, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_is_read_back_as_written() {
        for text in ["stdout", "syslog", "file:/var/log/secure", "file:a:b"] {
            assert_eq!(text.parse::<LogTarget>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_words_are_refused_with_what_was_expected() {
        for text in ["", "file", "file:", "Stdout", "/var/log/secure"] {
            let error = text.parse::<LogTarget>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{text}\" is no log destination: expected stdout,")));
        }
    }
}
