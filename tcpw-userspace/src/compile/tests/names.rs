//! Names that are looked up: where a policy asks for one.

use super::{unreachable::parsed, *};

fn compiled(allow: &str, deny: &str) -> Policy {
    let tables = parsed(allow, deny);
    compile(&PolicySource { names: Names::HostsLookedUp, unnamed_ports: &[53], ..input(&tables) }).unwrap()
}

macro_rules! asks {
    ($($name:ident: $allow:expr, $deny:expr => [$($client:expr, $port:expr => $want:ident),*];)*) => {
        $(#[test]
        fn $name() {
            let policy = compiled($allow, $deny);
            $(assert_eq!(
                outcome(&policy, &["sshd"], $client, "10.0.0.1", $port), Outcome::$want, "{} to {}", $client, $port
            );)*
        })*
    };
}

asks! {
    a_name_decides: "ALL: .a.test\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask, "2001:db8::1", 22 => Ask];
    addresses_decide_first: "ALL: .a.test 1.2.3.\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Allow, "1.2.4.4", 22 => Ask];
    rules_before_decide: "ALL: 1.2.3.\nALL: .a.test\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Allow, "1.2.4.4", 22 => Ask];
    both_verdicts_are_one: "ALL: .a.test\n", "" => ["1.2.3.4", 22 => Allow];
    severity_counts: "ALL: .a.test: severity info\n", "" => ["1.2.3.4", 22 => Ask];
    equal_severity_does_not: "ALL: .a.test: severity info\nALL: ALL: severity info\n", "" => ["1.2.3.4", 22 => Allow];
    paranoid: "", "ALL: PARANOID\n" => ["1.2.3.4", 22 => Ask];
    known: "ALL: KNOWN\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    unknown: "ALL: UNKNOWN\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    local: "ALL: LOCAL\n", "ALL: ALL\n" => ["::1", 22 => Ask];
    glob: "ALL: host?\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    exact: "ALL: host\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    netgroup: "ALL: @trusted\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    no_name_reads_as_an_address: "ALL: [::1]\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Refuse, "::1", 22 => Allow];
    only_where_the_list_may_match: "ALL: 10. EXCEPT .a.test\n", "ALL: ALL\n" =>
        ["10.1.1.1", 22 => Ask, "11.1.1.1", 22 => Refuse];
    what_is_excepted_decides: "ALL: .a.test EXCEPT 10.\n", "ALL: ALL\n" =>
        ["10.1.1.1", 22 => Refuse, "11.1.1.1", 22 => Ask];
    deeper: "ALL: ALL EXCEPT .a.test EXCEPT 10.\n", "ALL: ALL\n" =>
        ["10.1.1.1", 22 => Allow, "11.1.1.1", 22 => Ask];
    users_are_unknown: "ALL: root@.a.test\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Refuse];
    unknown_users_of_a_name: "ALL: UNKNOWN@.a.test\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    name_of_the_servers_end: "sshd@.a.test: ALL\nnginx@.a.test: 1.2.3.4\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Ask];
    only_for_those_daemons: "nginx@.a.test: ALL\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Refuse];
    address_of_the_servers_end: "sshd@10.: ALL\n", "ALL: ALL\n" => ["1.2.3.4", 22 => Allow];
    name_servers: "ALL: .a.test\n", "ALL: ALL\n" => ["1.2.3.4", 53 => Refuse, "1.2.3.4", 54 => Ask];
    name_servers_of_the_unknown: "ALL: UNKNOWN\n", "ALL: ALL\n" => ["1.2.3.4", 53 => Allow, "1.2.3.4", 54 => Ask];
    name_servers_with_rules: "53: 1.2.3. .a.test\n", "ALL: ALL\n" => ["1.2.3.4", 53 => Allow, "1.2.4.4", 53 => Refuse];
    name_servers_at_an_end: "ALL@.a.test: ALL\nALL@UNKNOWN: 1.\n", "ALL: ALL\n" =>
        ["1.2.3.4", 53 => Allow, "2.2.3.4", 53 => Refuse, "1.2.3.4", 54 => Ask];
}

/// What no name can change costs no class of ports.
#[test]
fn tables_of_addresses_do_not_tell_name_servers_apart() {
    assert_eq!(compiled("ALL: 1.2.3.\n", "ALL: ALL\n").header(1, 0).port_classes, 1);
    assert_eq!(compiled("ALL: .a.test\n", "ALL: ALL\n").header(1, 0).port_classes, 2);
    assert_eq!(compiled("ALL: .a.test\n", "").header(1, 0).port_classes, 1);
}
