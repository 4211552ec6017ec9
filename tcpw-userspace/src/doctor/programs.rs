//! BPF programs of others at the hook of the gate: they judge the same packets.

use super::{Facts, Found, Weight};

/// systemd's, for IPAddressAllow= and IPAddressDeny= of a unit. Source: systemd's src/core/bpf-firewall.c.
const SYSTEMD: &str = "sd_fw_ingress";

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    let mut found: Vec<Found> = facts
        .programs
        .iter()
        .map(|program| {
            let (whose, advice) = if program.name == SYSTEMD {
                (
                    "systemd's, for IPAddressAllow= and IPAddressDeny=",
                    "see \"systemctl show UNIT -p IPAddressDeny\"",
                )
            } else {
                ("not tcpw's", "\"bpftool prog show id ID\" says what it is")
            };
            Found {
                weight: Weight::Note,
                what: format!(
                    "cgroup {} has the program {} (id {}), {whose}",
                    program.cgroup.display(),
                    program.name,
                    program.id
                ),
                consequence: "a client that tcpw allows may still be refused, without a line".into(),
                advice: advice.into(),
            }
        })
        .collect();
    if let Some(reason) = &facts.programs_unknown {
        found.push(Found {
            weight: Weight::Note,
            what: format!("programs of others at the gate's hook cannot be listed: {reason}"),
            consequence: "one of them may refuse clients that tcpw allows".into(),
            advice: "run as root".into(),
        });
    }
    found
}
