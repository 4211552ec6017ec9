//! Packages that are not installed, because they exclude others or would serve this machine's files, started by a real
//! systemd: each is opened by the name alone that it gives libwrap, and to no other client.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, DENY, Place, Requirement, SERVER_V4, Sandbox, Systemd, Tcpw, can_run,
    client::connect,
    datagrams::{Client, wait_bound},
    unpacked::{account, add, lay_over, layer, mark},
};

use super::{Shipped, is_proven, proofs, shipped};

const SOON: Duration = Duration::from_secs(20);
/// What is refused gets no answer.
const PATIENCE_OUT: Duration = Duration::from_millis(250);
const TFTP: u16 = 69;
/// Asks for a file that is not there; the answer is an error. RFC 1350: operation 1 asks to read, 5 is an error.
const REQUEST: &[u8] = b"\0\x01no-such-file\0octet\0";

/// Of each the first name is the one that it gives libwrap, as its manual or source has it.
const UNPACKED: &[Shipped] = &[
    shipped("/var/lib/tcpw-tests/proftpd/usr/sbin/proftpd", "proftpd.service", 21, &["proftpd"], "unit"),
    shipped(
        "/var/lib/tcpw-tests/nfs-kernel-server/usr/sbin/rpc.mountd",
        "nfs-mountd.service",
        7031,
        &["mountd", "rpc.mountd", "nfs-mountd"],
        "root",
    ),
    shipped(
        "/var/lib/tcpw-tests/quota/usr/sbin/rpc.rquotad",
        "quotarpc.service",
        7032,
        &["rquotad", "rpc.rquotad", "quotarpc"],
        "root",
    ),
    shipped(
        "/var/lib/tcpw-tests/conserver/usr/sbin/conserver",
        "conserver-server.service",
        3109,
        &["conserver", "conserver-server"],
        "unit",
    ),
    shipped("/var/lib/tcpw-tests/dante/usr/sbin/danted", "danted.service", 1080, &["danted"], "unit"),
    shipped("/var/lib/tcpw-tests/exim4/usr/sbin/exim4", "exim4.service", 25, &["exim", "exim4"], "file"),
];

const ATFTPD: &str = "/var/lib/tcpw-tests/atftpd/usr/sbin/atftpd";
const LAYERS: &[&str] = &["proftpd", "nfs-kernel-server", "quota", "conserver", "dante", "exim4", "atftpd"];

/// What their packages' scripts would have written and made.
fn install(sandbox: &Sandbox) -> Result<()> {
    lay_over(sandbox, LAYERS)?;
    let etc = sandbox.etc();
    for (name, id) in [("proftpd", 64120), ("conservr", 64121), ("Debian-exim", 64110)] {
        account(sandbox, name, (id, id))?;
    }
    let templates = layer(sandbox, "proftpd").join("share/proftpd/templates");
    for file in ["proftpd.conf", "modules.conf"] {
        fs::copy(templates.join(file), etc.join("proftpd").join(file)).context(file)?;
    }
    mark(&layer(sandbox, "exim4").join("sbin/exim4"), (0, 0), 0o4755)?;
    // The kernel's own NFS server is not wanted: only the daemon that answers what may be mounted.
    let unit = layer(sandbox, "nfs-kernel-server").join("lib/systemd/system/nfs-mountd.service");
    let unit = fs::read_to_string(&unit).with_context(|| format!("read {}", unit.display()))?;
    let is_own = |line: &&str| !line.starts_with("Requires=") && !line.starts_with("BindsTo=");
    let unit: String = unit.lines().filter(is_own).map(|line| format!("{line}\n")).collect();
    for (file, text) in [
        ("systemd/system/nfs-mountd.service", unit.as_str()),
        ("nfs.conf.d/tcpw.conf", "[mountd]\nport = 7031\n"),
        ("exports", "/srv 1.2.3.4(ro)\n"),
        ("default/quota", "RPCRQUOTADOPTS='-p 7032'\n"),
        ("conserver/server.conf", "OPTS='-p 3109'\n"),
        (
            "conserver/conserver.cf",
            "config * { }\ndefault * { logfile \"\"; rw *; }\naccess * { allowed 1.2.3.4; }\n\
             console x { master localhost; type exec; exec cat; }\n",
        ),
        (
            "danted.conf",
            "logoutput: stderr\ninternal: 0.0.0.0 port = 1080\nexternal: 1.2.3.1\nuser.privileged: proxy\n\
             user.unprivileged: nobody\nclientmethod: none\nsocksmethod: none\n\
             client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n",
        ),
        ("default/atftpd", "OPTIONS='--tftpd-timeout 300 /srv/tftp'\n"),
        (
            "exim4/update-exim4.conf.conf",
            "dc_eximconfig_configtype='local'\ndc_other_hostnames='gate'\ndc_local_interfaces=''\nCFILEMODE='644'\n\
             dc_use_split_config='false'\ndc_localdelivery='mail_spool'\n",
        ),
        ("mailname", "gate\n"),
    ] {
        fs::write(etc.join(file), text).with_context(|| format!("write {file}"))?;
    }
    // What quotarpc.sh looks for.
    add(&etc.join("fstab"), "none /srv ext4 noauto,usrquota 0 0\n")
}

