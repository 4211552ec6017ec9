//! Reports what the kernel can only count.
//!
//! In: the kernel's counters, once a second. Out: a message for each that matters and grew.

use std::collections::HashMap;

use tcpw_common::metric::Metric;

use crate::core::outbox::Outbox;

/// Counters that show a failure or an exceeded limit, and the message for each.
const TOLD: [(&str, &str); 10] = [
    ("ring_full", "events found the ring full: those attempts were judged, but not logged"),
    ("hold_limited", "attempts were not held, their source has too many: their clients try again"),
    ("hold_ring_full", "attempts were not held, the ring was full: their clients try again"),
    ("acks_without_handshake", "ACKs without a handshake were dropped: their clients are refused"),
    ("reset_limited", "refused attempts were dropped without an answer: too many in a second"),
    ("user_no_room", "connections found too many waiting for a user: theirs is unknown"),
    (
        "user_not_known",
        "connections pass no data: their handshakes were forgotten, so their user is not asked for",
    ),
    (
        "user_expired",
        "connections were judged while no daemon was there to ask for their user: it is unknown",
    ),
    ("banners_missed", "clients were allowed without the banner of their rule"),
    ("broken", "attempts were refused because a table look-up failed: please report this"),
];

/// The counters as last reported.
#[derive(Default)]
pub(in crate::core) struct Counters {
    said: HashMap<&'static str, u64>,
}

impl Counters {
    /// Reports the counters that grew since the last call. The first call reports nothing.
    pub(in crate::core) fn second(&mut self, counters: &[(Metric, u64)], out: &mut Outbox) {
        for (name, text) in TOLD {
            let Some((_, now)) = counters.iter().find(|(metric, _)| metric.name == name) else { continue };
            let before = self.said.insert(name, *now).unwrap_or(*now);
            if *now > before {
                out.warn(format!("{} {text}", now - before));
            }
        }
    }
}
