//! The rules of a table, in little room.
//!
//! In: rules, and plain ones as numbers. Out: the same rules, in order; a plain one is made when something asks for it.
//! Invariant: what is made equals what the parser would have kept.
//!
//! A plain rule is `daemon: address` or `daemon: network` of IPv4, as in a list of a million bans, perhaps with `: allow`
//! or `: deny`. It is kept as its text and 16 bytes.

use std::{
    fmt,
    net::Ipv4Addr,
    ops::{Deref, Range},
    slice,
    sync::Arc,
};

use smallvec::smallvec;

use super::{
    rule::{ClientPattern, DaemonPattern, HostPattern, List, OptionField, Rule, TextPattern},
    table_text::{Span, TableText},
};

/// The rules of one table, in order.
#[derive(Clone, Default)]
pub struct Rules {
    text: Arc<TableText>,
    entries: Vec<Packed>,
    /// The line forms of the plain rules.
    forms: Vec<LineForm>,
    /// The rules that are not plain.
    kept: Vec<Rule>,
}

/// One rule: a plain one, or the number of one that is kept.
///
/// Layout: 4 × 4 bytes. Of a million rules these are in memory up to three times during a reload.
#[derive(Clone, Copy)]
struct Packed {
    /// Offset of its line in the text.
    start: u32,
    /// libwrap's line number.
    line: u32,
    /// Address or network; of a rule that is kept: its number.
    net: u32,
    /// Number of its line form.
    form: u16,
    /// Where the client stands in the line.
    client: u8,
    shape: Shape,
}
const _: () = assert!(size_of::<Packed>() == 16);

/// Kind of a rule, with the length of its prefix in one byte.
#[derive(Clone, Copy)]
struct Shape(u8);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Address,
    /// With the length of its prefix, 1 to 32.
    Network(u8),
}

impl Shape {
    const KEPT: u8 = 0;
    /// No prefix is so long.
    const ADDRESS: u8 = u8::MAX;

    fn new(kind: Kind) -> Self {
        Self(match kind {
            Kind::Kept => Self::KEPT,
            Kind::Address => Self::ADDRESS,
            Kind::Network(bits) => bits,
        })
    }

    fn kind(self) -> Kind {
        match self.0 {
            Self::KEPT => Kind::Kept,
            Self::ADDRESS => Kind::Address,
            bits => Kind::Network(bits),
        }
    }
}

/// What the lines of some plain rules have in common: all but the client.
#[derive(Clone, Debug)]
pub(super) struct LineForm {
    daemons: Arc<List<DaemonPattern>>,
    /// `allow`, `deny`, or none; their spans are empty.
    options: Box<[OptionField]>,
    /// Where they stand, counted from the end of the client.
    places: Box<[Span]>,
}

impl LineForm {
    /// That of a rule whose client ends at a place in its line.
    pub(super) fn of(rule: &Rule, client_end: usize) -> Self {
        let place = |field: &OptionField| {
            Span::new(usize::from(field.span.start).saturating_sub(client_end), field.span.length.into())
        };
        let option =
            |field: &OptionField| OptionField { span: Span::new(0, 0), option: field.option.clone() };
        Self {
            daemons: Arc::clone(&rule.daemons),
            options: rule.options.iter().map(option).collect(),
            places: rule.options.iter().map(place).collect(),
        }
    }

    /// The options of a rule whose client ends at a place in its line.
    fn options_at(&self, client_end: usize) -> Vec<OptionField> {
        let option = |(field, place): (&OptionField, &Span)| {
            let span = Span::new(usize::from(place.start) + client_end, place.length.into());
            OptionField { span, option: field.option.clone() }
        };
        self.options.iter().zip(&self.places).map(option).collect()
    }
}

/// A plain rule: one daemon list, one IPv4 address or network, and perhaps a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRule<'a> {
    /// Its daemon list.
    pub daemons: &'a Arc<List<DaemonPattern>>,
    /// `allow`, `deny`, or none; where they stand is not told here, their spans are empty.
    pub options: &'a [OptionField],
    /// Number of its line form: rules with equal numbers have equal daemons and options.
    pub form: u16,
    /// The network; no bit behind the prefix is set.
    pub net: Ipv4Addr,
    /// Length of the prefix, 1 to 32.
    pub bits: u8,
    /// It is written as an address, not as a network.
    pub is_address: bool,
}

/// What the parser found of a plain rule.
pub(super) struct PlainLine {
    /// Offset of the line in the text.
    pub(super) start: u32,
    /// libwrap's line number.
    pub(super) line: u32,
    /// Number of its line form, from [`Rules::add_form`].
    pub(super) form: u16,
    /// The network.
    pub(super) net: u32,
    /// Length of the prefix, if there is one.
    pub(super) bits: Option<u8>,
    /// Where the client stands in the line.
    pub(super) client: u8,
}

