//! How many commands run: a token bucket for each network, and one for all.
//!
//! In: a source and the time. Out: whether its command may run.
//! Invariant: every command that does not run is counted once, under its network or under
//! [`others`](Suppressed::others); memory is bounded whatever the sources.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks with a bucket of their own; further ones share one.
const MAX_SOURCES: usize = 16_384;

/// Networks that are counted separately in a report.
const MAX_REPORTED: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

/// The limits, and what was suppressed.
#[derive(Debug)]
pub(crate) struct Limits {
    all: Bucket,
    sources: HashMap<IpNet, Bucket>,
    /// Shared by networks that do not fit into `sources`.
    rest: Bucket,
    per_source: u32,
    suppressed: Suppressed,
}

/// Commands that did not run since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suppressed {
    /// By network.
    pub(crate) by_source: HashMap<IpNet, u64>,
    /// From all other networks.
    pub(crate) others: u64,
}

impl Limits {
    /// Full buckets.
    pub(crate) fn new(per_minute: u32, per_source: u32, now: Instant) -> Self {
        Self {
            all: Bucket::new(per_minute, now),
            sources: HashMap::new(),
            rest: Bucket::new(per_source, now),
            per_source,
            suppressed: Suppressed::default(),
        }
    }

    /// Takes a command's token, if there is one in both buckets.
    pub(crate) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let network = network_of(source);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&network) {
            self.sources.retain(|_, bucket| !bucket.is_full(now));
        }
        let own = if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&network) {
            let per_source = self.per_source;
            self.sources.entry(network).or_insert_with(|| Bucket::new(per_source, now))
        } else {
            &mut self.rest
        };
        own.fill(now);
        self.all.fill(now);
        if own.tokens < 1.0 || self.all.tokens < 1.0 {
            return false;
        }
        own.tokens -= 1.0;
        self.all.tokens -= 1.0;
        true
    }

    /// Whether both buckets are at least half full: the other half is for clients whose address is proven.
    pub(crate) fn is_half_full(&mut self, source: IpAddr, now: Instant) -> bool {
        self.all.fill(now);
        let has_room = self.sources.len() < MAX_SOURCES;
        let own = match self.sources.get_mut(&network_of(source)) {
            Some(own) => own,
            None if has_room => return self.all.is_half_full(),
            None => &mut self.rest,
        };
        own.fill(now);
        own.is_half_full() && self.all.is_half_full()
    }

    /// Counts a command that does not run.
    pub(crate) fn suppress(&mut self, source: IpAddr) {
        let network = network_of(source);
        let by_source = &mut self.suppressed.by_source;
        if by_source.len() < MAX_REPORTED || by_source.contains_key(&network) {
            *by_source.entry(network).or_default() += 1;
        } else {
            self.suppressed.others += 1;
        }
    }

    /// Commands that did not run since the last call.
    pub(crate) fn report(&mut self) -> Suppressed {
        std::mem::take(&mut self.suppressed)
    }
}

/// The network that is one source: an IPv4 /24, an IPv6 /64.
pub(crate) fn network_of(source: IpAddr) -> IpNet {
    match source {
        IpAddr::V4(v4) => Ipv4Net::new_assert(Ipv4Addr::from_bits(v4.to_bits() & !0xff), 24).into(),
        IpAddr::V6(v6) => Ipv6Net::new_assert(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64), 64).into(),
    }
}

/// Tokens, filled up to a minute's worth within a minute.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    most: f64,
    filled: Instant,
}

impl Bucket {
    fn is_half_full(&self) -> bool {
        self.tokens >= self.most / 2.0
    }

    fn new(per_minute: u32, now: Instant) -> Self {
        let most = f64::from(per_minute);
        Self { tokens: most, most, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.tokens = (self.tokens + self.most * passed.as_secs_f64() / MINUTE.as_secs_f64()).min(self.most);
        self.filled = now;
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.most
    }
}

/// A count as people read it: `4,213`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn network_has_its_own_limit_and_all_have_one() {
        let now = Instant::now();
        let mut limits = Limits::new(5, 2, now);
        let taken =
            ["192.0.2.1", "192.0.2.9", "192.0.2.1", "192.0.3.1", "2001:db8::1", "2001:db8::2", "2001:db8::3"]
                .map(|source| limits.take(ip(source), now));
        assert_eq!(taken, [true, true, false, true, true, true, false]);
        assert!(!limits.take(ip("198.51.100.1"), now), "five in all");
        let later = now + Duration::from_secs(30);
        assert!(limits.take(ip("192.0.2.1"), later));
        assert!(!limits.take(ip("192.0.2.1"), later));
    }

    #[test]
    fn half_full_is_told_of_the_network_and_of_all() {
        let now = Instant::now();
        let mut limits = Limits::new(8, 4, now);
        let [one, other, third] = ["192.0.2.1", "192.0.3.1", "192.0.4.1"].map(ip);
        for (before, source) in [(4, one), (4, one), (4, one), (4, other), (4, third)] {
            assert!(limits.is_half_full(third, now), "{before}");
            assert!(limits.take(source, now));
        }
        assert!(!limits.is_half_full(other, now), "of all, five of eight are taken");
        let later = now + Duration::from_secs(15);
        assert!(
            limits.is_half_full(other, later) && limits.is_half_full(one, later),
            "two came back, and one"
        );
        assert!(limits.take(one, later));
        assert!(!limits.is_half_full(one, later));
    }

    #[test]
    fn what_does_not_run_is_counted_exactly() {
        let mut limits = Limits::new(1, 1, Instant::now());
        for _ in 0..3 {
            limits.suppress(ip("192.0.2.1"));
        }
        for host in 0..3000_u32 {
            limits.suppress(IpAddr::from((host << 8).to_be_bytes()));
        }
        let report = limits.report();
        assert_eq!(report.by_source[&"192.0.2.0/24".parse().unwrap()], 3);
        assert_eq!(report.by_source.values().sum::<u64>() + report.others, 3003);
        assert_eq!(report.by_source.len(), MAX_REPORTED);
        assert_eq!(limits.report(), Suppressed::default());
    }

    #[test]
    fn memory_is_bounded_and_the_rest_share_a_limit() {
        let now = Instant::now();
        let mut limits = Limits::new(u32::MAX, 1, now);
        let host = |number: u32| IpAddr::from((number << 8).to_be_bytes());
        for number in 0..20_000 {
            let expected = u32::try_from(MAX_SOURCES).unwrap() >= number;
            assert_eq!(limits.take(host(number), now), expected, "{number}");
        }
        assert_eq!(limits.sources.len(), MAX_SOURCES);
        let later = now + MINUTE;
        assert!(limits.take(host(19_999), later));
        assert!(limits.sources.len() < 10, "full buckets are forgotten");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 4213, 1_234_567].map(grouped), ["0", "999", "1,000", "4,213", "1,234,567"]);
    }
}
