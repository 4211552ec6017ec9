//! Tests of the settings file: what is wrong in it is told with its place.

use super::{super::ShownAddresses, *};

fn error(text: &str) -> String {
    FileSettings::parse(Path::new("/t"), text).unwrap_err().to_string()
}

macro_rules! refused {
    ($($name:ident: $text:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(
                error($text),
                format!("/t:{}; tcpw does not start with a setting it cannot honour", $expected)
            );
        })*
    };
}

refused! {
    unknown_key_near_a_known_one: "\nhosts_alow = \"/x\"\n" =>
        "2:1: unknown key \"hosts_alow\": did you mean \"hosts-allow\"?";
    unknown_key_in_exempt: "pin = true\n[exempt]\n  port = [22]" =>
        "3:3: unknown key \"port\" in [exempt]: did you mean \"ports\"?";
    unknown_key_like_none: "colour = 1" =>
        "1:1: unknown key \"colour\": the keys are hosts-allow, hosts-deny, cgroup, log, log-allowed, trust-source-addresses, watch-udp-binds, line-namespaces, pin, follow-files, mode, on-deny, early-drop, table, readers, run-dir, pin-dir, state-dir, proc-root, exempt, names, effects, resolve, lines, metrics, privacy, daemon, reset";
    unknown_table: "[exemptions]\nports = [1]" =>
        "1:2: unknown key \"exemptions\": did you mean \"exempt\"?";
    no_lines: "[lines]\nper-network = 10\ntotal = 0" =>
        "3:9: 0: write how many lines in a minute, from 1; without the key there is no limit";
    unknown_key_of_lines: "[lines]\nper-source = 1" =>
        "2:1: unknown key \"per-source\" in [lines]: the keys are per-network, total";
    unknown_group: "readers = \"no-such-group\"" => "1:11: group \"no-such-group\": there is no such group";
    unknown_mode: "mode = \"permissive\"" => "1:8: mode \"permissive\": write \"enforce\" or \"audit\"";
    other_on_deny: "on-deny = \"reject\"" => "1:11: on-deny \"reject\": write \"reset\", \"close\" or \"drop\"";
    device_with_a_slash: "early-drop = [\"eth0\", \"a/b\"]" =>
        "1:23: early-drop \"a/b\": write the name of a network device, as in \"ip link\"";
    other_table: "table = \"hash\"" => "1:9: table \"hash\": write \"auto\", \"lpm\" or \"flat\"";
    other_on_deny_of_a_daemon: "[daemon.sshd]\non-deny = \"rst\"" =>
        "2:11: on-deny \"rst\": write \"reset\", \"close\" or \"drop\"";
    unknown_key_of_a_daemon: "[daemon.sshd]\non-denied = \"drop\"" =>
        "2:1: unknown key \"on-denied\" in [daemon.NAME]: did you mean \"on-deny\"?";
    unknown_key_of_reset: "[reset]\nper-host = 1" =>
        "2:1: unknown key \"per-host\" in [reset]: the keys are per-source, total, namespaces";
    too_many_namespaces: "[reset]\nnamespaces = 65537" => "2:14: 65537: write a number from 0 to 65536";
    negative_rate: "[reset]\ntotal = -1" => "2:9: -1: write how many in a second, 0 for none";
    relative_path: "hosts-deny = \"hosts.deny\"" =>
        "1:14: \"hosts.deny\": write an absolute path, from /";
    unknown_log: "log = \"journal\"" =>
        "1:7: \"journal\" is no log destination: expected stdout, syslog, journald, file:PATH (as file:/var/log/secure), json or json:PATH (as json:/var/log/tcpw.json)";
    unknown_log_of_several: "log = [\"syslog\",\n  \"file\"]" =>
        "2:3: \"file\" is no log destination: expected stdout, syslog, journald, file:PATH (as file:/var/log/secure), json or json:PATH (as json:/var/log/tcpw.json)";
    two_logs_to_one_place: "log = [\"stdout\", \"syslog\", \"json\"]" =>
        "1:28: \"json\" writes to standard output, as \"stdout\" does: name each place once";
    no_log: "log = []" =>
        "1:7: no log destination: write stdout, syslog, journald, file:PATH (as file:/var/log/secure), json or json:PATH (as json:/var/log/tcpw.json)";
    log_of_another_type: "log = 3" => "1:7: invalid type: integer `3`, expected a log destination or a list of them";
    host_bits_v4: "[exempt]\naddresses = [\"::1\", \"10.1.2.3/8\"]" =>
        "2:21: host bits set in \"10.1.2.3/8\": write \"10.0.0.0/8\" for the network, \"10.1.2.3\" for the one address";
    host_bits_v6: "[exempt]\naddresses = [\"2001:db8::1/32\"]" =>
        "2:14: host bits set in \"2001:db8::1/32\": write \"2001:db8::/32\" for the network, \"2001:db8::1\" for the one address";
    no_address: "[exempt]\naddresses = [\"localhost\"]" =>
        "2:14: \"localhost\" is no address: write one like \"192.0.2.1\", \"10.0.0.0/8\" or \"2001:db8::/32\"";
    port_out_of_range: "[exempt]\nports = [22, 70000]" => "2:14: port 70000: write a number from 1 to 65535";
    unknown_key_in_names: "[names]\nports.22 = [\"x\"]" =>
        "2:1: unknown key \"ports\" in [names]: did you mean \"port\"?";
    unknown_key_in_resolve: "[resolve]\nlookup = 3" =>
        "2:1: unknown key \"lookup\" in [resolve]: did you mean \"lookups\"?";
    no_lookups: "[resolve]\nlookups = 0" => "2:11: lookups = 0: write a number from 1 to 1024";
    no_name_server: "[resolve]\nname-server-ports = [0]" =>
        "2:22: port 0: write a number from 1 to 65535";
    names_of_no_user: "[names.user]\nno-such-user-x = [\"sshd\"]" =>
        "2:1: user \"no-such-user-x\": there is no such user";
    names_of_a_relative_cgroup: "[names.cgroup]\n\"system.slice\" = [\"sshd\"]" =>
        "2:1: \"system.slice\": write a path as in /proc/PID/cgroup, from /";
    name_of_no_port: "[names.port]\nssh = [\"sshd\"]" =>
        "2:1: port \"ssh\": write a number from 1 to 65535";
    unknown_key_in_effects: "[effects]\ntimelimit = 3" =>
        "2:1: unknown key \"timelimit\" in [effects]: did you mean \"time-limit\"?";
    commands_as_root: "[effects]\nuser = \"root\"" =>
        "2:8: user \"root\": write a user without rights: commands never run as root";
    no_commands_at_once: "[effects]\nat-once = 0" =>
        "2:11: at-once 0: write a number from 1 to 256";
    relative_file_of_effects: "[effects]\nfiles = [\"/a\", \"b\"]" =>
        "2:16: \"b\": write an absolute path, from /";
    unknown_key_of_metrics: "[metrics]\nport = 9798" =>
        "2:1: unknown key \"port\" in [metrics]: the keys are listen, textfile";
    metrics_without_a_port: "[metrics]\nlisten = \"localhost\"" =>
        "2:10: listen \"localhost\": write an address and a port, as \"127.0.0.1:9798\" or \"[::1]:9798\"";
    metrics_at_a_port_of_root: "[metrics]\nlisten = \"127.0.0.1:80\"" =>
        "2:10: port 80: write a number from 1024 to 65535";
    metrics_to_a_file_that_is_not_read: "[metrics]\ntextfile = \"/var/lib/tcpw\"" =>
        "2:12: \"/var/lib/tcpw\": write an absolute path, from /, that ends in \".prom\"";
    unknown_key_in_privacy: "[privacy]\nkeyfile = \"/k\"" =>
        "2:1: unknown key \"keyfile\" in [privacy]: did you mean \"key-file\"?";
    other_addresses: "[privacy]\naddresses = \"none\"" =>
        "2:13: addresses \"none\": write \"full\", \"truncated\" or \"hashed\"";
    relative_key: "[privacy]\naddresses = \"hashed\"\nkey-file = \"k\"" =>
        "3:12: \"k\": write an absolute path, from /";
    key_without_hashes: "[privacy]\naddresses = \"truncated\"\nkey-file = \"/k\"" =>
        "3:12: key-file: nothing is hashed: write addresses = \"hashed\", or leave it out";
    port_zero: "[exempt]\nports = [0]" => "2:10: port 0: write a number from 1 to 65535";
    wrong_type: "pin = \"yes\"" => "1:7: invalid type: string \"yes\", expected a boolean";
}

