use super::*;
use crate::listeners::{program::Program, unit::Unit};

const JOE: u32 = 1000;
const REDIS: u32 = 105;

fn process(path: &str, uids: [u32; 4], of_root: Result<(), String>) -> ProcessInfo {
    ProcessInfo {
        pid: 9,
        executable: Some(path.into()),
        comm: b"comm".to_vec(),
        arguments: vec![b"title".to_vec()],
        cgroup: b"/system.slice/redis-server.service".to_vec(),
        uids,
        is_privileged: uids == [0; 4],
        program: Some(Program { is_set_id: false, has_capabilities: false, file: (1, 2), of_root }),
        ..ProcessInfo::default()
    }
}

fn told(process: &ProcessInfo, maker: u32) -> Vec<(String, Result<Proof, Doubt>)> {
    let claims = claims(ProcessFacts { process, maker });
    claims.into_iter().map(|it| (String::from_utf8_lossy(&it.name).into_owned(), it.proof)).collect()
}

fn proof_of(name: &str, process: &ProcessInfo, maker: u32) -> Result<Proof, Doubt> {
    told(process, maker).into_iter().find(|(own, _)| own == name).unwrap().1
}

#[test]
fn what_root_runs_has_all_its_names() {
    let process = process("/srv/sshd", [0; 4], Err("others".into()));
    let names: Vec<_> =
        ["sshd", "redis-server", "title", "comm"].map(|name| (name.to_owned(), Ok(Proof::Root))).into();
    assert_eq!(told(&process, 0), names);
    assert_eq!(proof_of("sshd", &process, JOE), Err(Doubt::SocketOf(JOE)), "it was given the socket");
}

#[test]
fn user_proves_nothing_by_its_own_file_or_by_one_of_root() {
    for of_root in [Ok(()), Err("others".to_owned())] {
        let process = process("/usr/sbin/sshd", [JOE; 4], of_root);
        assert_eq!(proof_of("sshd", &process, JOE), Err(Doubt::User(JOE)));
        assert_eq!(proof_of("redis-server", &process, JOE), Err(Doubt::User(JOE)));
    }
}

/// [names.user] would not prove it.
#[test]
fn process_of_a_user_with_something_of_another_is_told_apart() {
    let of = |uids, maker| proof_of("x", &process("/home/joe/x", uids, Err("x".into())), maker);
    assert_eq!(of([JOE; 4], JOE), Err(Doubt::User(JOE)));
    assert_eq!(of([JOE; 4], REDIS), Err(Doubt::Users(JOE)));
    assert_eq!(of([JOE, 0, 0, 0], JOE), Err(Doubt::Users(JOE)));
    assert_eq!(of([0; 4], JOE), Err(Doubt::SocketOf(JOE)));
}

#[test]
fn set_id_program_proves_nothing_that_its_caller_chose() {
    for uids in [[JOE, 0, 0, 0], [0; 4]] {
        let mut process = process("/usr/bin/su", uids, Ok(()));
        process.program.as_mut().unwrap().is_set_id = true;
        process.is_privileged = true;
        for chosen in ["title", "comm"] {
            assert_eq!(proof_of(chosen, &process, 0), Err(Doubt::SetId));
            assert!(proof_of(chosen, &process, JOE).is_err());
        }
        assert_eq!(proof_of("su", &process, 0), Ok(Proof::File));
        assert_eq!(proof_of("su", &process, JOE), Err(Doubt::SetId));
    }
}

#[test]
fn process_that_changes_while_it_is_read_proves_nothing() {
    let unit = Unit { is_of_root: true, is_program: true, is_called_so: true, ..Unit::default() };
    let mut process = ProcessInfo { unit: Some(unit), ..process("/usr/sbin/sshd", [0; 4], Ok(())) };
    process.is_changing = true;
    assert!(told(&process, 0).iter().all(|(_, proof)| *proof == Err(Doubt::Changing)));
    let names = given(["daytime"], ProcessFacts { process: &process, maker: 0 }, Proof::SuperServer);
    assert_eq!(names[0].proof, Err(Doubt::Changing));
}

