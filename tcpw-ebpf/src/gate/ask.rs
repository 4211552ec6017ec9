//! What user space has to say of an attempt: its verdict, or the text for a client that is let in.
//!
//! In: an attempt that the tables leave open, or allow with a text. Out: its passage by the answer that is
//! there; else it is held.
//! Invariant: whom the tables allow is held for the text alone, while somebody may make it and no bound is
//! against it.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, programs::SkBuffContext};
use tcpw_common::{
    answer::{Answer, marks_once},
    counter::Counter,
    decide::{AUDIT, Decision},
    event::Kind,
    key::AnswerKey,
    outcome::{BANNER, Outcome},
    user::{Pending, UserDecides},
};

use super::{Attempt, IPPROTO_TCP, Passage, allow, describe, refuse, report, wait};
use crate::{
    emit::count,
    hold::{hold, is_anybody_there, is_worth_while, may_tell},
    maps::{ANSWERS, ONCE},
    user,
};

/// Whether user space has a text for the client to let in, and has to be asked for it.
#[inline(always)]
pub(super) fn wants_text(attempt: &Attempt, decision: &Decision, marks: u8) -> bool {
    marks & BANNER != 0
        && attempt.completes == 0
        && attempt.protocol == IPPROTO_TCP
        && decision.flags & AUDIT == 0
}

/// The address does not decide, or the client is allowed, with these marks, and has a text coming: take user
/// space's answer, or ask for one. Whom the text alone would hold up goes without.
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
        client: attempt.key.client,
        server: attempt.key.server,
    };
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the value is copied at once. If user space replaces it meanwhile, one answer's outcome
    // may go with the other's expiry: both answers were given, and the wrong expiry is read once.
    let answer = unsafe { ANSWERS.get(&key) }.copied();
    let answer = match answer {
        Some(answer)
            if now_ns < answer.expires_ns && !says_allow(attempt, decision, &answer, &mut allowed) =>
        {
            Some(answer)
        }
        Some(_) | None => {
            // Of an ACK the number is its SYN's.
            // SAFETY: as above.
            let once = unsafe { ONCE.get(&attempt.key) }.copied();
            once.filter(|once| marks_once((once.marks & 0xff) as u8, decision.generation) == once.marks)
        }
    };
    if let Some(answer) = answer
        && now_ns < answer.expires_ns
    {
        let marks = (answer.marks & 0xff) as u8;
        if answer.outcome == Outcome::Allow as u32 {
            return allow(attempt, decision, marks);
        }
        if answer.outcome == Outcome::Refuse as u32 {
            return refuse(attempt, decision);
        }
        if let Some(decides) = UserDecides::from_answer(answer.outcome) {
            if attempt.protocol == IPPROTO_TCP && decision.flags & AUDIT == 0 && is_anybody_there(now_ns) {
                return wait_for_user(attempt, decision, answer.outcome, now_ns);
            }
            // Nobody asks for the user, or there is no connection to ask about: it is unknown.
            return match decides.if_unknown {
                Outcome::Allow => allow(attempt, decision, marks),
                Outcome::Exempt | Outcome::Refuse | Outcome::Ask => refuse(attempt, decision),
            };
        }
    }
    let Some(marks) = allowed else {
        return wait(ctx, Kind::Ask, attempt, decision, now_ns);
    };
    let is_held = is_worth_while(&attempt.key, now_ns)
        && hold(ctx, Kind::Ask, &attempt.key, &describe(attempt, decision), now_ns).is_ok();
    if is_held {
        return Passage::Drop;
    }
    count(Counter::BannersMissed);
    allow(attempt, decision, marks & !BANNER)
}

/// Whether an answer lets the client in, and the text is another question; notes its marks.
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
        ack: attempt.rest.ack,
        window: attempt.rest.window,
    };
    attempt.key.isn = 0;
    attempt.key.cookie = 0;
    let has_data = attempt.rest.has_data != 0;
    let passage = user::go_on(&attempt.key, &attempt.pending, is_syn, has_data);
    if has_data && !is_syn && may_tell(&attempt.key, now_ns) {
        report(Kind::Deferred, attempt, decision);
    }
    passage
}
