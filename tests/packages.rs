//! Debian's packages, started by a real systemd from their own units: the names of each daemon are proven without a
//! setting, and rules for them open.

#[path = "packages/liars.rs"]
mod liars;
#[path = "packages/own_names.rs"]
mod own_names;
#[path = "packages/settings.rs"]
mod settings;
#[path = "packages/unpacked.rs"]
mod unpacked;

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tcpw_tests::{
    CLIENT_V4, DENY, LO_V4, Requirement, SERVER_V4, Sandbox, Systemd, Tcpw, can_run, client::connect,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon as its package ships it.
struct Shipped {
    /// Its program: what the test requires.
    program: &'static str,
    unit: &'static str,
    port: u16,
    /// Its package lets it listen at the loopback addresses alone.
    is_local: bool,
    /// Names that rules call it, each proven.
    names: &'static [&'static str],
    /// What proves them.
    proof: &'static str,
}

const fn shipped(
    program: &'static str,
    unit: &'static str,
    port: u16,
    names: &'static [&'static str],
    proof: &'static str,
) -> Shipped {
    Shipped { program, unit, port, is_local: false, names, proof }
}

const fn local(shipped: Shipped) -> Shipped {
    Shipped { is_local: true, ..shipped }
}

const SHIPPED: &[Shipped] = &[
    shipped("/usr/sbin/sshd", "ssh.service", 22, &["ssh", "sshd"], "root"),
    shipped("/usr/sbin/nginx", "nginx.service", 80, &["nginx"], "root"),
    shipped("/usr/sbin/apache2", "apache2.service", 8080, &["apache2"], "root"),
    local(shipped(
        "/usr/bin/pg_ctlcluster",
        "postgresql@VERSION-main.service",
        5432,
        &["postgres", "postgresql"],
        "unit",
    )),
    local(shipped("/usr/sbin/mariadbd", "mariadb.service", 3306, &["mariadb", "mariadbd"], "unit")),
    local(shipped("/usr/bin/redis-server", "redis-server.service", 6379, &["redis-server"], "unit")),
    local(shipped("/usr/sbin/mosquitto", "mosquitto.service", 1883, &["mosquitto"], "unit")),
    local(shipped("/usr/bin/memcached", "memcached.service", 11211, &["memcached"], "unit")),
    shipped("/usr/sbin/vsftpd", "vsftpd.service", 21, &["vsftpd"], "root"),
    local(shipped("/usr/sbin/unbound", "unbound.service", 53, &["unbound"], "unit")),
    shipped(
        "/usr/bin/prometheus-node-exporter",
        "prometheus-node-exporter.service",
        9100,
        &["prometheus-node-exporter"],
        "unit",
    ),
    shipped("/usr/sbin/named", "named.service", 5300, &["named"], "unit"),
    shipped("/usr/sbin/slapd", "slapd.service", 389, &["slapd"], "file"),
    shipped("/usr/sbin/rpcbind", "rpcbind.service", 111, &["rpcbind"], "unit"),
    shipped("/usr/sbin/rpc.statd", "rpc-statd.service", 7030, &["statd", "rpc.statd"], "unit"),
    shipped("/usr/sbin/smtpd", "opensmtpd.service", 25, &["smtpd", "opensmtpd"], "unit"),
    shipped("/usr/sbin/xinetd", "xinetd.service", 1301, &["daytime"], "super-server"),
    shipped("/usr/bin/stunnel4", "stunnel@tcpw.service", 7010, &["stunnel", "stunnel4"], "root"),
    shipped("/usr/sbin/sslh", "sslh.service", 7020, &["sslh"], "unit"),
];

