//! The counters of the BPF programs; they survive reloads and, if pinned, restarts.
//!
//! A number, once given to a counter, is never given to another one: versions read each other's. 17 was given.

use crate::metric::Metric;

/// Defines every counter: its number, its name in status and metrics, its unit, its help text.
macro_rules! counters {
    ($($variant:ident = $number:literal, $name:literal, $unit:literal, $help:literal;)*) => {
        /// Index into the per-CPU counter array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $(#[doc = $help] $variant = $number,)*
        }

        impl Counter {
            /// Every counter.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$variant),*];

            /// Its name, unit and help text.
            #[must_use]
            pub const fn metric(self) -> Metric {
                match self {
                    $(Self::$variant => Metric::counter($name, $unit, $help),)*
                }
            }
        }
    };
}

counters! {
    Allowed = 0, "allowed", "packets", "SYNs and datagrams allowed; a SYN that is sent again counts again.";
    Refused = 1, "refused", "attempts", "Attempts refused.";
    WouldRefuse = 2, "would_refuse", "attempts", "Attempts that audit mode let pass and the policy refuses.";
    Retransmits = 3, "retransmits", "packets", "Retransmitted SYNs of attempts that were refused or held before.";
    Asked = 4, "asked", "packets", "Packets held until user space has decided.";
    Exempt = 5, "exempt", "packets", "Packets from or to something exempt.";
    Untagged = 6, "untagged", "packets", "Packets to a listener that is not identified.";
    Unparsable = 7, "unparsable", "packets",
        "Packets to a listener without a TCP or UDP header, judged by their addresses.";
    RingFull = 8, "ring_full", "events", "Events that found the ring full: they are not logged.";
    Broken = 9, "broken", "packets", "Packets dropped because a table look-up failed, a defect of tcpw.";
    HoldLimited = 10, "hold_limited", "packets",
        "Packets not held because their source had too many: the client has to try again.";
    HoldRingFull = 11, "hold_ring_full", "packets",
        "Packets not held because the ring of held packets was full: the client has to try again.";
    Replies = 12, "replies", "packets", "Datagrams not judged: the socket wrote to their sender before.";
    Repeats = 13, "repeats", "packets", "Refused datagrams of attempts that were counted before.";
    AcksWithoutHandshake = 14, "acks_without_handshake", "packets",
        "ACKs dropped because they belong to no handshake and the policy refuses the client; a SYN cookie could be guessed.";
    Reset = 15, "reset", "packets", "Packets of refused attempts answered with a reset, over UDP with ICMP.";
    ResetLimited = 16, "reset_limited", "packets",
        "Packets of refused attempts left to the gate, which drops them, because of a rate limit.";
    UserWaits = 18, "user_waits", "connections",
        "Connections whose data had to wait until the user of their client was known.";
    UserSegments = 19, "user_segments", "packets",
        "Segments with data dropped meanwhile; their sender sends them again.";
    UserSyns = 20, "user_syns", "packets",
        "SYNs with data dropped because the user decides; the client sends one without data.";
    UserExpired = 21, "user_expired", "connections",
        "Connections whose user was taken as unknown because no daemon of tcpw answered in time.";
    UserNoRoom = 22, "user_no_room", "connections",
        "Connections whose user was taken as unknown because too many waited.";
    Redirected = 23, "redirected", "attempts", "Refused attempts redirected to tcpw, for a banner or a twist.";
    BannersSent = 24, "banners_sent", "connections", "Banners sent to clients that were allowed.";
    BannersMissed = 25, "banners_missed", "connections",
        "Connections that were allowed without the banner of their rule.";
    UserNotKnown = 26, "user_not_known", "connections",
        "Connections whose handshake was forgotten while users decide: none of their data pass.";
    EarlyDropped = 27, "early_dropped", "packets",
        "SYNs of refused clients dropped at a device of early-drop; refused does not count them.";
    EarlyUnreported = 28, "early_unreported", "packets",
        "Of them, those beyond the number that is reported one by one in a second: only counted.";
}

/// Elements of the array of counters: room for more.
pub const COUNTERS: u32 = 64;
const _: () = assert!((Counter::ALL[Counter::ALL.len() - 1] as u32) < COUNTERS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_help_are_each_counters_own() {
        assert!(Counter::ALL.is_sorted_by(|a, b| (*a as u32) < (*b as u32) && *b as u32 != 17));
        for counter in Counter::ALL {
            let metric = counter.metric();
            assert!(metric.help.ends_with('.') && !metric.unit.is_empty(), "{}", metric.name);
            let alike = Counter::ALL.into_iter().filter(|other| other.metric().name == metric.name);
            assert_eq!(alike.count(), 1, "{}", metric.name);
        }
    }
}
