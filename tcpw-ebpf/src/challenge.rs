//! Challenges: whether a client that sends SYNs gets what is sent to its address.
//!
//! In: a reset that a listener is about to receive. Out: a record in the ring of held packets, which is read before that
//! of events, if it answers a challenge.
//! Invariant: each challenge is answered at most once, and forgotten after a few wrong resets; a reset that answers none
//! costs one look-up.
//! User space sends the challenge: a SYN-ACK whose acknowledgement number the client does not accept. It answers with
//! a reset that has this number (RFC 9293 section 3.10.7.3).

use tcpw_common::{
    challenge::{Challenge, MOST_WRONG},
    counter::Counter,
    event::Kind,
    held::Held,
    key::FlowKey,
    tag::Tag,
};

use crate::{
    clock::boot_ns,
    emit::{Report, count, fill},
    maps::{CHALLENGES, HOLDS},
};

/// Reports a reset of this sequence number if it answers the challenge of its flow.
#[inline(always)]
pub(crate) fn answered(flow: &FlowKey, seq: u32) {
    let Some(challenge) = CHALLENGES.get(flow) else { return };
    if challenge.answer != seq {
        let wrong = challenge.wrong + 1;
        if wrong < MOST_WRONG {
            CHALLENGES.set(flow, &Challenge { wrong, ..challenge });
        } else {
            CHALLENGES.remove(flow);
        }
        return;
    }
    let Some(mut entry) = HOLDS.reserve::<Held>(0) else {
        // A SYN sent again is challenged again.
        count(Counter::HoldRingFull);
        return;
    };
    CHALLENGES.remove(flow);
    let report = Report {
        time_ns: boot_ns(),
        tag: &Tag { names: 0, netns: 0, pid: 0, flags: 0 },
        cookie: 0,
        flow,
        family: 0,
        ifindex: 0,
        generation: 0,
        policy: 0,
        comm: &[0; 16],
    };
    let held = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as a Held; every field is written, but for the packet's bytes, which are not
    // read.
    unsafe {
        fill(&raw mut (*held).event, Kind::ChallengeAnswered, &report);
        (*held).isn = 0;
        (*held).length = 0;
    }
    entry.submit(0);
}
