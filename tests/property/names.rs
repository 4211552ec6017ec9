//! Names, users and netgroups: what a look-up may change, and what it may not.

use std::{cell::Cell, collections::BTreeMap, io::Write as _, net::IpAddr, path::PathBuf};

use proptest::{collection::vec, prelude::*, sample::select};
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::policy::{
    UNNAMED_PORT, address, borders, compile_as, compile_with, evaluated_with, judged, tables, text,
};
use tcpw_userspace::{
    compile::{ClientTableKind, Names, PolicyTables},
    evaluate::{
        Unknown,
        request::{CommandResult, HostName, Lookup, Purpose, Verdict},
    },
    parse::rule::Text,
};

use super::{
    Counts,
    generate::{Case, address_token, case, names_sets},
    runner,
};

/// Look-ups that answer something: made up, and the same for every client.
#[derive(Clone, Debug)]
pub(super) struct MadeUp {
    pub(super) client: HostName,
    pub(super) server: HostName,
    pub(super) user: Option<&'static str>,
    pub(super) netgroups: bool,
    /// Exit status of commands.
    pub(super) status: u8,
}

impl Lookup for MadeUp {
    fn client_name(&self) -> HostName {
        self.client.clone()
    }
    fn server_name(&self) -> HostName {
        self.server.clone()
    }
    fn client_user(&self, _: u32) -> Option<Text> {
        self.user.map(|user| user.as_bytes().into())
    }
    fn in_netgroup(&self, _: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        self.netgroups
    }
    fn user_exists(&self, _: &[u8]) -> bool {
        true
    }
    fn group_exists(&self, _: &[u8]) -> bool {
        true
    }
    fn run(&self, _: Purpose, _: &[u8]) -> CommandResult {
        CommandResult::Exited(self.status)
    }
}

/// Every name with and without users, netgroups and a name of the server.
pub(super) fn made_up() -> Vec<MadeUp> {
    let known = |name: &str| HostName::Known(name.as_bytes().into());
    let mut all = Vec::new();
    for client in [
        HostName::Unknown,
        HostName::Paranoid,
        known("www.example.com"),
        known("example.com"),
        known("localhost"),
        known("10.0.1.2.evil.example.org"),
        known("a.b.c.3456"),
    ] {
        for (user, netgroups, server) in [
            (None, false, HostName::Unknown),
            (Some("root"), true, known("in.example.com")),
            (Some("u.n"), false, known("s1")),
        ] {
            all.push(MadeUp { client: client.clone(), server, user, netgroups, status: 0 });
        }
    }
    all
}