/// A rule as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum RuleEntry<'a> {
    /// A plain one.
    Plain(PlainRule<'a>),
    /// Any other.
    Kept(&'a Rule),
}

/// A rule of a table.
#[derive(Clone, Debug)]
pub enum RuleRef<'a> {
    /// It is kept as it is.
    Kept(&'a Rule),
    /// It was made for this.
    Made(Rule),
}

impl Deref for RuleRef<'_> {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        match self {
            Self::Kept(rule) => rule,
            Self::Made(rule) => rule,
        }
    }
}

impl RuleRef<'_> {
    /// The rule itself.
    pub fn into_owned(self) -> Rule {
        match self {
            Self::Kept(rule) => rule.clone(),
            Self::Made(rule) => rule,
        }
    }
}

impl<'a> RuleEntry<'a> {
    /// Its daemon list.
    pub fn daemons(self) -> &'a List<DaemonPattern> {
        match self {
            Self::Plain(plain) => plain.daemons,
            Self::Kept(rule) => &rule.daemons,
        }
    }

    /// Its options; where they stand is told only of a rule that is kept.
    pub fn options(self) -> &'a [OptionField] {
        match self {
            Self::Plain(plain) => plain.options,
            Self::Kept(rule) => &rule.options,
        }
    }
}

impl Rules {
    /// No rules yet of this text.
    pub fn new(text: Arc<TableText>) -> Self {
        Self { text, ..Self::default() }
    }

    /// The text they stand in.
    pub fn text(&self) -> &Arc<TableText> {
        &self.text
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The rule of an index.
    pub fn get(&self, index: usize) -> Option<RuleRef<'_>> {
        self.entries.get(index).map(|packed| self.rule(*packed))
    }

