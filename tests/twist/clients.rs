//! Seen from real clients, of real daemons: ssh, curl and nc; sshd and nginx.

use std::fs;

use anyhow::{Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, Requirement, SERVER_V4, SERVER_V6, Tcpw, can_run,
    daemons::{Nginx, SshKey, Sshd, SshdSockets},
};

use super::place::{Place, SOON, lines_with, ready};

#[test]
fn text_reaches_ssh_curl_and_nc_and_the_daemons_log_nothing() -> Result<()> {
    let programs = ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/sbin/nginx", "/usr/bin/curl", "/bin/nc.openbsd"]
        .map(Requirement::Program);
    if !ready() || !can_run("twist: clients", &programs) {
        return Ok(());
    }
    let place = Place::new("real")?;
    let banners = place.banners.display();
    fs::write(place.banners.join("sshd"), "Closed for %a.\nAsk root@%H.\n")?;
    place.sandbox.write_tables(
        "sshd nginx: 1.2.4.\n",
        &format!(
            "sshd: 1.2.3.4: twist /bin/echo 421 go away %a\n\
             sshd: ALL: banners {banners}\n\
             nginx: ALL: twist printf 'HTTP/1.0 403 Forbidden\\r\\n\\r\\nnot for %a at %A\\n'\n"
        ),
    )?;
    let key = SshKey::generate(&place.sandbox)?;
    let dual = Sshd::start(&place.sandbox, &key, 2201, SshdSockets::DualStack)?;
    let sshd = Sshd::start(&place.sandbox, &key, 2202, SshdSockets::PerFamily)?;
    let nginx = Nginx::start(&place.sandbox, 8001)?;
    let mut tcpw = place.tcpw("", &["--on-deny", "reset"])?;

    let ssh = "-F none -v -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
    for sshd in [&sshd, &dual] {
        let said =
            place.printed("ssh", &format!("{ssh} -b {CLIENT_V4} -p {} root@{SERVER_V4}", sshd.port))?;
        ensure!(said.contains("421 go away 1.2.3.4"), "{said}");
        ensure!(
            !said.contains("OpenSSH_9.2p1 Debian-2+deb12u10 Debian") && !said.contains("Remote protocol"),
            "{said}"
        );
        let said =
            place.printed("ssh", &format!("{ssh} -b {CLIENT_V6} -p {} root@{SERVER_V6}", sshd.port))?;
        ensure!(said.contains(&format!("Closed for {CLIENT_V6}.")), "{said}");
        ensure!(said.contains(&format!("Ask root@{SERVER_V6}.")), "{said}");
        let said =
            place.printed("/bin/nc.openbsd", &format!("-w 5 -s {CLIENT_V4} {SERVER_V4} {}", sshd.port))?;
        assert_eq!(said, "421 go away 1.2.3.4\n");
    }
    for (client, server, url) in [
        (CLIENT_V4, SERVER_V4, format!("http://{SERVER_V4}:8001/x")),
        (CLIENT_V6, SERVER_V6, format!("http://[{SERVER_V6}]:8001/x")),
    ] {
        let said = place.printed("curl", &format!("-s -S -i --noproxy * --interface {client} {url}"))?;
        ensure!(
            said.contains("403 Forbidden") && said.contains(&format!("not for {client} at {server}")),
            "{said}"
        );
    }
    let said = place.printed(
        "curl",
        &format!("-s --noproxy * --interface {CLIENT_V4_OTHER} http://{SERVER_V4}:8001/y"),
    )?;
    assert_eq!(said, "hello\n", "who is allowed meets nginx");

    let log = nginx.accesses()?;
    ensure!(log.lines().count() == 1 && log.contains("GET /y"), "nginx saw somebody else: {log}");
    for sshd in [&sshd, &dual] {
        let lines: Vec<String> = sshd.process.lines().into_iter().map(|line| line.text).collect();
        ensure!(
            !lines
                .iter()
                .any(|line| line.contains("1.2.3.4") || line.contains("3ffe") || line.contains("kex")),
            "sshd saw somebody: {lines:?}"
        );
    }
    let line = format!("sshd[{}]: twist 1.2.3.4 to /bin/echo 421 go away 1.2.3.4", sshd.process.pid());
    tcpw.process.wait_for_line(&line, SOON)?;
    assert_eq!(lines_with(&tcpw, 0, &line).len(), 2, "ssh and nc");
    let line = format!("sshd[{}]: refused connect from {CLIENT_V6} ({CLIENT_V6})", dual.process.pid());
    assert_eq!(lines_with(&tcpw, 0, &line).len(), 1);
    assert_eq!(lines_with(&tcpw, 0, "refused connect from").len(), 2, "for banners alone");
    assert_eq!(Tcpw::counters(&place.sandbox)?["disagreements"], 0);
    Ok(())
}
