//! One machine: qemu, its two serial lines, its end.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{kernels::Kernel, report::Report, suites::Run};
use crate::command::say;

/// Lines of the kernel's own that are shown when a machine ends early.
const TAIL: usize = 30;

/// The machine's clock counts its own instructions, 2 ns each, and goes to the next timer while there is
/// nothing to do: how busy this host is changes nothing that a test measures there. qemu 7.2 starts no
/// second processor with such a clock.
const CLOCK: [&str; 6] =
    ["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-rtc", "base=utc,clock=vm"];

/// What is needed to boot.
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) image: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Machine {
    /// Boots it and reports what the tests say, until it is done or the time is over.
    pub(crate) fn run(&self, runs: &[Run], timeout: Duration) -> Result<Report> {
        let console = self.directory.join(format!("console-{}.log", self.kernel.series));
        let began = Instant::now();
        say(format_args!("{}: booting {}", self.kernel.series, self.kernel.release));
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(CLOCK)
            .args(["-cpu", "max", "-smp", "1", "-m", "2560"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio", "-kernel"])
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(&self.image)
            .args(["-append", "console=ttyS0 quiet panic=-1 tcpw_own_machine=yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start qemu-system-x86_64")?;
        let output = qemu.stdout.take().context("qemu has no output")?;
        let (sender, lines) = channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        let mut report = Report::new(self.kernel.series, &self.kernel.release, runs);
        loop {
            match lines.recv_timeout(timeout.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    if report.line(&line) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    report.broken(format!("not done after {} s", timeout.as_secs()));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    report.broken("the machine ended early".into());
                    break;
                }
            }
        }
        report.took = began.elapsed();
        // It may have powered itself off.
        drop(qemu.kill());
        drop(qemu.wait());
        drop(reader.join());
        if report.is_broken() {
            let said = fs::read(console).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                say(format_args!("{}: console: {}", self.kernel.series, line.trim_end()));
            }
        }
        Ok(report)
    }
}