    /// The rule of an index as it is stored.
    pub fn entry_at(&self, index: usize) -> Option<RuleEntry<'_>> {
        self.entries.get(index).map(|packed| self.entry(*packed))
    }

    /// All of them, in order.
    pub fn iter(&self) -> RuleIter<'_> {
        RuleIter { rules: self, entries: self.entries.iter() }
    }

    /// All of them as they are stored: much faster than [`Self::iter`] where plain rules need not be made.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = RuleEntry<'_>> + ExactSizeIterator + Clone {
        self.entries_in(0..self.entries.len())
    }

    /// Those of a range of indices.
    pub fn entries_in(
        &self,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = RuleEntry<'_>> + ExactSizeIterator + Clone {
        self.entries.get(range).unwrap_or_default().iter().map(|packed| self.entry(*packed))
    }

    /// Whether both were read, from equal texts of one path: then they are equal.
    pub(crate) fn are_of_same_text(&self, other: &Self) -> bool {
        self.text.path() == other.text.path() && self.text.is_same_text(&other.text)
    }

    /// The text of a rule as it is stored, if it is a plain one.
    pub(crate) fn plain_text(&self, index: usize) -> Option<&[u8]> {
        let packed = self.entries.get(index).filter(|packed| packed.shape.kind() != Kind::Kept)?;
        let behind = self.text.bytes().get(packed.start as usize..)?;
        behind.split(|byte| *byte == b'\n').next()
    }

    /// The client of a rule as it is written, if the rule is a plain one.
    pub(crate) fn plain_client(&self, index: usize) -> Option<&[u8]> {
        let packed = self.entries.get(index).filter(|packed| packed.shape.kind() != Kind::Kept)?;
        Some(self.client(*packed).1)
    }

    /// The index of the rule that a physical line, from 1, is part of.
    pub(crate) fn at_line(&self, line: u32) -> Option<usize> {
        let index = self.before_line(line.saturating_add(1)).checked_sub(1)?;
        let rule = self.get(index)?;
        (rule.line()..=rule.number.max(rule.line())).contains(&line).then_some(index)
    }

    /// How many rules begin before a physical line.
    pub(crate) fn before_line(&self, line: u32) -> usize {
        self.entries.partition_point(|packed| self.rule(*packed).line() < line)
    }

    /// The rules that are not plain, in order.
    pub fn kept(&self) -> slice::Iter<'_, Rule> {
        self.kept.iter()
    }

    /// The first rules.
    pub fn first(&self, count: usize) -> Self {
        let entries = self.entries[..count.min(self.entries.len())].to_vec();
        let kept = entries.iter().filter(|packed| packed.shape.kind() == Kind::Kept).count();
        let kept = self.kept[..kept].to_vec();
        Self { text: Arc::clone(&self.text), entries, forms: self.forms.clone(), kept }
    }

    /// Adds a rule.
    pub fn push(&mut self, rule: Rule) {
        let number = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let (start, line) = (rule.start, rule.number);
        let shape = Shape::new(Kind::Kept);
        self.entries.push(Packed { start, line, net: number, form: 0, client: 0, shape });
        self.kept.push(rule);
    }

    /// Adds a line form; its number, if there are not too many: the rules with others are kept as they are.
    pub(super) fn add_form(&mut self, form: LineForm) -> Option<u16> {
        let number = u16::try_from(self.forms.len()).ok()?;
        self.forms.push(form);
        Some(number)
    }

    /// Adds a plain rule.
    pub(super) fn push_plain(&mut self, PlainLine { start, line, form, net, bits, client }: PlainLine) {
        let shape = Shape::new(bits.map_or(Kind::Address, Kind::Network));
        self.entries.push(Packed { start, line, net, form, client, shape });
    }

    /// Makes room for so many more rules.
    pub(super) fn reserve(&mut self, count: usize) {
        self.entries.reserve_exact(count);
    }

    /// Gives back the room for more rules.
    pub(super) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.kept.shrink_to_fit();
    }

    fn entry(&self, packed: Packed) -> RuleEntry<'_> {
        let Packed { net, form, shape, .. } = packed;
        let (bits, is_address) = match shape.kind() {
            Kind::Kept => return RuleEntry::Kept(&self.kept[net as usize]),
            Kind::Address => (32, true),
            Kind::Network(bits) => (bits, false),
        };
        let LineForm { daemons, options, .. } = &self.forms[usize::from(form)];
        RuleEntry::Plain(PlainRule { daemons, options, form, net: net.into(), bits, is_address })
    }

    fn rule(&self, packed: Packed) -> RuleRef<'_> {
        let Packed { start, line, net, form, client, shape } = packed;
        let kind = shape.kind();
        if kind == Kind::Kept {
            return RuleRef::Kept(&self.kept[net as usize]);
        }
        let (span, token) = self.client(packed);
        let host = match kind {
            Kind::Kept | Kind::Address => {
                HostPattern::Text { pattern: TextPattern::Exact(token.into()), numeric: true }
            }
            Kind::Network(bits) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                HostPattern::NetV4 { net: net.into(), mask: mask.into() }
            }
        };
        let form = &self.forms[usize::from(form)];
        RuleRef::Made(Rule {
            source: Arc::clone(&self.text),
            start,
            number: line,
            daemons: Arc::clone(&form.daemons),
            clients: List { patterns: smallvec![ClientPattern { span, user: None, host }], except: None },
            options: form.options_at(usize::from(client) + token.len()),
        })
    }

    /// The client of a plain rule: where it stands in the line, and its text.
    fn client(&self, Packed { start, client, .. }: Packed) -> (Span, &[u8]) {
        /// `255.255.255.255/32`
        const LONGEST: usize = 18;
        let from = start as usize + usize::from(client);
        let behind = self.text.bytes().get(from..).unwrap_or_default();
        let behind = &behind[..behind.len().min(LONGEST)];
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'/');
        let length = behind.iter().position(|byte| !is_part(byte)).unwrap_or(behind.len());
        (Span::new(client.into(), length), &behind[..length])
    }
}

/// Goes through the rules of a table.
#[derive(Clone)]
pub struct RuleIter<'a> {
    rules: &'a Rules,
    entries: slice::Iter<'a, Packed>,
}

impl<'a> Iterator for RuleIter<'a> {
    type Item = RuleRef<'a>;

    fn next(&mut self) -> Option<RuleRef<'a>> {
        self.entries.next().map(|packed| self.rules.rule(*packed))
    }

    fn nth(&mut self, count: usize) -> Option<RuleRef<'a>> {
        self.entries.nth(count).map(|packed| self.rules.rule(*packed))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl DoubleEndedIterator for RuleIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries.next_back().map(|packed| self.rules.rule(*packed))
    }
}

impl ExactSizeIterator for RuleIter<'_> {}

impl<'a> IntoIterator for &'a Rules {
    type Item = RuleRef<'a>;
    type IntoIter = RuleIter<'a>;

    fn into_iter(self) -> RuleIter<'a> {
        self.iter()
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut all = Self::default();
        rules.into_iter().for_each(|rule| all.push(rule));
        if let Some(first) = all.kept.first() {
            all.text = Arc::clone(&first.source);
        }
        all
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(one, other)| *one == *other)
    }
}

impl Eq for Rules {}

impl fmt::Debug for Rules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}
