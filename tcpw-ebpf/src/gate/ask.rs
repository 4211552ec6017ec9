//! Answers of user space to an attempt: its verdict, or the banner of an allowed client.
//!
//! In: an attempt that the tables do not decide, or allow with a banner. Out: its passage by an existing
//! answer; else it is held.
//! Invariant: the answer to this very attempt counts before the one to every attempt of its client at this
//! address; a client that the tables allow is held for its banner only while user space can make it and no
//! bound is exceeded.

use aya_ebpf::programs::SkBuffContext;
use tcpw_common::{
    answer::Answer,
    counter::Counter,
    decide::{AUDIT, Decision},
    event::Kind,
    key::AnswerKey,
    outcome::{BANNER, Outcome},
    user::{Pending, UserDecides},
};

use super::{allow, describe, is_datagram, refuse, report, wait};
use crate::{
    attempt::Attempt,
    clock::boot_ns,
    emit::count,
    hold::{hold, is_daemon_alive, is_worth_holding, may_report_data},
    maps::{ANSWERS, ANSWERS_ONCE},
    passage::Passage,
    steady::steady,
    user,
};

/// Whether the allowed client gets a banner, which user space has to make.
#[inline(always)]
pub(super) fn wants_text(attempt: &Attempt, decision: &Decision, marks: u8) -> bool {
    marks & BANNER != 0 && attempt.completes == 0 && !is_datagram(attempt) && decision.flags & AUDIT == 0
}

/// The address does not decide; or the client is allowed, with these marks, and gets a banner: uses user
/// space's answer, or asks for one. A client that would only wait for its banner, but cannot be held, gets no
/// banner.
#[inline(always)]
pub(super) fn ask(
    ctx: &SkBuffContext,
    attempt: &mut Attempt,
    decision: &Decision,
    mut allowed: Option<u8>,
) -> Passage {
    let key = AnswerKey {
        generation: decision.generation,
        policy: decision.policy,
        client: attempt.key.flow.client,
        server: attempt.key.flow.server,
    };
    let now_ns = boot_ns();
    // Of an ACK the sequence number is its SYN's.
    let own = ANSWERS_ONCE
        .get(&attempt.key)
        .filter(|once| once.generation == decision.generation && once.names == attempt.tag.names)
        .filter(|once| now_ns < once.expires_ns)
        .map(|once| (once.outcome, once.marks));
    let answer = match own {
        Some(own) => Some(own),
        // If user space replaces it meanwhile, one answer's outcome may go with the other's expiry: both answers were
        // given, and the wrong expiry is read once.
        None => steady(|| ANSWERS.get_ptr(&key))
            .filter(|answer| now_ns < answer.expires_ns)
            .filter(|answer| !is_of_connections(attempt, answer))
            .filter(|answer| !says_allow(attempt, decision, answer, &mut allowed))
            .map(|answer| (answer.outcome, answer.marks)),
    };
    if let Some((outcome, marks)) = answer {
        let marks = (marks & 0xff) as u8;
        if outcome == Outcome::Allow as u32 {
            return allow(attempt, decision, marks);
        }
        if outcome == Outcome::Refuse as u32 {
            return refuse(attempt, decision);
        }
        if let Some(decides) = UserDecides::from_answer(outcome) {
            if !is_datagram(attempt) && decision.flags & AUDIT == 0 && is_daemon_alive(now_ns) {
                return wait_for_user(attempt, decision, outcome, now_ns);
            }
            // No daemon asks for the user, or there is no connection to ask about: it is unknown.
            return match decides.if_unknown {
                Outcome::Allow => allow(attempt, decision, marks),
                Outcome::Exempt | Outcome::Refuse | Outcome::Ask => refuse(attempt, decision),
            };
        }
    }
    let Some(marks) = allowed else {
        return wait(ctx, Kind::Ask, attempt, decision, now_ns);
    };
    let is_held = is_worth_holding(&attempt.key, now_ns)
        && hold(ctx, Kind::Ask, &attempt.key, &describe(attempt, decision, now_ns), now_ns).is_ok();
    if is_held {
        return Passage::Drop;
    }
    count(Counter::BannersMissed);
    allow(attempt, decision, marks & !BANNER)
}

/// Whether an answer decides only connections: what else it depends on is found out once their user is known.
#[inline(always)]
fn is_of_connections(attempt: &Attempt, answer: &Answer) -> bool {
    is_datagram(attempt)
        && UserDecides::from_answer(answer.outcome).is_some_and(|it| it.if_unknown == Outcome::Ask)
}

/// Whether an answer allows the client, but user space still has to make its banner; stores the answer's marks.
#[inline(always)]
fn says_allow(attempt: &Attempt, decision: &Decision, answer: &Answer, allowed: &mut Option<u8>) -> bool {
    let marks = (answer.marks & 0xff) as u8;
    let is_so = answer.outcome == Outcome::Allow as u32 && wants_text(attempt, decision, marks);
    if is_so {
        *allowed = Some(marks);
    }
    is_so
}

/// The handshake may go on, its connection waits.
#[inline(always)]
fn wait_for_user(attempt: &mut Attempt, decision: &Decision, answer: u32, now_ns: u64) -> Passage {
    let is_syn = attempt.completes == 0;
    attempt.pending = Pending {
        tag: attempt.tag,
        answer,
        generation: decision.generation,
        policy: decision.policy,
        family: attempt.family,
        ifindex: attempt.ifindex,
        seq: attempt.key.isn.wrapping_add(1),
        ack: attempt.header.ack,
        window: attempt.header.window,
    };
    attempt.waits = 1;
    let has_data = attempt.header.has_data != 0;
    let passage = user::go_on(&attempt.key.flow, &attempt.pending, is_syn, has_data);
    if has_data && !is_syn && may_report_data(&attempt.key.flow, now_ns) {
        report(Kind::HandshakeHasData, attempt, decision, now_ns);
    }
    passage
}
