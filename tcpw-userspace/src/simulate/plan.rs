//! What happens in one history: decided before it begins, so that parts of it can be left out.
//!
//! In: a seed. Out: a [`Plan`]. Invariant: a step means the same whichever other steps there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{policies::FileLines, random::Random};
use crate::{
    compile::ClientTableKind,
    config::{Config, Exempt, LineRates, MetricsSettings, Mode, OnDeny, Refusal, Resolve},
    effects::Settings as Effects,
    listeners::MoreNames,
    log::LogTarget,
};

/// One history before it happens.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) config: Config,
    pub(super) conditions: HostConditions,
    /// The files as they are one after the other; the first are those of the start.
    pub(super) files: Vec<FileLines>,
    /// In the order of time.
    pub(super) steps: Vec<PlannedStep>,
}

/// What the host is like.
#[derive(Clone, Debug)]
pub(super) struct HostConditions {
    pub(super) has_listening_hook: bool,
    /// Clients can be refused before their packet finds a socket.
    pub(super) has_refusals: bool,
    /// The kernel can make connections wait.
    pub(super) has_users: bool,
    /// Records that a ring has room for.
    pub(super) ring: usize,
    /// How long what others do takes, in milliseconds: at most.
    pub(super) delay_ms: u64,
    /// Of a hundred things that others do, so many take very long.
    pub(super) slow_percent: u64,
    /// Of a hundred things that others do, so many fail.
    pub(super) fail_percent: u64,
}

/// Something that happens by itself.
#[derive(Clone, Debug)]
pub(super) struct PlannedStep {
    pub(super) at_ms: u64,
    pub(super) what: StepKind,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum StepKind {
    /// A client begins an attempt.
    Connect { client: usize, listener: usize, port: u16, isn: u32, sends: Sends, syns: u32 },
    /// A client sends datagrams, one a second.
    Datagrams { client: usize, listener: usize, port: u16, count: u32 },
    /// The files change.
    Edit { files: usize },
    /// A listener begins.
    Listen { listener: usize },
    /// A listener ends.
    Close { listener: usize },
    /// Its process executes another program.
    Execute { listener: usize },
    /// No process shows it; or one does again.
    Hide { listener: usize, is_hidden: bool },
    /// Full scans fail to look at everything from here on, or do not.
    ScansFail { is_so: bool },
    /// A client's address has another name.
    Rename { client: usize },
    /// The resolver does not answer for a while.
    ResolverHangs { ms: u64 },
    /// The helper ends.
    HelperDies,
    /// The daemon is busy with something else for a while.
    Stall { ms: u64 },
    /// The daemon is killed, and started again.
    Kill { down_ms: u64 },
    /// The daemon is told to end, and started again.
    Terminate { down_ms: u64 },
    /// SIGHUP.
    Hangup,
    /// `tcpw status`.
    AskStatus,
    /// `tcpw match`.
    AskMatch { client: usize, listener: usize },
    /// `tcpw detach`.
    Detach,
    /// `tcpw apply`, perhaps with `--confirm`.
    Apply { confirm_s: Option<u32> },
    /// `tcpw confirm`.
    Confirm,
    /// `tcpw rollback`.
    Rollback,
    /// The machine is started again: nothing that is pinned is there any more.
    Reboot { down_ms: u64 },
}

/// What a client sends with the last ACK of its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    /// Nothing.
    Nothing,
    /// Its first data.
    Data,
}

/// Clients by number.
pub(super) const CLIENTS: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 9, 9)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 7, 9)),
    IpAddr::V4(Ipv4Addr::new(172, 16, 3, 3)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
];

/// How many listeners there may be: see [`super::host`].
pub(super) const LISTENERS: usize = 7;

/// Clients use ports from here on.
const FIRST_PORT: u16 = 20_000;

/// The same of clients about files that are applied.
const FIRST_PORT_OF_APPLY: u16 = 50_000;

impl Plan {
    /// The history of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Random::new(seed ^ 0x7463_7077);
        let chance = &mut chance;
        let files: Vec<FileLines> = (0..1 + chance.below(4)).map(|_| FileLines::random(chance)).collect();
        let span_ms = chance.pick(&[2_000, 8_000, 30_000]);
        let count = 1 + chance.below(24);
        let mut ports = FIRST_PORT;
        let mut steps: Vec<PlannedStep> = (0..count)
            .flat_map(|_| {
                let at_ms = chance.next() % span_ms;
                some(chance, at_ms, files.len(), &mut ports)
            })
            .collect();
        let (mut config, conditions) = (config(seed, chance), conditions(chance));
        if let Some(chance) = &mut chance_of_apply(seed) {
            config.follow_files = chance.percent(25);
            for _ in 0..2 + chance.below(7) {
                let at_ms = chance.next() % span_ms;
                steps.extend(of_apply(chance, at_ms, files.len()));
            }
        }
        steps.sort_by_key(|step| step.at_ms);
        Self { seed, config, conditions, files, steps }
    }
}

