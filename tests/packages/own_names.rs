//! Programs whose name for libwrap stands in their own configuration: `tcpw check` names the setting that opens, and
//! `tcpw check --live` the one for a name that is not proven.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, DENY, Place, Process, Requirement, SERVER_V4, Sandbox, Systemd, Tcpw, Testd, can_run,
    client::connect, tcpw_binary,
};

const SOON: Duration = Duration::from_secs(20);
/// What is refused gets no answer.
const PATIENCE_OUT: Duration = Duration::from_millis(250);

/// `tcpw check` beside the daemons, to its end.
fn check(sandbox: &Sandbox, arguments: &[&str], is_fine: bool) -> Result<String> {
    let mut command = Command::new(tcpw_binary()?);
    command.arg("check").args(arguments);
    let mut check: Process = sandbox.spawn(Place::Server, command)?;
    let status = check.wait(SOON)?;
    let text: String = check.lines().into_iter().map(|line| line.text + "\n").collect();
    ensure!(status.code() == Some(i32::from(!is_fine)), "{status}: {text}");
    Ok(text)
}

#[test]
fn check_names_the_setting_for_a_name_of_a_programs_own_configuration() -> Result<()> {
    let programs = [Systemd::PROGRAM, "/usr/bin/stunnel4"].map(Requirement::Program);
    if !can_run("packages", &[Requirement::Root]) || !can_run("packages", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("own-names")?;
    let etc = sandbox.etc();
    fs::write(
        etc.join("stunnel/tcpw.conf"),
        "foreground = yes\nlibwrap = yes\n[tunnel]\nclient = yes\naccept = 7010\nconnect = 127.0.0.1:22\n",
    )?;
    fs::create_dir_all(etc.join("bacula"))?;
    fs::write(etc.join("bacula/bacula-fd.conf"), "FileDaemon {\n  Name = gate-fd\n  FDport = 9102\n}\n")?;
    sandbox.write_tables("tunnel gate-fd: ALL\nsshd: 1.2.3.4\n", DENY)?;
    let systemd = Systemd::start(&sandbox)?;
    systemd.start_unit(&sandbox, "stunnel@tcpw.service")?;
    let server = SocketAddr::new(SERVER_V4, 7010);
    let tables = |settings: &str, is_fine| {
        let (allow, deny) = (sandbox.hosts_allow(), sandbox.hosts_deny());
        let (allow, deny) = (allow.display().to_string(), deny.display().to_string());
        check(
            &sandbox,
            &["--quiet", "--config", settings, "--hosts-allow", &allow, "--hosts-deny", &deny],
            is_fine,
        )
    };

    let none = sandbox.write_settings("")?;
    let said = tables(&none, false)?;
    for advice in [
        "stunnel asks libwrap as \"tunnel\" (from /etc/stunnel/tcpw.conf)",
        "set [names.port] 7010 = [\"tunnel\"]",
        "bacula-fd asks libwrap as \"gate-fd\" (from /etc/bacula/bacula-fd.conf)",
        "set [names.unit] \"bacula-fd.service\" = [\"gate-fd\"]",
    ] {
        ensure!(said.contains(advice), "no {advice}: {said}");
    }
    let mut tcpw = Tcpw::start_with(&systemd.tcpw(&sandbox)?, &sandbox, &["--config", &none])?;
    ensure!(!connect(sandbox.client(), CLIENT_V4, server, PATIENCE_OUT)?.is_connected(), "check is wrong");
    Tcpw::command(&sandbox, &["detach"])?;
    tcpw.process.wait(SOON)?;

    // As it was advised.
    let set = "[names.port]\n7010 = [\"tunnel\"]\n[names.unit]\n\"bacula-fd.service\" = [\"gate-fd\"]\n";
    let set = sandbox.write_settings(set)?;
    let said = tables(&set, true)?;
    ensure!(!said.contains("asks libwrap as"), "{said}");
    let _tcpw = Tcpw::start_with(&systemd.tcpw(&sandbox)?, &sandbox, &["--config", &set])?;
    ensure!(connect(sandbox.client(), CLIENT_V4, server, SOON)?.is_connected(), "the setting does not open");
    Ok(())
}

#[test]
fn live_check_names_the_setting_that_proves_a_name() -> Result<()> {
    if !can_run("packages", &[Requirement::Root, Requirement::Program("/usr/bin/setpriv")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("live")?;
    sandbox.write_tables("alphad: 1.2.3.4\n", DENY)?;
    let mut alphad = Command::new("setpriv");
    alphad.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    alphad.arg(Testd::program(&sandbox, "alphad")?).arg("0.0.0.0:7001");
    let _alphad = Testd::run(&sandbox, Place::Guarded, alphad)?;
    let server = SocketAddr::new(SERVER_V4, 7001);

    let mut tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    let said = check(&sandbox, &["--live"], false)?;
    let setting = "[names.user] 65534 = [\"alphad\"]";
    ensure!(said.contains("hosts.allow:1 does not open alphad["), "{said}");
    ensure!(
        said.contains(&format!(
            "that it is alphad is not proven, user 65534 runs it; if it is, set {setting}"
        )),
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&sandbox, &["--live", "--json"], false)?)?;
    ensure!(json[0]["unproven"]["alphad"] == "user 65534 runs it", "{json}");
    ensure!(!connect(sandbox.client(), CLIENT_V4, server, PATIENCE_OUT)?.is_connected(), "it opens");
    tcpw.process.terminate(SOON)?;
    drop(tcpw);

    let set = sandbox.write_settings("[names.user]\n65534 = [\"alphad\"]\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &set])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    let said = check(&sandbox, &["--live"], true)?;
    ensure!(said.starts_with("0 rules do not open"), "{said}");
    ensure!(connect(sandbox.client(), CLIENT_V4, server, SOON)?.is_connected(), "the setting does not open");
    Ok(())
}
