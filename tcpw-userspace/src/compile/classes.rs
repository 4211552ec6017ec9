//! Client classes and server address classes: cells, what each policy says of
//! them, and the tries.
//!
//! In: regions. Out: classes of addresses.

use std::{cell::LazyCell, collections::HashMap, rc::Rc};

use ipnet::IpNet;
use tcpw_common::{
    flat::MAX_CLASSES,
    key::{Address, as_v4, mapped},
    limits::MAX_PREFIXES,
};

use super::{
    cells::{CellIndex, CellRange, Cells, Ranges},
    client_table::{ClientTable, ClientTableKind, FLAT_FROM_V4, FLAT_FROM_V6},
    compare::both_sides,
    error::{CompileError, MAX_CELLS, MAX_OUTCOMES},
    flat::{FlatV4, FlatV6},
    networks::{Networks, runs},
    outcomes::{CellOutcomes, Classes, RuleOutcome, close_by_proven},
    prefix::{PrefixTable, minimal},
    region::{AddressNumber, Collector, Regions},
    service::Truth,
    services::Services,
};

/// A rule as it is policy.
pub(super) struct RuleRegions {
    /// Number of its daemon list.
    pub list: usize,
    /// Where its client list matches.
    pub clients: RuleClients,
    /// Its verdict.
    pub outcome: RuleOutcome,
}

/// Where a client list matches.
pub(super) enum RuleClients {
    /// In one IPv4 network, whatever names are: a million of these may be rules of their own.
    Network((u32, u32)),
    /// Somewhere; and where it does if every name is unknown.
    Regions([Rc<Regions>; 2]),
}

/// The cells of a rule.
enum RuleCells {
    Network(CellRange),
    /// Numbers of ranges: where it matches, and where it does if every name is unknown.
    Ranges([usize; 2]),
}

/// The cells that a rule is applied to.
enum AppliedCells<'a> {
    /// IPv4 cells.
    Network(CellRange),
    /// Cells of both families.
    Ranges(&'a [Ranges; 2]),
}

/// Both tries of a kind of address.
pub(super) struct Tries {
    /// IPv4 prefixes and classes.
    pub v4: PrefixTable<[u8; 4]>,
    /// IPv6 prefixes and classes.
    pub v6: PrefixTable<[u8; 16]>,
}

/// The client tables of both families.
pub(super) struct ClientTables {
    /// IPv4 clients and their classes.
    pub v4: ClientTable<[u8; 4], FlatV4>,
    /// IPv6 clients and their classes.
    pub v6: ClientTable<[u8; 16], FlatV6>,
}

/// Cells of both families, and their classes so far.
pub(super) struct CellClasses {
    /// IPv4 cells.
    pub v4: Cells<u32>,
    /// IPv6 cells.
    pub v6: Cells<u128>,
    classes: Classes,
}

