//! The daemon in memory: some histories break no rule, those that once did break none any more,
//! and bugs that are put in on purpose are found.

use tcpw_userspace::simulate::{BrokenSeed, Plant, breaks, run};

/// Seeds whose history broke a rule once.
///
/// 123: texts that came before the first look at listeners was over kept the start from its end.
/// 143: packets that waited too long for their listener were not counted.
/// 1231, 1398: a refusal by the gate alone, while the daemon was slow, was called a disagreement.
/// 1271: a connection that waited for its user was never judged if it was found before the first policy.
/// 393: a redirected attempt whose handshake took long was recorded twice.
/// 421: where connections cannot wait, a client whose user is wanted was let in unjudged.
/// 203011, 220695: files that were changed back while a policy was filled never came into force.
/// 206922, 215048: a listener that executed another program was judged by an answer for the program before.
/// 223379, 228485: a SYN was reset by a refusal of an earlier policy.
/// 208062: an allowed connection was judged again, and ended, by a report from before.
/// 222228: a datagram was refused by an answer that only let a connection wait for its user.
/// 211621, 213261, 213716: a record was judged by facts found later, or by those of an earlier attempt.
/// 430361: a client whose look-up took too long once was refused though it was found for its next attempt.
/// 101908: a connection that could not wait for its user was recorded as accepted, and none of its data passed.
/// 104948: a policy was said to be applied while enforcement was being ended.
/// 1015457: a refusal by names that only an earlier daemon had seen was called a disagreement.
/// 1038450: an answer without its user, of a port where none is asked for, let the client in at another port.
/// 2011812, 3044809: an attempt keeps what was found for it while it waits, and its verdict when its SYN is sent again;
/// the evaluator was asked as if it had just begun.
/// 729, 749, 847, 6219, 7098, 7865: where the proven names alone refuse, the daemon waited for facts of all names.
const FOUND: &[u64] = &[
    123, 143, 393, 421, 729, 749, 847, 1231, 1271, 1398, 6219, 7098, 7865, 101_908, 104_948, 203_011,
    206_922, 208_062, 211_621, 213_261, 213_716, 215_048, 220_695, 222_228, 223_379, 228_485, 430_361,
    1_015_457, 1_038_450, 2_011_812, 3_044_809,
];

/// Seeds that are always run.
const SEEDS: u64 = 300;

#[track_caller]
fn must_be_kept(seed: u64) {
    if let Err(failure) = run(seed, None) {
        let BrokenSeed { rule, what, history, .. } = *failure;
        panic!("{}\nseed {seed}: broken: {rule}: {what}", history.join("\n"));
    }
}

#[test]
fn known_seeds_break_no_rule() {
    FOUND.iter().copied().for_each(must_be_kept);
}

#[test]
fn first_seeds_break_no_rule() {
    (0..SEEDS).for_each(must_be_kept);
}

/// Finds a bug within so many seeds from the first one on.
#[track_caller]
fn is_found(plant: Plant, first: u64, within: u64) {
    let found = (first..first + within).find(|seed| breaks(*seed, Some(plant)).0.is_some());
    assert!(found.is_some(), "{plant} was not found within {within} seeds");
}

#[test]
fn answer_under_the_wrong_generation_is_found() {
    is_found(Plant::WrongGeneration, 800, 100);
}

#[test]
fn release_that_is_lost_is_found() {
    is_found(Plant::LostRelease, 0, 200);
}

#[test]
fn record_that_is_written_twice_is_found() {
    is_found(Plant::DoubleRecord, 0, 50);
}

#[test]
fn reload_that_overtakes_a_later_one_is_found() {
    is_found(Plant::OvertakingReload, 0, 50);
}

#[test]
fn entry_that_is_never_removed_is_found() {
    is_found(Plant::LeakedEntry, 0, 500);
}

#[test]
fn deadline_that_is_lost_is_found() {
    is_found(Plant::LostDeadline, 0, 500);
}

#[test]
fn texts_that_come_back_by_themselves_are_found() {
    is_found(Plant::ForgottenRollback, 0, 500);
}

#[test]
fn history_of_a_seed_is_the_same_always() {
    for seed in 0..50 {
        assert_eq!(breaks(seed, None), breaks(seed, None), "seed {seed}");
    }
}
