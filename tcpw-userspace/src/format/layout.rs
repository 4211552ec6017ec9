//! Pieces of a rule to lines of readable width.
//!
//! In: pieces, which only blanks may separate. Out: physical lines, the last one with a newline.
//! Invariant: joined as libwrap joins them, pieces stay whole and separated.

use super::command::{BREAK, EXACT_BREAK};

/// Columns a line should not pass.
const WIDTH: usize = 100;

/// What continuation lines begin with: a separator for lists, trimmed before options.
const INDENTATION: &[u8] = b"    ";

/// How a line says that the next one belongs to it.
const CONTINUES: &[u8] = b" \\\n";

/// The pieces on one line.
pub(super) fn one_line(pieces: &[Vec<u8>]) -> Vec<u8> {
    let plain = |piece: &Vec<u8>| {
        let piece = piece.strip_prefix(&[BREAK]).unwrap_or(piece);
        let joined = piece.iter().filter(|byte| **byte != EXACT_BREAK);
        joined.map(|byte| if *byte == BREAK { b' ' } else { *byte }).collect::<Vec<u8>>()
    };
    let mut line = pieces.iter().map(plain).collect::<Vec<_>>().join(&b' ');
    line.push(b'\n');
    line
}

/// The pieces on as few lines as fit, if one is too wide.
pub(super) fn lines(pieces: &[Vec<u8>]) -> Vec<u8> {
    let line = one_line(pieces);
    let is_broken = pieces.iter().any(|piece| piece.iter().any(|byte| [BREAK, EXACT_BREAK].contains(byte)));
    if line.len() <= WIDTH + 1 && !is_broken {
        return line;
    }
    let mut text = Vec::with_capacity(line.len() + line.len() / 8);
    let mut column = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = index + 1 == pieces.len();
        let behind = if is_last { 0 } else { CONTINUES.len() - 1 };
        let (piece, is_forced) = match piece.split_first() {
            Some((&BREAK, rest)) => (rest, true),
            Some(_) | None => (piece.as_slice(), false),
        };
        if index == 0 {
            // The first piece stands where the rule begins.
        } else if !is_forced && column + 1 + piece.len() + behind <= WIDTH {
            text.push(b' ');
            column += 1;
        } else {
            text.extend_from_slice(CONTINUES);
            text.extend_from_slice(INDENTATION);
            column = INDENTATION.len();
        }
        for (number, part) in piece.split(|byte| *byte == BREAK).enumerate() {
            if number > 0 {
                text.extend_from_slice(CONTINUES);
                text.extend_from_slice(INDENTATION);
                column = INDENTATION.len();
            }
            for (number, exact) in part.split(|byte| *byte == EXACT_BREAK).enumerate() {
                if number > 0 {
                    text.extend_from_slice(b"\\\n");
                    column = 0;
                }
                text.extend_from_slice(exact);
                column += exact.len();
            }
        }
    }
    text.push(b'\n');
    text
}