impl CellClasses {
    /// Cells that none of the regions and IPv4 networks cuts.
    pub(super) fn new<'a>(
        regions: impl Iterator<Item = &'a Regions> + Clone,
        networks: impl Iterator<Item = (u32, u32)>,
    ) -> Result<Self, CompileError> {
        let v4 = Cells::of(regions.clone().flat_map(|regions| regions.v4.intervals()).chain(networks));
        let v6 = Cells::new(regions.map(|regions| &regions.v6));
        check("IPv4", v4.len(), MAX_CELLS)?;
        check("IPv6", v6.len(), MAX_CELLS)?;
        let classes = Classes::new(v4.len(), v6.len());
        Ok(Self { v4, v6, classes })
    }

    /// Splits the classes by one more policy.
    fn add_policy(&mut self, [v4, v6]: &[Vec<u8>; 2]) {
        self.classes.split(v4, v6);
    }

    /// The outcome of every cell by rules in their order.
    fn outcomes<'a>(
        &self,
        rules: impl Iterator<Item = (AppliedCells<'a>, bool, RuleOutcome)>,
        default: RuleOutcome,
    ) -> [Vec<u8>; 2] {
        let mut v4 = CellOutcomes::new(self.v4.len());
        let mut v6 = CellOutcomes::new(self.v6.len());
        for (cells, sure, outcome) in rules {
            match cells {
                AppliedCells::Network(range) => v4.apply_one(range, sure, outcome),
                AppliedCells::Ranges(ranges) => {
                    v4.apply(&ranges[0], sure, outcome);
                    v6.apply(&ranges[1], sure, outcome);
                }
            }
        }
        [v4.finish(default), v6.finish(default)]
    }

    /// The cells of regions that cut none.
    pub(super) fn ranges(&self, regions: &Regions) -> [Ranges; 2] {
        [self.v4.ranges(&regions.v4), self.v6.ranges(&regions.v6)]
    }

    /// The networks of each class.
    pub(super) fn networks(&self) -> Vec<Networks> {
        let mut all = vec![Networks::default(); self.classes.count()];
        for (class, run) in runs(&self.v4.starts, &self.classes.v4) {
            all[class as usize].add_v4(run);
        }
        for (class, run) in runs(&self.v6.starts, &self.classes.v6) {
            all[class as usize].add_v6(run);
        }
        all
    }

    /// Addresses at both sides of the cells' borders, by [`both_sides`].
    pub(super) fn borders(&self) -> Vec<Address> {
        let v4 = both_sides(&self.v4.starts).into_iter().map(|address| mapped(address.to_bytes()));
        let v6 = both_sides(&self.v6.starts).into_iter().map(AddressNumber::to_bytes);
        v4.chain(v6).collect()
    }

    /// For each class the first address of each family that it has.
    pub(super) fn examples(&self) -> Vec<[Option<Address>; 2]> {
        let mut examples = vec![[None; 2]; self.classes.count()];
        let v4 = self.v4.starts.iter().map(|start| mapped(start.to_bytes()));
        let v6 = self.v6.starts.iter().map(|start| start.to_bytes());
        let v4 = v4.zip(&self.classes.v4).map(|it| (0, it));
        // A client whose address is v4-mapped is an IPv4 client.
        let v6 = v6.zip(&self.classes.v6).filter(|(address, _)| as_v4(address).is_none()).map(|it| (1, it));
        for (family, (address, class)) in v4.chain(v6) {
            examples[*class as usize][family].get_or_insert(address);
        }
        examples
    }

    /// What each policy says of each class.
    pub(super) fn rows(&self) -> Vec<Vec<u8>> {
        self.classes.rows()
    }

    /// The smallest tries, with each class replaced by `class_of`.
    pub(super) fn tries(&self, class_of: impl Fn(u32) -> u32) -> Result<Tries, CompileError> {
        let v4 = trie("IPv4", &self.v4, &self.classes.v4, &class_of)?;
        let v6 = trie("IPv6", &self.v6, &self.classes.v6, &class_of)?;
        Ok(Tries { v4, v6 })
    }

    /// The tables of clients, each in the form that `kind` and its size ask for.
    pub(super) fn client_tables(&self, kind: ClientTableKind) -> Result<ClientTables, CompileError> {
        let (least_v4, least_v6) = (least(kind, FLAT_FROM_V4), least(kind, FLAT_FROM_V6));
        let v4 = match flat_ranges(&self.v4, &self.classes.v4, least_v4) {
            Some(ranges) => ClientTable::Flat(FlatV4::new(ranges)),
            None => ClientTable::Trie(trie("IPv4", &self.v4, &self.classes.v4, |class| class)?),
        };
        let v6 = match flat_ranges(&self.v6, &self.classes.v6, least_v6)
            .and_then(|ranges| FlatV6::new(&ranges.collect::<Vec<_>>()))
        {
            Some(table) => ClientTable::Flat(table),
            None => ClientTable::Trie(trie("IPv6", &self.v6, &self.classes.v6, |class| class)?),
        };
        Ok(ClientTables { v4, v6 })
    }
}

/// From how many ranges on a table is flat; `None`: never.
fn least(kind: ClientTableKind, auto: usize) -> Option<usize> {
    match kind {
        ClientTableKind::Auto => Some(auto),
        ClientTableKind::Trie => None,
        ClientTableKind::Flat => Some(0),
    }
}

/// Where the ranges of a flat table begin, with their classes; `None` if it is to be a trie.
fn flat_ranges<W: AddressNumber>(
    cells: &Cells<W>,
    classes: &[u32],
    least: Option<usize>,
) -> Option<impl Iterator<Item = (W, u8)>> {
    let least = least?;
    // A lower bound first: most policies have few cells.
    if cells.len() < least {
        return None;
    }
    // Not as a list: of a million networks it would be the largest one of the compiler.
    let mut before = None;
    let ranges = cells.starts.iter().zip(classes).filter_map(move |(start, class)| {
        (before.replace(*class) != Some(*class)).then_some((*start, u8::try_from(*class).ok()))
    });
    let mut count = 0;
    for (_, class) in ranges.clone() {
        class?;
        count += 1;
    }
    (count >= least).then(|| ranges.map(|(start, class)| (start, class.unwrap_or_default())))
}

const _: () = assert!(MAX_CLASSES == u8::MAX as usize + 1, "a class is a byte");

