//! Names, users and netgroups: what a look-up may change, and what it may not.

use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;
use tcpw_common::{decide::decide, key::Query, outcome::Outcome};
use tcpw_tests::policy::{address, borders, compile_with, evaluated_with, tables};
use tcpw_userspace::{
    compile::{Names, PolicyTables},
    evaluate::request::{CommandResult, HostName, Lookup, Purpose, Verdict},
    parse::rule::Text,
};

use super::{
    Counts,
    generate::{Case, case, names_sets},
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
