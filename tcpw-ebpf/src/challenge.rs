//! Challenges: whether the client of a held SYN has the address it shows.
//!
//! In: a reset that a listener is about to receive. Out: an event, if it answers a challenge.
//! Invariant: each challenge is answered at most once; a reset that answers none costs one look-up.
//! User space sends the challenge: a SYN-ACK whose acknowledgement number the client does not accept. It answers with
//! a reset that has this number (RFC 9293 section 3.10.7.3), which a host that does not get the SYN-ACK cannot know.

use tcpw_common::{event::Kind, key::FlowKey, tag::Tag};

use crate::{
    emit::{Report, emit},
    maps::CHALLENGES,
};

/// Reports a reset of this sequence number if it answers the challenge of its flow.
#[inline(always)]
pub(crate) fn answered(flow: &FlowKey, seq: u32) {
    if CHALLENGES.get(flow) != Some(seq) {
        return;
    }
    CHALLENGES.remove(flow);
    let report = Report {
        tag: &Tag { names: 0, netns: 0, pid: 0, flags: 0 },
        cookie: 0,
        flow,
        family: 0,
        ifindex: 0,
        generation: 0,
        policy: 0,
        comm: &[0; 16],
    };
    emit(Kind::ChallengeAnswered, &report);
}
