//! Messages between the daemon and its helper.
//!
//! In: messages. Out: frames of a length (u32, little endian) and that many bytes of postcard.
//! Invariant: no frame is longer than `MAX_FRAME`, in both directions.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest frame: a command, and an environment of some `setenv`.
pub(crate) const MAX_FRAME: usize = 256 << 10;

/// The daemon's first message: the user and rights of the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charge {
    /// The user.
    pub user: String,
    /// Set-uid programs work.
    pub allow_set_uid: bool,
    /// Take the group of a set-gid mailer.
    pub mailer_group: bool,
    /// Directories below which commands may change files.
    pub writable: Vec<PathBuf>,
    /// Files that commands may change.
    pub files: Vec<PathBuf>,
    /// Most processes of the user.
    pub processes: u64,
    /// Seconds for one command.
    pub time_limit_s: u64,
}

/// One command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Number in the answers.
    pub id: u64,
    /// The argument of `/bin/sh -c`.
    pub command: Vec<u8>,
    /// Names and values beside the helper's own.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Added to the nice value.
    pub nice: i32,
    /// File mode creation mask.
    pub umask: u32,
    /// It gets the connection that comes with the order.
    pub connection: Option<Connection>,
}

/// What is done with a connection, beside running the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The text its client gets first.
    pub banner: Vec<u8>,
    /// The command that gets the connection after that, if any.
    pub has_command: bool,
    /// SO_KEEPALIVE is set.
    pub keepalive: bool,
    /// SO_LINGER is set, to so many seconds.
    pub linger_s: Option<u32>,
}

/// A report of the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It has given up root.
    Ready {
        /// Notes for the log: features this kernel lacks, the mailer's group.
        notes: Vec<String>,
    },
    /// It failed to start and runs nothing: why.
    Failed(String),
    /// The shell of a command ended.
    Exited {
        /// The command.
        id: u64,
        /// Exit status, if no signal ended it.
        status: Option<u8>,
        /// Process id.
        pid: u32,
        /// The signal that ended it, or 0.
        signal: i32,
    },
    /// No process of a command is left.
    Ended {
        /// The command.
        id: u64,
        /// It took too long and was killed.
        timed_out: bool,
    },
    /// A command did not start: why.
    NotStarted {
        /// The command.
        id: u64,
        /// strerror(3)'s text.
        reason: String,
    },
}

/// A message as a frame.
pub(crate) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let length = length.ok_or_else(|| io::Error::other(format!("longer than {MAX_FRAME} bytes")))?;
    Ok([&length.to_le_bytes(), body.as_slice()].concat())
}

/// Length of the body behind a frame's first four bytes.
pub(crate) fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    Ok(length)
}

/// The message in a frame's body.
pub(crate) fn message<M: DeserializeOwned>(body: &[u8]) -> io::Result<M> {
    postcard::from_bytes(body).map_err(io::Error::other)
}

/// Reads one message; waits for it.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; body_length(head)?];
    from.read_exact(&mut body)?;
    message(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(command: Vec<u8>) -> Order {
        Order {
            id: 7,
            command,
            environment: vec![(b"A".into(), vec![0xff])],
            nice: -1,
            umask: 0o22,
            connection: None,
        }
    }

    #[test]
    fn order_comes_out_as_it_went_in() {
        let sent = order(b"echo \xff".to_vec());
        let mut frames = frame(&sent).unwrap();
        frames.extend(frame(&sent).unwrap());
        let mut reader = frames.as_slice();
        assert_eq!(read::<Order>(&mut reader).unwrap(), sent);
        assert_eq!(read::<Order>(&mut reader).unwrap(), sent);
        assert!(read::<Order>(&mut reader).is_err());
    }

    #[test]
    fn long_frame_is_neither_made_nor_read() {
        assert!(frame(&order(vec![b'x'; MAX_FRAME])).is_err());
        let mut huge: &[u8] = &[0xff; 64];
        assert!(read::<Order>(&mut huge).is_err());
    }

    #[test]
    fn frame_that_is_cut_short_is_no_message() {
        let whole = frame(&order(b"true".to_vec())).unwrap();
        for length in 0..whole.len() {
            assert!(read::<Order>(&mut &whole[..length]).is_err(), "{length}");
        }
    }
}
