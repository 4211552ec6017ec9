//! What a table is mostly about.

use super::random::Random;

/// Kinds of host patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKind {
    /// `10.1.2.3`, `10.1.`, `10.1.0.0/16`.
    V4,
    /// `[2001:db8::1]`, `[2001:db8::]/32`.
    V6,
    /// ALL, KNOWN, LOCAL, ...
    Wildcard,
    /// `www.example.com`, `.example.com`, `www.`.
    Name,
    /// `10.*`, `*.example.com`, `2001:*`.
    Glob,
    /// `/tmp/lwc/file`.
    File,
    /// `@netgroup`.
    Netgroup,
    /// Slips and nonsense.
    Odd,
}

/// How often what is written; percentages, unless they are weights.
#[derive(Clone, Debug)]
pub(super) struct Taste {
    /// Weights of kinds of host patterns.
    pub(super) hosts: Vec<(usize, HostKind)>,
    /// A client token has a user.
    pub(super) users: usize,
    /// A daemon token has a server's end.
    pub(super) servers: usize,
    /// A daemon token is a port, a glob or the like.
    pub(super) odd_daemons: usize,
    /// A rule has options.
    pub(super) options: usize,
    /// An option is a good one.
    pub(super) good_options: usize,
    /// A list has an EXCEPT.
    pub(super) except: usize,
    /// A table's last rule is `ALL: ALL`.
    pub(super) all_all: usize,
    /// A line is broken in two by a backslash.
    pub(super) continuation: usize,
    /// A line has a length at the limit.
    pub(super) long: usize,
    /// A line is a comment, blank, or no rule.
    pub(super) no_rule: usize,
    /// A table's lines end in CR LF.
    pub(super) crlf: usize,
    /// A table lacks its last newline.
    pub(super) cut: usize,
    /// A table has random characters put in and taken out.
    pub(super) mutation: usize,
    /// Commands and banners have %.
    pub(super) percent: usize,
    /// Names and users in requests are hostile.
    pub(super) hostile_names: usize,
    /// Written by a tool, and not by this generator's rules.
    pub(super) tool: usize,
    /// Tables have dozens of rules.
    pub(super) many: bool,
}

impl Taste {
    /// An administrator's table.
    fn plain() -> Self {
        use HostKind::{File, Glob, Name, Netgroup, Odd, V4, V6, Wildcard};
        Self {
            hosts: vec![
                (45, V4),
                (18, V6),
                (10, Wildcard),
                (12, Name),
                (5, Glob),
                (4, File),
                (1, Netgroup),
                (2, Odd),
            ],
            users: 5,
            servers: 6,
            odd_daemons: 15,
            options: 12,
            good_options: 85,
            except: 15,
            all_all: 45,
            continuation: 8,
            long: 0,
            no_rule: 15,
            crlf: 3,
            cut: 3,
            mutation: 0,
            percent: 40,
            hostile_names: 4,
            tool: 15,
            many: false,
        }
    }

    /// One of many.
    pub(super) fn any(random: &mut Random) -> Self {
        use HostKind::{File, Glob, Name, Netgroup, Odd, V4, V6, Wildcard};
        let mut taste = Self::plain();
        match random.weighted(&[
            (24, 0),
            (10, 1),
            (10, 2),
            (8, 3),
            (8, 4),
            (14, 5),
            (8, 6),
            (6, 7),
            (12, 8),
            (6, 9),
            (4, 10),
        ]) {
            1 => taste.hosts = vec![(80, V4), (10, Odd), (5, Glob), (5, Wildcard)],
            2 => taste.hosts = vec![(80, V6), (8, V4), (6, Glob), (6, Odd)],
            3 => {
                taste.hosts = vec![(45, Name), (25, Wildcard), (15, Glob), (5, Netgroup), (10, V4)];
                taste.hostile_names = 15;
            }
            4 => {
                taste.users = 50;
                taste.servers = 35;
                taste.odd_daemons = 45;
            }
            5 => {
                taste.options = 90;
                taste.odd_daemons = 3;
                taste.hosts = vec![(65, Wildcard), (20, V4), (8, Name), (7, V6)];
                taste.good_options = if random.chance(60) { 95 } else { 50 };
            }
            6 => {
                taste.options = 85;
                taste.percent = 90;
                taste.hostile_names = 50;
                taste.odd_daemons = 3;
                taste.hosts = vec![(70, Wildcard), (15, V4), (15, Name)];
                taste.good_options = 97;
            }
            7 => {
                taste.hosts = vec![(50, File), (30, V4), (10, Name), (10, Odd)];
                taste.servers = 15;
            }
            8 => {
                taste.mutation = 100;
                taste.continuation = 20;
                taste.options = 30;
                taste.good_options = 70;
                taste.except = 30;
            }
            9 => {
                taste.long = 50;
                taste.continuation = 40;
                taste.crlf = 10;
                taste.cut = 25;
                taste.no_rule = 30;
            }
            10 => {
                taste.many = true;
                taste.tool = 5;
                taste.all_all = 15;
                taste.hosts =
                    vec![(55, V4), (20, V6), (1, Wildcard), (14, Name), (6, Glob), (1, File), (3, Odd)];
            }
            _ => {}
        }
        taste
    }
}
