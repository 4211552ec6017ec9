//! Intervals to the smallest table of prefixes in which the longest one wins.
//!
//! In: cells of one family and their classes. Out: prefixes, a /0 among them.
//! Invariant: no table with fewer prefixes says the same, so none can be left out.
//! Source: Draves, King, Venkatachary, Zill: Constructing Optimal IP Routing
//! Tables, INFOCOM 1999.

use std::collections::HashMap;

use super::region::AddressNumber;

/// The addresses whose first `bits` bits are those of `address`; the others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix<A> {
    /// In network order.
    pub address: A,
    /// How many bits count.
    pub bits: u8,
}

/// Prefixes and the class of each.
pub type PrefixTable<A> = Vec<(Prefix<A>, u32)>;

/// The smallest table of prefixes, sorted by address, then length.
pub(super) fn minimal<W: AddressNumber>(starts: &[W], classes: &[u32]) -> PrefixTable<W::Bytes> {
    let mut runs: Vec<(W, u32)> = starts.iter().copied().zip(classes.iter().copied()).collect();
    runs.dedup_by_key(|run| run.1);
    let mut tree = Tree { nodes: Vec::new(), sets: Sets::default() };
    let top = tree.build(W::MIN, 0, &runs);
    let mut out = Vec::new();
    tree.emit(top, Prefix { address: W::MIN, bits: 0 }, None, &mut out);
    out
}

/// A subtree: one class throughout, or a node that splits further.
#[derive(Clone, Copy)]
enum Tip {
    Leaf(u32),
    Node(u32),
}

struct Node<W> {
    first: W,
    bits: u8,
    children: [Tip; 2],
    /// The classes that this subtree's top may have in a smallest table.
    set: u32,
}

struct Tree<W> {
    nodes: Vec<Node<W>>,
    sets: Sets,
}

impl<W: AddressNumber> Tree<W> {
    fn build(&mut self, first: W, bits: u8, runs: &[(W, u32)]) -> Tip {
        if let [(_, class)] = runs {
            return Tip::Leaf(*class);
        }
        let middle = first.upper_half(bits);
        let upper = runs.partition_point(|(start, _)| *start < middle);
        let right =
            if runs.get(upper).is_some_and(|(start, _)| *start == middle) { upper } else { upper - 1 };
        let children =
            [self.build(first, bits + 1, &runs[..upper]), self.build(middle, bits + 1, &runs[right..])];
        let sets = children.map(|child| self.set(child));
        let set = self.sets.merge(sets[0], sets[1]);
        // A lone prefix far below a uniform rest: the levels between add nothing.
        if sets == [set, set]
            && let [Tip::Leaf(_), deep @ Tip::Node(_)] | [deep @ Tip::Node(_), Tip::Leaf(_)] = children
        {
            return deep;
        }
        self.nodes.push(Node { first, bits, children, set });
        Tip::Node(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
    }

    fn set(&mut self, tip: Tip) -> u32 {
        match tip {
            Tip::Leaf(class) => self.sets.number(vec![class]),
            Tip::Node(node) => self.nodes[node as usize].set,
        }
    }

    fn emit(&mut self, tip: Tip, at: Prefix<W>, above: Option<u32>, out: &mut PrefixTable<W::Bytes>) {
        let set = self.set(tip);
        let set = &self.sets.members[set as usize];
        let class = match above {
            Some(class) if set.binary_search(&class).is_ok() => class,
            Some(_) | None => {
                out.push((Prefix { address: at.address.to_bytes(), bits: at.bits }, set[0]));
                set[0]
            }
        };
        if let Tip::Node(node) = tip {
            let Node { first, bits, children: [left, right], .. } = self.nodes[node as usize];
            self.emit(left, Prefix { address: first, bits: bits + 1 }, Some(class), out);
            self.emit(right, Prefix { address: first.upper_half(bits), bits: bits + 1 }, Some(class), out);
        }
    }
}

/// Sets of classes, each with a number.
#[derive(Default)]
struct Sets {
    members: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32, fnv::FnvBuildHasher>,
    merged: HashMap<(u32, u32), u32, fnv::FnvBuildHasher>,
}

impl Sets {
    fn number(&mut self, set: Vec<u32>) -> u32 {
        if let Some(&number) = self.numbers.get(&set) {
            return number;
        }
        let number = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.members.push(set.clone());
        self.numbers.insert(set, number);
        number
    }