/// The cells' classes under every policy of the services.
pub(super) fn of_services(
    rules: &[RuleRegions],
    services: &Services,
    exempt: &[IpNet],
    default: RuleOutcome,
) -> Result<CellClasses, CompileError> {
    let exempt = exempt_regions(exempt);
    let has_unnamed = services.matching_lists.iter().any(|policy| policy.is_unnamed);
    let regions = rules.iter().flat_map(|rule| match &rule.clients {
        RuleClients::Network(_) => [None, None],
        RuleClients::Regions([named, unnamed]) => {
            [Some(named.as_ref()), Some(unnamed.as_ref()).filter(|_| has_unnamed)]
        }
    });
    let networks = rules.iter().filter_map(|rule| match rule.clients {
        RuleClients::Network(network) => Some(network),
        RuleClients::Regions(_) => None,
    });
    let regions = regions.flatten().chain(std::iter::once(&exempt));
    let mut cells = CellClasses::new(regions, networks)?;
    let exempt = cells.ranges(&exempt);

    // Rules that name the same file share its region.
    let mut shared: HashMap<*const Regions, usize> = HashMap::new();
    let mut ranges: Vec<[Ranges; 2]> = Vec::new();
    let mut cells_of = Vec::with_capacity(rules.len());
    let mut by_list: HashMap<usize, Vec<usize>> = HashMap::new();
    let index = LazyCell::new(|| CellIndex::new(&cells.v4));
    for (number, rule) in rules.iter().enumerate() {
        let mut range = |regions: &Rc<Regions>| {
            *shared.entry(Rc::as_ptr(regions)).or_insert_with(|| {
                ranges.push(cells.ranges(regions));
                ranges.len() - 1
            })
        };
        cells_of.push(match &rule.clients {
            RuleClients::Network(network) => RuleCells::Network(index.cut(*network)),
            RuleClients::Regions([named, unnamed]) => {
                let named = range(named);
                RuleCells::Ranges([named, if has_unnamed { range(unnamed) } else { named }])
            }
        });
        by_list.entry(rule.list).or_default().push(number);
    }

    for policy in &services.matching_lists {
        let outcomes_of = |lists: &[(usize, Truth)]| {
            let mut order: Vec<(usize, bool)> = Vec::new();
            for (list, truth) in lists {
                let rules = by_list.get(list).into_iter().flatten();
                order.extend(rules.map(|index| (*index, *truth == Truth::Yes)));
            }
            order.sort_unstable();
            let rules = order.iter().map(|(number, sure)| {
                let cells = match &cells_of[*number] {
                    RuleCells::Network(range) => AppliedCells::Network(*range),
                    RuleCells::Ranges(numbers) => {
                        AppliedCells::Ranges(&ranges[numbers[usize::from(policy.is_unnamed)]])
                    }
                };
                (cells, *sure, rules[*number].outcome)
            });
            let exempt = (AppliedCells::Ranges(&exempt), true, RuleOutcome::EXEMPT);
            cells.outcomes(std::iter::once(exempt).chain(rules), default)
        };
        let mut outcomes = outcomes_of(&policy.lists);
        if let Some(lists) = &policy.of_proven {
            for (outcomes, of_proven) in outcomes.iter_mut().zip(outcomes_of(lists)) {
                close_by_proven(outcomes, &of_proven);
            }
        }
        cells.add_policy(&outcomes);
        let (policies, clients) = (services.matching_lists.len(), cells.classes.count());
        if policies * clients > MAX_OUTCOMES {
            return Err(CompileError::Outcomes { count: policies * clients, policies, clients });
        }
    }
    Ok(cells)
}

/// Classes of server addresses, and which server patterns match each class.
pub(super) fn servers(regions: &[Rc<Regions>]) -> Result<(CellClasses, Vec<Vec<Truth>>), CompileError> {
    let mut cells = CellClasses::new(regions.iter().map(Rc::as_ref), std::iter::empty())?;
    for regions in regions {
        let ranges = cells.ranges(regions);
        // A server pattern is a policy of one rule that decides nothing else:
        // a sure match is policy as 1, a doubt leaves both bits.
        let [yes, no] = [1, 2].map(|entry| RuleOutcome { entry, number: entry.into() });
        let outcomes = cells.outcomes(std::iter::once((AppliedCells::Ranges(&ranges), true, yes)), no);
        cells.add_policy(&outcomes);
    }
    let rows = cells.rows();
    let truth = |byte: u8| match byte {
        1 => Truth::Yes,
        2 => Truth::No,
        _ => Truth::Perhaps,
    };
    let classes = cells.classes.count();
    let truths = (0..classes).map(|class| rows.iter().map(|row| truth(row[class])).collect()).collect();
    Ok((cells, truths))
}

fn exempt_regions(networks: &[IpNet]) -> Regions {
    let mut out = Collector::default();
    for network in networks {
        match network {
            IpNet::V4(v4) => out.v4.push((v4.network().to_bits(), v4.broadcast().to_bits())),
            IpNet::V6(v6) => match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
                (Some(v4), Some(bits)) => out.v4.push((v4.to_bits(), v4.to_bits().prefix_last(bits))),
                _ => out.v6.push((v6.network().to_bits(), v6.broadcast().to_bits())),
            },
        }
    }
    out.finish()
}

fn trie<W: AddressNumber>(
    family: &'static str,
    cells: &Cells<W>,
    classes: &[u32],
    class_of: impl Fn(u32) -> u32,
) -> Result<PrefixTable<W::Bytes>, CompileError> {
    let classes: Vec<u32> = classes.iter().map(|class| class_of(*class)).collect();
    let trie = minimal(&cells.starts, &classes);
    check(family, trie.len(), MAX_PREFIXES)?;
    Ok(trie)
}

/// Refuses too many.
pub(super) fn check(family: &'static str, count: usize, limit: usize) -> Result<(), CompileError> {
    if count > limit { Err(CompileError::Prefixes { family, count }) } else { Ok(()) }
}
