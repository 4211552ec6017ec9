//! The outcome of an attempt, as the tables hold it.

/// Mark of an entry: the accepted connection, or the refused attempt, is reported each time: its rule runs a command.
pub const REPORT: u8 = 4;

/// Mark of an entry: the accepted socket gets SO_KEEPALIVE.
pub const KEEPALIVE: u8 = 8;

/// Mark of an entry that refuses: its rule has a banner or a `twist` command for the client, so the connection
/// is redirected.
pub const REDIRECT: u8 = 16;

/// Mark of an entry that allows: its rule has a banner for the client, which user space has to make.
pub const BANNER: u8 = 32;

/// Every entry, an outcome with its marks, is below this.
pub const ENTRIES: usize = 64;

/// An outcome and its marks, as the tables and answers hold them; `None` for a byte no compiler
/// writes.
#[inline(always)]
pub const fn of_entry(entry: u8) -> Option<(Outcome, u8)> {
    const MARKS: u8 = REPORT | KEEPALIVE | REDIRECT | BANNER;
    match Outcome::from_byte(entry & !MARKS) {
        Some(outcome) => Some((outcome, entry & MARKS)),
        None => None,
    }
}

/// Outcome of a (policy, client class) pair, as stored in the tables.
///
/// The values are a set of possible verdicts: bit 0 allow, bit 1 refuse; both
/// bits mean that the address alone does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// Never judged, never logged: an exempt address or port.
    Exempt = 0,
    /// The connection passes.
    Allow = 1,
    /// The connection is refused.
    Refuse = 2,
    /// User space has to decide: the address alone cannot.
    Ask = 3,
}

impl Outcome {
    /// The outcome a table byte stands for; `None` for a byte no compiler writes.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Exempt),
            1 => Some(Self::Allow),
            2 => Some(Self::Refuse),
            3 => Some(Self::Ask),
            _ => None,
        }
    }
}