/// In some histories files are applied, not followed: not drawn, so that a seed of another one keeps its history.
fn chance_of_apply(seed: u64) -> Option<Random> {
    matches!(seed % 17, 3 | 8 | 12).then(|| Random::new(seed ^ 0x0061_7070_6c79))
}

/// Steps about files that are applied.
fn of_apply(chance: &mut Random, at_ms: u64, files: usize) -> Vec<PlannedStep> {
    let step = |at_ms, what| PlannedStep { at_ms, what };
    match chance.below(10) {
        0..6 => {
            let confirm_s = chance.pick(&[None, Some(5), Some(9), Some(20)]);
            let later = at_ms + 1 + chance.next() % 200;
            let mut steps = vec![
                step(at_ms, StepKind::Edit { files: chance.below(files) }),
                step(later, StepKind::Apply { confirm_s }),
            ];
            let end = later + chance.next() % 12_000;
            match chance.below(6) {
                0..2 => steps.push(step(end, StepKind::Confirm)),
                2 => steps.push(step(end, StepKind::Rollback)),
                3 => steps.push(step(end, StepKind::Kill { down_ms: chance.next() % 15_000 })),
                _its_deadline => {}
            }
            if chance.percent(50) {
                // A name that neither policy was filled with; clients before and after the deadline.
                let listener = chance.below(LISTENERS);
                let at_ms = later + chance.next() % 2000;
                steps.push(step(at_ms, StepKind::Execute { listener }));
                for _ in 0..4 {
                    let what = StepKind::Connect {
                        client: chance.below(CLIENTS.len()),
                        listener,
                        port: FIRST_PORT_OF_APPLY + u16::try_from(chance.below(10_000)).unwrap_or_default(),
                        isn: 1,
                        sends: Sends::Nothing,
                        syns: 3,
                    };
                    steps.push(step(at_ms + chance.next() % 20_000, what));
                }
            }
            steps
        }
        6 => vec![step(at_ms, StepKind::Confirm)],
        7 => vec![step(at_ms, StepKind::Rollback)],
        8 => vec![step(at_ms, StepKind::Edit { files: chance.below(files) })],
        _ => vec![step(at_ms, StepKind::Reboot { down_ms: chance.next() % 3000 })],
    }
}

/// A step; or several that make sense together.
fn some(chance: &mut Random, at_ms: u64, files: usize, ports: &mut u16) -> Vec<PlannedStep> {
    let listener = chance.below(LISTENERS);
    let client = chance.below(CLIENTS.len());
    let one = |what| vec![PlannedStep { at_ms, what }];
    match chance.below(100) {
        0..56 => {
            *ports += 1;
            let connect = |chance: &mut Random, listener, port| StepKind::Connect {
                client,
                listener,
                port,
                isn: u32::try_from(chance.next() >> 40).unwrap_or_default(),
                sends: if chance.percent(25) { Sends::Data } else { Sends::Nothing },
                syns: chance.pick(&[1, 3, 4, 6]),
            };
            let mut steps = one(connect(chance, listener, *ports));
            if chance.percent(25) {
                // The same ends, in the other network namespace; or the same client again.
                let (port, listener) = match chance.percent(50) {
                    true => (*ports, (listener + 3) % LISTENERS),
                    false => (*ports + 1, listener),
                };
                *ports += 1;
                let at_ms = at_ms + chance.next() % 3000;
                steps.push(PlannedStep { at_ms, what: connect(chance, listener, port) });
            }
            steps
        }
        56..64 => {
            *ports += 1;
            let count = 1 + u32::try_from(chance.below(5)).unwrap_or_default();
            one(StepKind::Datagrams { client, listener: LISTENERS - 1, port: *ports, count })
        }
        64..74 => {
            let mut steps = one(StepKind::Edit { files: chance.below(files) });
            if chance.percent(50) {
                let at_ms = at_ms + chance.next() % 60;
                steps.push(PlannedStep { at_ms, what: StepKind::Edit { files: chance.below(files) } });
            }
            steps
        }
        74..78 => one(StepKind::Close { listener }),
        78..80 => one(StepKind::Listen { listener }),
        80..83 => one(StepKind::Execute { listener }),
        83..85 => {
            let until =
                PlannedStep { at_ms: at_ms + 4000, what: StepKind::Hide { listener, is_hidden: false } };
            [one(StepKind::Hide { listener, is_hidden: true }), vec![until]].concat()
        }
        85 => {
            let until = PlannedStep { at_ms: at_ms + 9000, what: StepKind::ScansFail { is_so: false } };
            [one(StepKind::ScansFail { is_so: true }), vec![until]].concat()
        }
        86 => one(StepKind::Rename { client }),
        87 => one(StepKind::ResolverHangs { ms: chance.next() % 20_000 }),
        88 => one(StepKind::HelperDies),
        89..91 => one(StepKind::Stall { ms: 100 + chance.next() % 5000 }),
        91..93 => one(StepKind::Kill { down_ms: chance.next() % 6000 }),
        93 => one(StepKind::Terminate { down_ms: chance.next() % 3000 }),
        94 => one(StepKind::Hangup),
        95..97 => one(StepKind::AskStatus),
        97..99 => one(StepKind::AskMatch { client, listener }),
        _ => {
            if chance.percent(20) {
                one(StepKind::Detach)
            } else {
                one(StepKind::AskStatus)
            }
        }
    }
}