#[test]
fn log_is_one_destination_or_several() {
    let log = |text: &str| {
        let file = FileSettings::parse(Path::new("/t"), text).unwrap();
        file.log.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(log("log = \"stdout\""), ["stdout"]);
    assert_eq!(log("log = [\"syslog\", \"json:/a\", \"journald\"]"), ["syslog", "json:/a", "journald"]);
}

#[test]
fn every_error_is_one_line() {
    for text in
        ["pin", "pin = ", "pin = true\npin = true", "[exempt", "mode = \"\n", "\u{0}", "[exempt]\nports = 22"]
    {
        let error = error(text);
        assert!(!error.contains('\n') && error.starts_with("/t:"), "{error}");
    }
}

#[test]
fn every_key_is_known_to_the_suggestions() {
    let message = toml::from_str::<RawSettings>("x = 1").map(|_| ()).unwrap_err().message().to_owned();
    for key in KEYS {
        assert!(message.contains(&format!("`{key}`")), "{message}");
    }
    assert_eq!(message.matches('`').count(), 2 * (KEYS.len() + 1));
}

#[test]
fn the_documented_example_parses_as_it_stands_and_uncommented() {
    let example = include_str!("../../../deploy/tcpw.toml");
    FileSettings::parse(Path::new("deploy/tcpw.toml"), example).unwrap();
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix("#").filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let file = FileSettings::parse(Path::new("deploy/tcpw.toml"), &uncommented).unwrap();
    for key in KEYS
        .iter()
        .chain(&EXEMPT_KEYS)
        .chain(&privacy::KEYS)
        .chain(&effects::KEYS)
        .chain(&RESOLVE_KEYS)
        .chain(&metrics::KEYS)
    {
        assert!(example.contains(key), "{key} is not documented");
    }
    assert_eq!(file.more_names.ports[&2049], ["nfsd"]);
    assert_eq!(file.more_names.units["web.service"], ["httpd"]);
    assert_eq!(file.more_names.users[&0], ["backup"]);
    assert_eq!(file.more_names.cgroups[Path::new("/machine.slice/web.scope")], ["nginx"]);
    assert_eq!(file.exempt.ports, [2222]);
    assert_eq!(file.exempt.addresses.len(), 2);
    assert_eq!(file.mode, Some(Mode::Audit));
    assert_eq!(file.effects, Effects { user: Some("tcpw".into()), ..Effects::default() });
    assert_eq!(file.early_drop, ["eth0"]);
    assert_eq!(file.on_deny_of["sshd"], OnDeny::Drop);
    assert_eq!(file.rates, ResetRates::default());
    assert_eq!(file.namespaces, Some(super::super::NAMESPACES));
    assert_eq!(file.resolve, Resolve::default());
    assert_eq!(file.metrics.listen, Some(([127, 0, 0, 1], 9798).into()));
    let textfile = Path::new("/var/lib/prometheus/node-exporter/tcpw.prom");
    assert_eq!(file.metrics.textfile.as_deref(), Some(textfile));
    assert_eq!(file.privacy.addresses, ShownAddresses::Hashed);
    assert_eq!(file.privacy.key_file, Some("/etc/tcpw.key".into()));
}
