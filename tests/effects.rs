//! Side effects: commands for refused and for allowed clients, by a process without rights.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Requirement, SERVER_V4, SERVER_V6, Sandbox, Tcpw,
    Testd, can_run, client::connect,
};

const AT_ONCE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(15);

fn ready() -> bool {
    can_run("effects", &[Requirement::Root])
}

/// A sandbox with the commands' user and a directory it may write to.
struct Place {
    sandbox: Sandbox,
    out: PathBuf,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        for (file, line) in [("passwd", "tcpw:x:64001:64001::/nonexistent:/usr/sbin/nologin\n"), ("group", "tcpw:x:64001:\n")] {
            let file = sandbox.etc().join(file);
            let text = fs::read_to_string(&file)? + line;
            fs::write(&file, text)?;
        }
        let out = sandbox.scratch().join("out");
        fs::create_dir(&out)?;
        std::os::unix::fs::chown(&out, Some(64001), Some(64001))?;
        Ok(Self { sandbox, out })
    }

    /// Starts tcpw with more lines in `[effects]`.
    fn tcpw(&self, settings: &str, more: &[&str]) -> Result<Tcpw> {
        let file = self.sandbox.scratch().join("tcpw.toml");
        let out = self.out.display();
        fs::write(&file, format!("[effects]\nwritable = [\"{out}\", \"/tmp\", \"/var/tmp\"]\n{settings}"))?;
        let file = file.to_string_lossy();
        Tcpw::start(&self.sandbox, &[&["--config", &*file], more].concat())
    }

    fn attempt(&self, client: IpAddr, port: u16) -> Result<bool> {
        let server = if client.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
        Ok(connect(self.sandbox.client(), client, SocketAddr::new(server, port), AT_ONCE)?.is_connected())
    }

    /// Lines of a file the commands write, once there are so many.
    fn lines(&self, name: &str, count: usize) -> Result<Vec<String>> {
        let file = self.out.join(name);
        let deadline = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text.lines().count() >= count {
                return Ok(text.lines().map(str::to_owned).collect());
            }
            ensure!(Instant::now() < deadline, "{} lines of {count} in {}:\n{text}", text.lines().count(), file.display());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a counter has a value.
    fn wait_counter(&self, name: &str, value: u64) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let counters = Tcpw::counters(&self.sandbox)?;
            if counters.get(name) == Some(&value) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} is not {value}: {counters:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn refused_attempt_runs_its_command_once_with_its_surroundings() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let place = Place::new("spawn")?;
    let out = place.out.display();
    place.sandbox.write_tables(
        "",
        &format!(
            "ALL: ALL: setenv WHO %h: setenv LEFT =: nice 7: umask 077: severity local3.notice: \
             spawn (echo \"$WHO %a %d %A %r %R $LEFT `nice` `umask` `pwd` `id -un`\" >> {out}/said)\n"
        ).replace("setenv LEFT =: ", "setenv LEFT a b: "),
    )?;
    let alphad = Testd::start(&place.sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = place.tcpw("", &[])?;
    // Long enough for two retransmits.
    let server = SocketAddr::new(SERVER_V4, 7001);
    let slow = connect(place.sandbox.client(), CLIENT_V4, server, Duration::from_millis(2500))?;
    assert!(!slow.is_connected());
    assert!(!place.attempt(CLIENT_V6, 7001)?);
    let mut lines = place.lines("said", 2)?;
    thread::sleep(Duration::from_millis(300));
    lines.sort();
    assert_eq!(place.lines("said", 2)?.len(), 2, "a retransmit runs nothing");
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let v4 = fields(&lines[0]);
    let want = |client: &str, server: &str, port: &str| {
        [client, client, "alphad", server, port, "7001", "a", "b", "7", "0077", "/", "tcpw"].map(str::to_owned).to_vec()
    };
    assert_eq!(v4, want("1.2.3.4", "1.2.3.1", &v4[4]), "{lines:?}");
    let v6 = fields(&lines[1]);
    assert_eq!(v6, want("3ffe:ffff:100:200:212:34ff:fe12:3456", "3ffe:ffff:100:200::1", &v6[4]));
    let file = fs::metadata(place.out.join("said"))?;
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&file) & 0o777, 0o600);
    let counters = Tcpw::counters(&place.sandbox)?;
    assert_eq!((counters["commands_run"], counters["refused"]), (2, 2), "{counters:?}");
    assert!(counters["retransmits"] >= 1, "{counters:?}");
    let _ = (alphad, tcpw.process.is_running());
    Ok(())
}