/// Directories that their packages bring.
fn directories(sandbox: &Sandbox, systemd: &Systemd) -> Result<()> {
    for (owner, directories) in [
        ("root", &["/var/log/proftpd", "/var/lib/exim4", "/var/lib/nfs"][..]),
        ("conservr", &["/var/log/conserver", "/run/conserver"]),
        (
            "Debian-exim",
            &["/var/spool/exim4", "/var/spool/exim4/db", "/var/spool/exim4/input", "/var/log/exim4"],
        ),
    ] {
        systemd.run(sandbox, &[&["install", "-d", "-o", owner][..], directories].concat())?;
    }
    systemd.run(sandbox, &["touch", "/var/lib/nfs/etab", "/var/lib/nfs/rmtab"]).map(drop)
}

#[test]
fn name_that_a_package_gives_libwrap_opens_alone_and_to_its_clients_alone() -> Result<()> {
    let programs: Vec<_> = UNPACKED.iter().map(|it| Requirement::Program(it.program)).collect();
    let tools = [
        Requirement::Root,
        Requirement::Program(Systemd::PROGRAM),
        Requirement::Program(ATFTPD),
        Requirement::Program("/usr/sbin/rpcbind"),
    ];
    if !can_run("packages: unpacked", &tools) || !can_run("packages: unpacked", &programs) {
        return Ok(());
    }
    let sandbox = Sandbox::new("unpacked")?;
    install(&sandbox)?;
    let names: Vec<&str> = UNPACKED.iter().map(|it| it.names[0]).chain(["in.tftpd", "rpcbind"]).collect();
    sandbox.write_tables(&format!("{}: {CLIENT_V4}\n", names.join(" ")), DENY)?;
    let systemd = Systemd::start(&sandbox)?;
    directories(&sandbox, &systemd)?;
    for unit in ["rpcbind.service", "atftpd.socket"].into_iter().chain(UNPACKED.iter().map(|it| it.unit)) {
        systemd.start_unit(&sandbox, unit)?;
    }
    let _tcpw = Tcpw::start_with(&systemd.tcpw(&sandbox)?, &sandbox, &[])?;
    let wrong: Vec<String> = UNPACKED
        .iter()
        .filter_map(|it| is_proven(&sandbox, it).and_then(|()| is_closed(&sandbox, it)).err())
        .chain(is_tftp_proven(&sandbox).err())
        .map(|it| format!("{it:#}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    is_called(&sandbox)
}

/// To the client that the rule does not name.
fn is_closed(sandbox: &Sandbox, it: &Shipped) -> Result<()> {
    let server = SocketAddr::new(SERVER_V4, it.port);
    let attempt = connect(sandbox.client(), CLIENT_V4_OTHER, server, PATIENCE_OUT)?;
    ensure!(!attempt.is_connected(), "{} is opened to {CLIENT_V4_OTHER}", it.unit);
    Ok(())
}

/// The client asks rpcbind for mountd, and mountd, as a client of NFS does.
fn is_called(sandbox: &Sandbox) -> Result<()> {
    let mut call = Command::new("rpcinfo");
    call.args(["-t", &SERVER_V4.to_string(), "mountd", "3"]);
    let said = sandbox.run(Place::Client, call, SOON)?;
    let is_ready = said.lines().iter().any(|line| line.text.contains("version 3 ready and waiting"));
    ensure!(is_ready, "{}", said.tail());
    Ok(())
}

/// systemd listens for it, and then it does itself, as a user that its unit has for the time it runs.
fn is_tftp_proven(sandbox: &Sandbox) -> Result<()> {
    wait_bound(sandbox.server(), TFTP, true)?;
    let server = SocketAddr::new(SERVER_V4, TFTP);
    for proof in ["super-server", "unit"] {
        let row = Tcpw::wait_listener(sandbox, TFTP, |row| proofs(row).contains(&proof))
            .with_context(|| format!("in.tftpd by {proof}"))?;
        let has = |name: &str| row["names"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
        ensure!(has("in.tftpd") && has("atftpd") && row["unproven"]["in.tftpd"].is_null(), "{row}");
        let other = Client::new(sandbox.client(), CLIENT_V4_OTHER, 0)?;
        other.send(server, REQUEST)?;
        let own = Client::new(sandbox.client(), CLIENT_V4, 0)?;
        own.send(server, REQUEST)?;
        let answer = own.receive_as(true)?;
        ensure!(answer.is_some_and(|answer| answer.starts_with("\0\x05")), "in.tftpd does not answer: {row}");
        let answer = other.receive_as(false)?;
        ensure!(answer.is_none(), "in.tftpd answers {CLIENT_V4_OTHER}: {answer:?}: {row}");
    }
    Ok(())
}
