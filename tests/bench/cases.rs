//! Cases for `tcpw match --cases` that share their tables.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde_json::json;

const ALLOW: &str = "\
# who may
sshd: 192.0.2. .example.com EXCEPT 192.0.2.66
sshd, in.telnetd: [2001:db8::]/32 : severity auth.info
in.ftpd@10.0.0.1: LOCAL joe@198.51.100.
ALL: 127.0.0.1 [::1]
vsftpd: 203.0.113.0/24 : spawn /usr/bin/logger %d %h : allow
";
const DENY: &str = "ALL: .evil.test\nALL: PARANOID\nALL: ALL\n";
const DAEMONS: [&str; 5] = ["sshd", "in.telnetd", "in.ftpd", "vsftpd", "nginx"];

/// A directory that is removed at the end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Seconds of processor that `tcpw match --cases` takes for so many cases, which carry the tables
/// themselves, or have them on the command line.
pub(crate) fn seconds(tcpw: &Path, cases: usize, carry_tables: bool) -> Result<f64> {
    let dir = Dir(std::env::temp_dir().join(format!("tcpw-bench-{}", std::process::id())));
    fs::create_dir(&dir.0).with_context(|| format!("make {}", dir.0.display()))?;
    let path = |name: &str| dir.0.join(name);
    fs::write(path("hosts.allow"), ALLOW)?;
    fs::write(path("hosts.deny"), DENY)?;
    let mut file = BufWriter::new(File::create(path("cases"))?);
    for number in 0..cases {
        let address = match number % 3 {
            0 => format!("192.0.2.{}", number / 3 % 256),
            1 => format!("2001:db8::{:x}", number / 3 % 256),
            _ => format!("198.51.100.{}", number / 3 % 256),
        };
        let mut case = json!({ "id": number, "daemon": DAEMONS[number % 5], "client_addr": address });
        if carry_tables {
            case["allow"] = ALLOW.into();
            case["deny"] = DENY.into();
        }
        writeln!(file, "{case}")?;
    }
    file.flush()?;
    let mut command = Command::new(tcpw);
    command.arg("match").arg("--hosts-allow").arg(path("hosts.allow"));
    command.arg("--hosts-deny").arg(path("hosts.deny")).arg("--cases").arg(path("cases"));
    let before = children()?;
    let status =
        command.stdout(Stdio::null()).status().with_context(|| format!("start {}", tcpw.display()))?;
    ensure!(status.success(), "{} {status}", tcpw.display());
    Ok((children()? - before).as_secs_f64())
}

/// What the processes that this one waited for have had of the processor.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the children's time")?;
    let time = |time: TimeVal| -> Result<Duration> {
        Ok(Duration::from_secs(u64::try_from(time.tv_sec())?)
            + Duration::from_micros(u64::try_from(time.tv_usec())?))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}