/// In one history of ten refused clients are dropped, in one they are closed: not drawn, so that a seed keeps
/// its history.
fn config(seed: u64, chance: &mut Random) -> Config {
    let seconds = |chance: &mut Random, from: u64, more: usize| {
        Duration::from_secs(from + u64::try_from(chance.below(more)).unwrap_or_default())
    };
    let few =
        |chance: &mut Random, usual: usize| if chance.percent(15) { 1 + chance.below(2) } else { usual };
    let usual = Resolve::default();
    let exempt = Exempt {
        addresses: if chance.percent(10) {
            vec![ipnet::IpNet::from(IpAddr::from([10, 0, 0, 2]))]
        } else {
            Vec::new()
        },
        ports: if chance.percent(5) { vec![23] } else { Vec::new() },
    };
    Config {
        hosts_allow: crate::config::DEFAULT_HOSTS_ALLOW.into(),
        hosts_deny: crate::config::DEFAULT_HOSTS_DENY.into(),
        cgroup: "/sys/fs/cgroup".into(),
        log: vec![LogTarget::syslog()],
        privacy: crate::config::PrivacySettings::default(),
        log_allowed: chance.percent(30),
        trust_source_addresses: seed % 10 != 4 && !seed.is_multiple_of(7),
        follow_files: true,
        pin: chance.percent(70),
        mode: if chance.percent(12) { Mode::Audit } else { Mode::Enforce },
        refusal: Refusal {
            watch_udp_binds: true,
            on_deny: match seed % 10 {
                0 => OnDeny::Drop,
                4 => OnDeny::Close,
                _ => OnDeny::Reset,
            },
            ..Refusal::default()
        },
        early_drop: Vec::new(),
        table: if seed.is_multiple_of(2) { ClientTableKind::Flat } else { ClientTableKind::Auto },
        exempt,
        more_names: MoreNames::default(),
        effects: Effects {
            at_once: if chance.percent(20) { 1 } else { 8 },
            time_limit: seconds(chance, 1, 30),
            per_minute_and_source: if chance.percent(15) { 1 } else { 12 },
            ..Effects::default()
        },
        resolve: Resolve {
            at_once: few(chance, 64),
            waiting: few(chance, usual.waiting),
            time_limit: seconds(chance, 1, 10),
            kept: if chance.percent(5) { 1 } else { usual.kept },
            found_for: seconds(chance, 1, 60),
            not_found_for: seconds(chance, 1, 10),
            users_at_once: few(chance, usual.users_at_once),
            users_of_a_source: usual.users_of_a_source,
            name_server_ports: if chance.percent(5) { vec![21] } else { vec![53, 853] },
        },
        lines: (seed % 5 == 3).then_some(LineRates { per_network: 2, total: 6 }),
        metrics: MetricsSettings::default(),
        line_namespaces: Vec::new(),
        readers: None,
        run_dir: "/run/tcpw".into(),
        pin_dir: "/sys/fs/bpf/tcpw".into(),
        state_dir: "/var/lib/tcpw".into(),
        proc_root: "/proc".into(),
    }
}

fn conditions(chance: &mut Random) -> HostConditions {
    HostConditions {
        has_listening_hook: chance.percent(80),
        has_refusals: chance.percent(70),
        has_users: chance.percent(85),
        ring: if chance.percent(15) { 1 + chance.below(3) } else { 1000 },
        delay_ms: chance.pick(&[2, 2, 20, 300]),
        slow_percent: if chance.percent(30) { 20 } else { 0 },
        fail_percent: if chance.percent(25) { 10 } else { 0 },
    }
}