    /// What both have; if there is nothing, what either has.
    fn merge(&mut self, a: u32, b: u32) -> u32 {
        if a == b {
            return a;
        }
        let pair = (a.min(b), a.max(b));
        if let Some(&number) = self.merged.get(&pair) {
            return number;
        }
        let (left, right) = (&self.members[a as usize], &self.members[b as usize]);
        let mut set: Vec<u32> =
            left.iter().copied().filter(|class| right.binary_search(class).is_ok()).collect();
        if set.is_empty() {
            set = [left.as_slice(), right.as_slice()].concat();
            set.sort_unstable();
        }
        let number = self.number(set);
        self.merged.insert(pair, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(runs: &[(u32, u32)]) -> Vec<(String, u32)> {
        let (starts, classes): (Vec<_>, Vec<_>) = runs.iter().copied().unzip();
        minimal(&starts, &classes)
            .into_iter()
            .map(|(prefix, class)| {
                (format!("{}/{}", std::net::Ipv4Addr::from(prefix.address), prefix.bits), class)
            })
            .collect()
    }

    fn rows(rows: &[(&str, u32)]) -> Vec<(String, u32)> {
        rows.iter().map(|(prefix, class)| ((*prefix).to_owned(), *class)).collect()
    }

    #[test]
    fn one_class_is_one_entry() {
        assert_eq!(table(&[(0, 7), (5, 7), (9, 7)]), rows(&[("0.0.0.0/0", 7)]));
    }

    #[test]
    fn a_lone_network_is_two_entries() {
        assert_eq!(
            table(&[(0, 0), (0x0a00_0000, 1), (0x0b00_0000, 0)]),
            rows(&[("0.0.0.0/0", 0), ("10.0.0.0/8", 1)])
        );
        assert_eq!(
            table(&[(0, 0), (0x0102_0304, 1), (0x0102_0305, 0)]),
            rows(&[("0.0.0.0/0", 0), ("1.2.3.4/32", 1)])
        );
        assert_eq!(table(&[(0, 1), (1, 0)]), rows(&[("0.0.0.0/0", 0), ("0.0.0.0/32", 1)]));
        assert_eq!(table(&[(0, 0), (u32::MAX, 1)]), rows(&[("0.0.0.0/0", 0), ("255.255.255.255/32", 1)]));
    }

    #[test]
    fn a_hole_is_one_entry_more() {
        assert_eq!(
            table(&[(0, 0), (0x0a00_0000, 1), (0x0a01_0000, 0), (0x0a02_0000, 1), (0x0b00_0000, 0)]),
            rows(&[("0.0.0.0/0", 0), ("10.0.0.0/8", 1), ("10.1.0.0/16", 0)])
        );
    }

    /// The example of the paper: its table of 5 next hops needs 3.
    #[test]
    fn the_majority_becomes_the_default() {
        let quarter = 1 << 30;
        assert_eq!(
            table(&[(0, 1), (quarter, 2), (2 * quarter, 1), (3 * quarter, 3)]),
            rows(&[("0.0.0.0/0", 1), ("64.0.0.0/2", 2), ("192.0.0.0/2", 3)])
        );
    }

    /// Fewest prefixes for these cells below one that has class `above`, tried one by one.
    fn fewest(cells: &[u32], above: Option<u32>) -> usize {
        let below = |class: u32| match cells {
            [cell] => (*cell == class).then_some(0),
            _ => {
                let (left, right) = cells.split_at(cells.len() / 2);
                Some(fewest(left, Some(class)) + fewest(right, Some(class)))
            }
        };
        let own = (0..3).filter_map(|class| below(class).map(|count| count + 1)).min();
        above.and_then(below).into_iter().chain(own).min().unwrap()
    }

    #[test]
    fn no_table_is_smaller() {
        // Eight cells in three classes: every way to fill them.
        for number in 0..3u32.pow(8) {
            let cells: Vec<u32> = (0..8).map(|cell| number / 3u32.pow(cell) % 3).collect();
            let starts: Vec<u32> = (0..8).map(|cell| cell << 29).collect();
            assert_eq!(minimal(&starts, &cells).len(), fewest(&cells, None), "{cells:?}");
        }
    }
}