/// Where the tables decide although names are looked up, no look-up changes the verdict.
fn no_look_up_matters(case: &Case, counts: &mut Counts) -> Result<(), TestCaseError> {
    let Case { allow, deny, .. } = case;
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let tables = tables(Some(allow), Some(deny), BTreeMap::new());
    let sets = names_sets();
    let policy = compile_with(Names::LookedUp, &tables, &sets).map_err(|error| failed(&error))?;
    let compiled = PolicyTables::new(&policy, 1, 0);
    let flat =
        compile_as(ClientTableKind::Flat, Names::LookedUp, &tables, &sets).map_err(|error| failed(&error))?;
    let flat = PolicyTables::new(&flat, 1, 0);
    let clients: Vec<IpAddr> = borders(&policy, 40).into_iter().chain(case.addresses()).collect();
    let answers = made_up();
    for set in &sets {
        for (port, server) in [(22, "1.2.3.1"), (80, "2001:db8::1")] {
            let server: IpAddr = server.parse().map_err(|error| failed(&error))?;
            for client in &clients {
                let query =
                    Query { names: set.id(), client: address(*client), server: address(server), port };
                let whose = format!("{client} to {set}@{server}:{port} under\n{allow}--\n{deny}");
                let Some(decision) = decide(&compiled, &query) else {
                    return Err(TestCaseError::fail(format!("broken tables: {whose}")));
                };
                counts.asked += 1;
                let by_flat = decide(&flat, &query).map(|it| (it.outcome, it.marks));
                prop_assert_eq!(by_flat, Some((decision.outcome, decision.marks)), "flat: {}", whose);
                let want = match decision.outcome {
                    Outcome::Allow => Verdict::Allow,
                    Outcome::Refuse => Verdict::Refuse,
                    Outcome::Ask => {
                        counts.open += 1;
                        continue;
                    }
                    Outcome::Exempt => return Err(TestCaseError::fail(format!("exempt: {whose}"))),
                };
                for answer in &answers {
                    let verdict = evaluated_with(&tables, set, &query, answer);
                    prop_assert_eq!(verdict, want, "{:?} {:?}: {}", answer.client, answer.user, whose);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn no_name_or_user_changes_a_verdict_that_the_tables_give() {
    let counts = std::cell::RefCell::new(Counts::default());
    if let Err(error) = runner(120).run(&case(), |case| no_look_up_matters(&case, &mut counts.borrow_mut())) {
        panic!("{error}");
    }
    let Counts { asked, open } = counts.into_inner();
    assert!(open > 0 && open < asked, "{open} of {asked} questions are left to look-ups");
}

/// Somebody with a name in a world of names, who remembers whether he was asked for it.
struct Asked<'a> {
    world: &'a MadeUp,
    was_asked: Cell<bool>,
}

impl Lookup for Asked<'_> {
    fn client_name(&self) -> HostName {
        self.was_asked.set(true);
        self.world.client_name()
    }
    fn server_name(&self) -> HostName {
        self.was_asked.set(true);
        self.world.server_name()
    }
    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
        self.was_asked.set(true);
        self.world.in_netgroup(group, host, user)
    }
    fn user_exists(&self, _: &[u8]) -> bool {
        true
    }
    fn group_exists(&self, _: &[u8]) -> bool {
        true
    }
}

/// Client tokens of names: none of them matches a text of an address that is not written out.
const NAME_TOKENS: &[&str] = &[
    "ALL",
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "EXCEPT",
    "EXCEPT",
    ".example.com",
    ".com",
    "www.",
    "www.example.com",
    "localhost",
    "unknown",
    "@trusted",
    "/names",
    "/addresses",
    "[::1]",
    "[::ffff:1.2.3.4]",
    "*.example.org",
    "www*",
    "root@.example.com",
    "UNKNOWN@www.",
    "KNOWN@ALL",
];

const NAME_DAEMONS: &[&str] = &[
    "sshd",
    "ALL",
    "nginx",
    "22",
    "53",
    "EXCEPT",
    "sshd@.example.com",
    "ALL@KNOWN",
    "ALL@10.",
    "nginx@s1",
    "ALL@UNKNOWN",
];

const NAME_OPTIONS: &[&str] =
    &["", "", "", ": allow", ": deny", ": severity info", ": severity auth.alert: deny", ": keepalive"];

fn name_table() -> impl Strategy<Value = String> {
    let client = prop_oneof![3 => select(NAME_TOKENS).prop_map(str::to_owned), 3 => address_token()]
        // Masks with holes are texts to the compiler.
        .prop_map(|token| if token.matches('.').count() > 4 { "10.1.".to_owned() } else { token });
    let rule = (vec(select(NAME_DAEMONS), 1..4), vec(client, 1..5), select(NAME_OPTIONS)).prop_map(
        |(daemons, clients, options)| format!("{}: {}{options}\n", daemons.join(" "), clients.join(" ")),
    );
    vec(rule, 0..5).prop_map(|rules| rules.concat())
}

/// Questions that were left open, and those of them that no name of these worlds answers otherwise.
#[derive(Default)]
struct Open {
    asked: u64,
    open: u64,
    same: u64,
}

fn names_count_where_they_are_asked_for(
    (allow, deny): &(String, String),
    counts: &mut Open,
) -> Result<(), TestCaseError> {
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let file = |path: &str, content| (PathBuf::from(path), text(Some(content)));
    let files =
        [file("/names", "LOCAL .example.com /addresses\n"), file("/addresses", "10. 1.2.3.4 [::1]\n")];
    let tables = tables(Some(allow), Some(deny), BTreeMap::from(files));
    let sets = names_sets();
    let policy = compile_with(Names::HostsLookedUp, &tables, &sets).map_err(|error| failed(&error))?;
    let compiled = PolicyTables::new(&policy, 1, 0);
    let clients = borders(&policy, 40);
    let mut worlds = made_up();
    let servers = [HostName::Unknown, HostName::Paranoid, HostName::Known(b"s1"[..].into())];
    let more = worlds.iter().flat_map(|world| {
        servers.iter().map(|server| MadeUp {
            server: server.clone(),
            netgroups: !world.netgroups,
            ..world.clone()
        })
    });
    let more: Vec<_> = more.collect();
    worlds.extend(more);
    for world in &mut worlds {
        world.user = None;
    }
    for set in &sets {
        for (port, server) in [(22, "1.2.3.1"), (UNNAMED_PORT, "10.0.0.1"), (80, "2001:db8::1")] {
            let server: IpAddr = server.parse().map_err(|error| failed(&error))?;
            for client in &clients {
                let query =
                    Query { names: set.id(), client: address(*client), server: address(server), port };
                let whose = format!("{client} to {set}@{server}:{port} under\n{allow}--\n{deny}");
                let outcome = decide(&compiled, &query).map(|decision| decision.outcome);
                let verdict = |verdict| match verdict {
                    Verdict::Allow => Some(Outcome::Allow),
                    Verdict::Refuse => Some(Outcome::Refuse),
                };
                if port == UNNAMED_PORT {
                    let unknown = judged(&tables, set, &query, &Unknown).verdict;
                    prop_assert_eq!(outcome, verdict(unknown), "{}", whose);
                    continue;
                }
                counts.asked += 1;
                let mut was_asked = false;
                let mut seen = Vec::new();
                for world in &worlds {
                    let asked = Asked { world, was_asked: Cell::new(false) };
                    let judgement = judged(&tables, set, &query, &asked);
                    was_asked |= asked.was_asked.get();
                    let said = (verdict(judgement.verdict), judgement.severity);
                    if !seen.contains(&said) {
                        seen.push(said);
                    }
                }
                if outcome == Some(Outcome::Ask) {
                    counts.open += 1;
                    counts.same += u64::from(seen.len() == 1);
                    prop_assert!(was_asked, "libwrap would look nothing up: {}", whose);
                } else {
                    prop_assert!(
                        seen.len() == 1 && seen[0].0 == outcome,
                        "{:?}, {:?}: {}",
                        outcome,
                        seen,
                        whose
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_name_is_asked_for_where_it_counts_and_never_where_libwrap_would_not_look_it_up() {
    let counts = std::cell::RefCell::new(Open::default());
    let result = runner(200).run(&(name_table(), name_table()), |tables| {
        names_count_where_they_are_asked_for(&tables, &mut counts.borrow_mut())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let Open { asked, open, same } = counts.into_inner();
    drop(writeln!(
        std::io::stderr(),
        "property: names: {asked} questions, {open} hang on a name; {same} of them have one answer in every world tried"
    ));
    assert!(open * 20 > asked && same * 3 < open, "{open} of {asked}, {same} for nothing");
}
