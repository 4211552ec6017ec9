//! Sets of addresses as networks, for people.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net, Ipv6Subnets};

use super::region::{AddressNumber, Intervals};

/// A set of addresses as the fewest networks, none inside another; lowest first.
///
/// 255.255.255.255 is no client's address: it goes with the address before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Networks {
    /// IPv4, v4-mapped addresses included.
    pub v4: Vec<Ipv4Net>,
    /// IPv6.
    pub v6: Vec<Ipv6Net>,
}

impl Networks {
    /// Of intervals in any order.
    pub(super) fn new(v4: Vec<(u32, u32)>, v6: Vec<(u128, u128)>) -> Self {
        let mut own = Self::default();
        Intervals::new(v4).iter().for_each(|run| own.add_v4(run));
        Intervals::new(v6).iter().for_each(|run| own.add_v6(run));
        own
    }

    /// All other addresses.
    pub fn others(&self) -> Self {
        let v4 = self.v4.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
        let v6 = self.v6.iter().map(|net| (net.network().to_bits(), net.broadcast().to_bits())).collect();
        let v4 = Intervals::new(vec![(0, u32::MAX)]).minus(&Intervals::new(v4));
        let v6 = Intervals::new(vec![(0, u128::MAX)]).minus(&Intervals::new(v6));
        Self::new(v4.iter().collect(), v6.iter().collect())
    }

    /// One address.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { v4: vec![v4.into()], v6: Vec::new() },
            IpAddr::V6(v6) => Self { v4: Vec::new(), v6: vec![v6.into()] },
        }
    }

    /// IPv4, then IPv6.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.v4.iter().copied().map(IpNet::V4).chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has every address.
    pub fn is_everything(&self) -> bool {
        self.v4.first().is_some_and(|net| net.prefix_len() == 0)
            && self.v6.first().is_some_and(|net| net.prefix_len() == 0)
    }

    /// Which of several sets has the most addresses; of equal ones the one of most networks, and the last.
    pub fn largest<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        // A share is a walk through all networks: once for each set, not for each comparison.
        let sizes = all.into_iter().map(|networks| (networks.share(), networks.len())).enumerate();
        let largest = sizes.max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        largest.map(|(index, _)| index)
    }

    /// Its parts of all IPv4 and of all IPv6 addresses, added up.
    fn share(&self) -> f64 {
        let mut counts = [0u32; 129];
        let v4 = self.v4.iter().map(Ipv4Net::prefix_len);
        v4.chain(self.v6.iter().map(Ipv6Net::prefix_len)).for_each(|bits| counts[usize::from(bits)] += 1);
        (0i16..).zip(counts).map(|(bits, count)| f64::from(count) * f64::from(-bits).exp2()).sum()
    }

    /// Adds an interval above all others.
    pub(super) fn add_v4(&mut self, (mut first, last): (u32, u32)) {
        loop {
            // The largest network that begins here and does not go beyond the end.
            let room = u64::from(last - first) + 1;
            let host_bits = first.trailing_zeros().min(room.ilog2());
            let bits = u8::try_from(32 - host_bits).unwrap_or(32);
            self.v4.extend(Ipv4Net::new(first.into(), bits));
            match first.prefix_last(bits).checked_add(1) {
                Some(next) if next <= last => first = next,
                Some(_) | None => return,
            }
        }
    }

    /// Adds an interval above all others.
    pub(super) fn add_v6(&mut self, (first, last): (u128, u128)) {
        self.v6.extend(Ipv6Subnets::new(first.into(), last.into(), 0));
    }
}

/// Neighbouring cells of one value, as intervals.
pub(super) fn runs<W: AddressNumber, V: Copy + PartialEq>(starts: &[W], values: &[V]) -> Vec<(V, (W, W))> {
    let mut all: Vec<(V, W)> = values.iter().copied().zip(starts.iter().copied()).collect();
    all.dedup_by_key(|run| run.0);
    // The last address alone: of IPv4 it is no client's, of IPv6 it is a multicast address.
    let top = W::MIN.prefix_last(0);
    if all.len() > 1 && all.last().is_some_and(|(_, start)| *start == top) {
        all.pop();
    }
    let ends = all.iter().skip(1).map(|(_, start)| start.previous()).chain(std::iter::once(None));
    all.iter().zip(ends).map(|((value, start), end)| (*value, (*start, end.unwrap_or(top)))).collect()
}

#[cfg(test)]
mod tests {
    use ipnet::Ipv4Subnets;

    use super::*;

    #[test]
    fn intervals_are_the_fewest_networks() {
        let max = u32::MAX;
        let ends = [0, 1, 2, 3, 7, 8, 255, 256, 1 << 16, (1 << 16) + 5, max - 256, max - 1, max];
        for first in ends {
            for last in ends.into_iter().filter(|last| *last >= first) {
                let mut networks = Networks::default();
                networks.add_v4((first, last));
                let want: Vec<Ipv4Net> = Ipv4Subnets::new(first.into(), last.into(), 0).collect();
                assert_eq!(networks.v4, want, "{first} to {last}");
            }
        }
    }
}
