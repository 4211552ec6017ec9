//! Listeners with names that are not proven: such a name closes and never opens.
//!
//! In: the names of a listener, and the evaluator's judgement for any names. Out: the judgement that holds.
//! Invariant: a client is allowed only if the tables allow it with the unproven names and without them.

use super::request::Verdict;
use crate::{names::NamesSet, parse::rule::Text};

/// Which judgement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByNames<T> {
    /// This one.
    Decided(T),
    /// Both depend on a fact that is missing, or the one for all names does and the other allows.
    Open {
        /// For all names.
        of_all: T,
        /// Without the unproven names.
        of_proven: T,
    },
}

/// The judgement without the unproven names, unless the tables refuse with them.
///
/// So no option of a rule that allows applies because of an unproven name. `verdict` is that of a judgement; `None`
/// if a fact is missing that it depends on.
pub fn decide_by_names<T>(
    names: &NamesSet,
    mut judge: impl FnMut(Vec<Text>) -> T,
    verdict: impl Fn(&T) -> Option<Verdict>,
) -> ByNames<T> {
    let of_all = judge(names.to_vec());
    let verdict_of_all = verdict(&of_all);
    if names.is_proven() || verdict_of_all == Some(Verdict::Refuse) {
        return ByNames::Decided(of_all);
    }
    let of_proven = judge(names.proven().to_vec());
    match (verdict_of_all, verdict(&of_proven)) {
        (None, None | Some(Verdict::Allow)) => ByNames::Open { of_all, of_proven },
        (None, Some(Verdict::Refuse)) | (Some(_), _) => ByNames::Decided(of_proven),
    }
}

impl<T> ByNames<T> {
    /// The judgement that holds, where no fact can be missing.
    pub fn decided(self) -> T {
        match self {
            Self::Decided(judged) | Self::Open { of_all: judged, .. } => judged,
        }
    }
}
