//! Reports why a rule did not match.

use super::judgement::RuleIndex;
use crate::parse::rule::{ClientPattern, DaemonPattern};

/// Called for every rule that is examined, in order.
pub trait Observer {
    /// Whether it listens; if not, [`Self::missed`] and [`Self::matched`] need not be called, which saves time.
    fn listens(&self) -> bool {
        true
    }

    /// The rule did not match, or did not decide.
    fn missed(&mut self, _rule: RuleIndex, _why: Miss<'_>) {}

    /// The rule matched, by these tokens.
    fn matched(&mut self, _rule: RuleIndex, _daemon: &DaemonPattern, _client: &ClientPattern) {}
}

/// Why a rule did not match, or did not decide.
#[derive(Clone, Copy, Debug)]
pub enum Miss<'a> {
    /// No token of the daemon list matches.
    Daemon,
    /// The daemon is excepted by this token.
    DaemonExcept(&'a DaemonPattern),
    /// No token of the client list matches.
    Client,
    /// The client is excepted by this token.
    ClientExcept(&'a ClientPattern),
    /// It matched, and its `aclexec`, or one of a rule before it, failed: the table ends here.
    Aclexec,
}

/// Ignores everything.
pub(super) struct Nobody;

impl Observer for Nobody {
    fn listens(&self) -> bool {
        false
    }
}
