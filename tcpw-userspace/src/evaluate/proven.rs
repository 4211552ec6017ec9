//! Listeners with names that are not proven: such a name closes and never opens.
//!
//! In: the names of a listener, and the evaluator's judgement for any names. Out: the judgement that holds.
//! Invariant: a client is allowed only if the tables allow it with the unproven names and without them.

use super::request::{Judgement, Verdict};
use crate::{names::NamesSet, parse::rule::Text};

/// The judgement without the unproven names, unless the tables refuse with them.
///
/// So no option of a rule that allows applies because of an unproven name. `lacks_fact` says that the last
/// judgement is not valid yet, because a fact is missing: then nothing else is asked for.
pub fn decide_by_names(
    names: &NamesSet,
    mut judge: impl FnMut(Vec<Text>) -> Judgement,
    lacks_fact: impl FnOnce() -> bool,
) -> Judgement {
    let with_all = judge(names.to_vec());
    if names.is_proven() || with_all.verdict == Verdict::Refuse || lacks_fact() {
        return with_all;
    }
    judge(names.proven().to_vec())
}
