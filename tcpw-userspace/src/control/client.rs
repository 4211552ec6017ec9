//! The client's end of the control socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use super::{Answer, Request, Response, answer_in, socket_path};

/// Longest answer: a hundred thousand listeners.
const MAX_RESPONSE: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon uses this run directory.
    #[error("no daemon is running")]
    NotRunning,
    /// The socket is root's.
    #[error(
        "not allowed to ask the daemon: run as root, or as a member of the group that `readers` in tcpw.toml names"
    )]
    NotAllowed,
    /// The daemon did not answer in time, or its answer was not understood.
    #[error("the daemon does not answer: {0}")]
    NoAnswer(String),
    /// The daemon answers that it cannot do it, or with something else.
    #[error("the daemon: {0}")]
    Failed(String),
}

/// As [`ask`], for the value that is asked for.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask_for<A: Answer>(run_dir: &Path, request: Request, timeout: Duration) -> Result<A, AskError> {
    answer_in(ask(run_dir, request, timeout)?).map_err(AskError::Failed)
}

/// Sends a request to the daemon of `run_dir` and waits for the answer.
///
/// # Errors
///
/// See [`AskError`].
pub fn ask(run_dir: &Path, request: Request, timeout: Duration) -> Result<Response, AskError> {
    let deadline = Instant::now() + timeout;
    let no_answer = |error: io::Error| {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            AskError::NoAnswer(format!("nothing came within {} s", timeout.as_secs_f32()))
        } else {
            AskError::NoAnswer(crate::host::reason(&error))
        }
    };
    let mut stream = UnixStream::connect(socket_path(run_dir)).map_err(|error| {
        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            AskError::NotRunning
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            AskError::NotAllowed
        } else {
            no_answer(error)
        }
    })?;
    stream.set_write_timeout(Some(timeout)).map_err(no_answer)?;
    let mut line = serde_json::to_vec(&request).map_err(|error| no_answer(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(no_answer)?;

    let mut answer = Vec::new();
    let mut reader = BufReader::new(stream).take(MAX_RESPONSE);
    while answer.last() != Some(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        reader.get_ref().get_ref().set_read_timeout(Some(left)).map_err(no_answer)?;
        // One read at a time: the deadline also holds if the daemon sends a few bytes at a time.
        let chunk = reader.fill_buf().map_err(no_answer)?;
        if chunk.is_empty() {
            return Err(AskError::NoAnswer("it closed the connection".into()));
        }
        let taken = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |newline| newline + 1);
        answer.extend_from_slice(&chunk[..taken]);
        reader.consume(taken);
        if Instant::now() > deadline && answer.last() != Some(&b'\n') {
            return Err(no_answer(io::ErrorKind::TimedOut.into()));
        }
    }
    serde_json::from_slice(&answer)
        .map_err(|error| AskError::NoAnswer(format!("is it another version? ({error})")))
}
