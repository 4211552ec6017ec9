//! % expansion.
//!
//! In: the text of an option or banner, and the subject. Out: the text a shell or the client
//! gets.
//! Invariant: in a value that came from the network, every byte that a shell could interpret is replaced.
//! Source: hosts_access(5); tcp_wrappers 7.6.q (Debian) `percent_x.c`.

use super::{quoted_bytes, subject::Subject};

/// Most bytes of an expanded option.
pub(super) const OPTION_BYTES: usize = 8190;

/// Most bytes of an expanded line of a banner.
pub(super) const BANNER_BYTES: usize = 16382;

/// The expansion is too long: libwrap ends the process.
#[derive(Debug)]
pub(super) struct TooLong {
    /// libwrap's message.
    pub(super) warning: String,
}

/// Replaces every `%x`; `warn` is called for unknown letters.
pub(super) fn expand(
    template: &[u8],
    limit: usize,
    subject: &mut Subject<'_>,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::with_capacity(template.len());
    let mut rest = template;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match (byte, behind) {
            (b'%', [letter, after @ ..]) => {
                rest = after;
                value(*letter, subject, warn, &mut out);
            }
            _ => out.push(*byte),
        }
        if out.len() > limit {
            let start = quoted_bytes(&out[..30]);
            return Err(TooLong { warning: format!("percent_x: expansion too long: {start}...") });
        }
    }
    Ok(out)
}

fn value(letter: u8, subject: &mut Subject<'_>, warn: &mut dyn FnMut(String), out: &mut Vec<u8>) {
    let port = |port: Option<u16>| port.unwrap_or(0).to_string().into_bytes();
    match letter {
        b'a' => out.extend(subject.client.sanitised_address()),
        b'A' => out.extend(subject.server.sanitised_address()),
        b'c' => out.extend(subject.sanitised_client()),
        b'd' => out.extend(subject.sanitised_daemon()),
        b'h' => out.extend(subject.client.sanitised_info()),
        b'H' => out.extend(subject.server.sanitised_info()),
        b'n' => out.extend(subject.client.sanitised_name()),
        b'N' => out.extend(subject.server.sanitised_name()),
        b'p' => out.extend(subject.request.pid.to_string().into_bytes()),
        b'r' => out.extend(port(subject.request.client_port)),
        b'R' => out.extend(port(subject.request.server_port)),
        b's' => out.extend(subject.sanitised_server()),
        b'u' => out.extend(subject.sanitised_user()),
        b'%' => out.push(b'%'),
        other => warn(format!("unrecognized %{}", quoted_bytes(&[other]))),
    }
}

/// The lines of a banner, expanded and as they go over the network.
pub(super) fn banner(
    text: &[u8],
    subject: &mut Subject<'_>,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<u8>, TooLong> {
    // Zero bytes at the start are sent as they are, elsewhere they hide the rest of their line.
    let zeros = text.iter().take_while(|byte| **byte == 0).count();
    let mut out = text[..zeros].to_vec();
    let mut rest = &text[zeros..];
    while !rest.is_empty() {
        let window = &rest[..rest.len().min(CHUNK)];
        let length = window.iter().position(|byte| *byte == b'\n').map_or(window.len(), |at| at + 1);
        let (chunk, behind) = rest.split_at(length);
        rest = behind;
        let visible = chunk.split(|byte| *byte == 0).next().unwrap_or_default();
        // As in libwrap, a newline after a `[` without its `]` is not found.
        let line = match crate::parse::list::split_at(visible, b'\n') {
            Some(end) => [&visible[..end], b"\r\n"].concat(),
            None => visible.to_vec(),
        };
        out.extend(expand(&line, BANNER_BYTES, subject, warn)?);
    }
    Ok(out)
}

/// What one call of fgets(3) reads of a banner.
const CHUNK: usize = 8190;