/// Where two packages want the same port, or one has no service before it is told of one.
fn configure(sandbox: &Sandbox) -> Result<()> {
    let etc = sandbox.etc();
    let files = [
        ("apache2/ports.conf", "Listen 8080\n"),
        (
            "bind/named.conf.options",
            "options { directory \"/var/cache/bind\"; listen-on port 5300 { any; }; listen-on-v6 { none; }; \
             dnssec-validation no; };\n",
        ),
        (
            "stunnel/tcpw.conf",
            "foreground = yes\n[tcpw]\nclient = yes\naccept = 7010\nconnect = 127.0.0.1:22\n",
        ),
        (
            "default/sslh",
            "DAEMON_OPTS=\"--user sslh --listen 0.0.0.0:7020 --ssh 127.0.0.1:22 --pidfile /run/sslh/sslh.pid\"\n",
        ),
        ("nfs.conf.d/tcpw.conf", "[statd]\nport = 7030\n"),
        ("smtpd.conf", "listen on 0.0.0.0\naction \"x\" relay\nmatch from local for any action \"x\"\n"),
        (
            "xinetd.d/tcpw",
            "service daytime\n{\n\ttype = INTERNAL UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\
             \twait = no\n\tuser = root\n\tport = 1301\n}\n",
        ),
    ];
    for (file, text) in files {
        fs::write(etc.join(file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

#[test]
fn names_of_packages_are_proven_without_a_setting_and_rules_for_them_open() -> Result<()> {
    let programs: Vec<_> = SHIPPED.iter().map(|shipped| Requirement::Program(shipped.program)).collect();
    let tools = [Requirement::Root, Requirement::Program(Systemd::PROGRAM)];
    if !can_run("packages", &tools) || !can_run("packages", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("packages")?;
    configure(&sandbox)?;
    // Each name alone opens.
    let rules = SHIPPED.iter().map(|it| format!("{}: ALL\n", it.names.join(" ")));
    sandbox.write_tables(&rules.collect::<String>(), DENY)?;
    let systemd = Systemd::start(&sandbox)?;
    let version = postgres_version()?;
    for shipped in SHIPPED {
        systemd.start_unit(&sandbox, &shipped.unit.replace("VERSION", &version))?;
    }
    let _tcpw = Tcpw::start_with(&systemd.tcpw(&sandbox)?, &sandbox, &[])?;
    let wrong: Vec<String> = SHIPPED
        .iter()
        .filter_map(|shipped| is_proven(&sandbox, shipped).err())
        .map(|it| format!("{it:#}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let status: Vec<String> =
        Tcpw::command(&sandbox, &["status"])?.into_iter().map(|line| line.text).collect();
    let redis = status.iter().find(|line| line.contains(":6379"));
    ensure!(redis.is_some_and(|line| line.split_whitespace().any(|word| word == "unit")), "{status:#?}");
    Ok(())
}

/// Of the cluster that its package makes.
fn postgres_version() -> Result<String> {
    let mut clusters = fs::read_dir("/etc/postgresql").context("clusters of PostgreSQL")?.flatten();
    let first = clusters.next().context("no cluster of PostgreSQL")?;
    Ok(first.file_name().to_string_lossy().into_owned())
}

fn is_proven(sandbox: &Sandbox, shipped: &Shipped) -> Result<()> {
    let row = Tcpw::wait_listener(sandbox, shipped.port, |_| true)?;
    let names = row["names"].as_array().context("names")?;
    let has = |name: &&str| names.iter().any(|own| own == *name);
    ensure!(shipped.names.iter().all(has), "{}: {names:?}", shipped.unit);
    ensure!(
        row["unproven"].as_object().is_none_or(|it| it.is_empty()),
        "{}: {}",
        shipped.unit,
        row["unproven"]
    );
    ensure!(proofs(&row).contains(&shipped.proof), "{}: {:?}", shipped.unit, proofs(&row));
    let (client, server, netns) = if shipped.is_local {
        (LO_V4, LO_V4, sandbox.server())
    } else {
        (CLIENT_V4, SERVER_V4, sandbox.client())
    };
    let attempt = connect(netns, client, SocketAddr::new(server, shipped.port), PATIENCE)?;
    ensure!(attempt.is_connected(), "{} is not opened: {row}", shipped.unit);
    Ok(())
}

fn proofs(row: &Value) -> Vec<&str> {
    row["proven_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