#[test]
fn root_of_another_user_namespace_proves_nothing() {
    let mut process = process("/usr/sbin/sshd", [0; 4], Ok(()));
    process.has_foreign_users = true;
    process.users_maker = JOE;
    assert_eq!(proof_of("sshd", &process, 0), Err(Doubt::UserNamespace(JOE)));
}

#[test]
fn daemon_that_gave_up_its_rights_has_the_name_of_its_file() {
    let unbound = process("/usr/sbin/unbound", [JOE; 4], Ok(()));
    assert_eq!(proof_of("unbound", &unbound, 0), Ok(Proof::File));
    let copy = process("/home/joe/unbound", [JOE; 4], Err("others can write".into()));
    assert_eq!(proof_of("unbound", &copy, 0), Err(Doubt::File("others can write".into())));
}

/// unbound.service has no `User=`: its daemon binds as root, and becomes a user.
#[test]
fn daemon_that_was_taken_over_is_no_other_program_at_the_socket_that_root_made() {
    for user in [None, Some(JOE)] {
        let unit = Unit { is_of_root: true, user, ..Unit::default() };
        let sshd = ProcessInfo { unit: Some(unit), ..process("/usr/sbin/sshd", [JOE; 4], Ok(())) };
        assert_eq!(proof_of("sshd", &sshd, 0), Err(Doubt::User(JOE)));
    }
    // It is called like its unit, whose script starts it.
    let unit = Unit { is_of_root: true, is_called_so: true, ..Unit::default() };
    let slapd = ProcessInfo { unit: Some(unit), ..process("/usr/sbin/slapd", [JOE; 4], Ok(())) };
    assert_eq!(proof_of("slapd", &slapd, 0), Ok(Proof::File));
}

#[test]
fn main_program_of_a_unit_has_the_names_of_both() {
    let unit =
        Unit { is_of_root: true, is_program: true, is_called_so: true, user: Some(REDIS), ..Unit::default() };
    let of = |unit: &Unit, uids| ProcessInfo {
        unit: Some(unit.clone()),
        ..process("/srv/redis", uids, Err("x".into()))
    };
    for name in ["redis", "redis-server"] {
        assert_eq!(proof_of(name, &of(&unit, [REDIS; 4]), REDIS), Ok(Proof::Unit));
        // A job of a user that the unit runs, with the unit's own program.
        assert_eq!(proof_of(name, &of(&unit, [JOE; 4]), JOE), Err(Doubt::User(JOE)));
        let delegated = Unit { is_of_root: false, ..unit.clone() };
        assert!(proof_of(name, &of(&delegated, [REDIS; 4]), REDIS).is_err());
        let nobodys = Unit { is_program: false, user: None, ..unit.clone() };
        assert_eq!(proof_of(name, &of(&nobodys, [REDIS; 4]), REDIS), Err(Doubt::User(REDIS)));
    }
}

/// `PrivateUsers=` as in Debian's redis-server.service.
#[test]
fn unit_with_a_user_namespace_of_its_own_has_its_names() {
    let unit =
        Unit { is_of_root: true, is_program: true, is_called_so: true, user: Some(REDIS), ..Unit::default() };
    let mut redis = ProcessInfo { unit: Some(unit), ..process("/usr/bin/redis", [REDIS; 4], Ok(())) };
    redis.has_foreign_users = true;
    assert_eq!(proof_of("redis-server", &redis, REDIS), Ok(Proof::Unit));
    assert_eq!(proof_of("redis", &redis, REDIS), Ok(Proof::Unit));
    redis.uids = [JOE; 4];
    assert_eq!(
        proof_of("redis", &redis, JOE),
        Err(Doubt::UserNamespace(0)),
        "a job of a user below the unit"
    );
    assert_eq!(proof_of("redis", &redis, 0), Err(Doubt::UserNamespace(0)));
}

