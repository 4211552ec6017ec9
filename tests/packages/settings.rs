//! Names that the settings give by user and by cgroup, to daemons of packages as a real system manager starts them.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, DENY, LO_V4, Netns, Requirement, SERVER_V4, Sandbox, Systemd, Tcpw, Testd, can_run,
    cgroup2_root, client::connect,
};

const SOON: Duration = Duration::from_secs(20);
/// What is refused gets no answer.
const PATIENCE_OUT: Duration = Duration::from_millis(250);
const REDIS: u16 = 6379;
const EXPORTER: u16 = 9100;

#[test]
fn settings_name_processes_of_a_user_and_of_a_cgroup_and_no_others() -> Result<()> {
    let programs = [Systemd::PROGRAM, "/usr/bin/redis-server", "/usr/bin/prometheus-node-exporter"];
    if !can_run("packages", &[Requirement::Root]) || !can_run("packages", &programs.map(Requirement::Program))
    {
        return Ok(());
    }
    let sandbox = Sandbox::new("settings")?;
    sandbox.write_tables("cache metrics: ALL\n", DENY)?;
    let systemd = Systemd::start(&sandbox)?;
    for unit in ["redis-server.service", "prometheus-node-exporter.service"] {
        systemd.start_unit(&sandbox, unit)?;
    }
    let cgroup = "system.slice/prometheus-node-exporter.service";
    // As the root of cgroup2 sees it.
    let root = cgroup2_root()?;
    let below = sandbox.cgroup().strip_prefix(&root)?.join(cgroup);
    let set = format!(
        "[names.user]\nredis = [\"cache\"]\n[names.cgroup]\n\"/{}\" = [\"metrics\"]\n",
        below.display()
    );
    let set = sandbox.write_settings(&set)?;
    let _tcpw = Tcpw::start_with(&systemd.tcpw(&sandbox)?, &sandbox, &["--config", &set])?;

    // Of another user; in a cgroup beside it, whose name begins so.
    for (unit, name, port) in
        [("other", "cache", 7001), ("prometheus-node-exporter.servicex.service", "besided", 7002)]
    {
        let start = format!("exec {} 0.0.0.0:{port}", Testd::program(&sandbox, name)?.display());
        let unit = format!("--unit={unit}");
        systemd.run(&sandbox, &["systemd-run", "--quiet", "--uid=65534", &unit, "sh", "-c", &start])?;
    }
    let of = |port, server, client, netns: &Netns, name: &str, is_open: bool| -> Result<()> {
        let row = Tcpw::wait_listener(&sandbox, port, |_| true)?;
        let names = row["names"].as_array().cloned().unwrap_or_default();
        let is_named = names.iter().any(|it| it == name) && row["unproven"].get(name).is_none();
        ensure!(is_named == is_open, "{row}");
        let patience = if is_open { SOON } else { PATIENCE_OUT };
        let attempt = connect(netns, client, SocketAddr::new(server, port), patience)?;
        ensure!(attempt.is_connected() == is_open, "{name} at {port}: {row}");
        Ok(())
    };
    of(REDIS, LO_V4, LO_V4, sandbox.server(), "cache", true)?;
    of(EXPORTER, SERVER_V4, CLIENT_V4, sandbox.client(), "metrics", true)?;
    of(7001, SERVER_V4, CLIENT_V4, sandbox.client(), "cache", false)?;
    of(7002, SERVER_V4, CLIENT_V4, sandbox.client(), "metrics", false)?;
    Ok(())
}