/// A service account that was taken over runs another unit's program.
#[test]
fn user_of_a_unit_is_its_unit_and_no_other_program() {
    let unit = Unit {
        is_of_root: true,
        is_program: false,
        is_called_so: false,
        user: Some(REDIS),
        ..Unit::default()
    };
    let of = |unit: &Unit| ProcessInfo {
        unit: Some(unit.clone()),
        ..process("/usr/sbin/sshd", [REDIS; 4], Ok(()))
    };
    assert_eq!(proof_of("redis-server", &of(&unit), REDIS), Ok(Proof::Unit));
    assert_eq!(proof_of("sshd", &of(&unit), REDIS), Err(Doubt::User(REDIS)));
    let renamed = Unit { is_program: true, ..unit.clone() };
    assert_eq!(
        proof_of("sshd", &of(&renamed), REDIS),
        Err(Doubt::User(REDIS)),
        "a link to the unit's program"
    );
    let namesake = Unit { is_called_so: true, ..unit };
    assert_eq!(proof_of("sshd", &of(&namesake), REDIS), Ok(Proof::Unit));
    assert_eq!(proof_of("sshd", &of(&namesake), JOE), Err(Doubt::Users(REDIS)), "it was given the socket");
}

#[test]
fn main_program_that_kept_the_capability_to_bind_has_the_name_of_its_unit() {
    let unit = Unit { is_of_root: true, is_program: true, is_called_so: true, ..Unit::default() };
    let mut named = ProcessInfo { unit: Some(unit), ..process("/usr/sbin/named", [JOE; 4], Ok(())) };
    assert_eq!(proof_of("named", &named, JOE), Err(Doubt::User(JOE)));
    named.has_given_capability = true;
    assert_eq!(proof_of("named", &named, JOE), Ok(Proof::Unit));
    named.unit = None;
    assert_eq!(proof_of("named", &named, JOE), Err(Doubt::User(JOE)), "it may run any program");
}

/// proftpd makes its socket as its user, and becomes root again when it has to.
#[test]
fn main_program_that_root_runs_with_the_rights_of_a_user_has_the_names_of_its_unit() {
    let unit = Unit { is_of_root: true, is_program: true, is_called_so: true, ..Unit::default() };
    let of = |uids, unit: Option<&Unit>| ProcessInfo {
        unit: unit.cloned(),
        ..process("/usr/sbin/proftpd", uids, Ok(()))
    };
    let proof = |uids, maker| proof_of("proftpd", &of(uids, Some(&unit)), maker);
    assert_eq!(proof([0, JOE, 0, JOE], JOE), Ok(Proof::Unit));
    assert_eq!(proof_of("redis-server", &of([0, JOE, 0, JOE], Some(&unit)), JOE), Ok(Proof::Unit));
    assert_eq!(proof([0, JOE, 0, JOE], REDIS), Err(Doubt::Users(JOE)), "it was given the socket");
    for others in [[JOE, JOE, 0, JOE], [0, JOE, JOE, JOE], [0, 0, 0, JOE], [JOE; 4]] {
        assert!(proof(others, JOE).is_err(), "{others:?}: a user may have run it");
    }
    let other = Unit { is_program: false, ..unit.clone() };
    for unit in [None, Some(&other), Some(&Unit { is_of_root: false, ..unit.clone() })] {
        assert!(proof_of("proftpd", &of([0, JOE, 0, JOE], unit), JOE).is_err(), "{unit:?}");
    }
}

#[test]
fn name_that_one_fact_proves_is_proven() {
    let mut process = process("/usr/sbin/redis-server", [REDIS; 4], Ok(()));
    assert_eq!(told(&process, 0), [("redis-server".to_owned(), Ok(Proof::File))]);
    process.uids = [REDIS, 0, 0, 0];
    let names = names_set(&claims(ProcessFacts { process: &process, maker: REDIS }));
    assert_eq!(names, NamesSet::default().with_unproven(["redis-server"]));
}

#[test]
fn super_server_gives_names_only_as_root() {
    let mut xinetd = process("/usr/sbin/xinetd", [0; 4], Ok(()));
    let names = |by: &ProcessInfo, maker| {
        names_set(&given(["daytime"], ProcessFacts { process: by, maker }, Proof::SuperServer))
    };
    assert!(names(&xinetd, 0).is_proven());
    assert!(!names(&xinetd, JOE).is_proven());
    xinetd.uids[0] = JOE;
    assert!(!names(&xinetd, 0).is_proven());
}
