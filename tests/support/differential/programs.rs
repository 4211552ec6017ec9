//! The two who are asked, each a program: cases in, answers out, a JSON line each.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{Answer, Case};
use crate::tcpw::{beside, tcpw_binary};

/// Asked by fewer, a question is not worth another process.
const SMALL: usize = 64;

/// Where the two are.
#[derive(Clone, Debug)]
pub struct Programs {
    oracle: PathBuf,
    tcpw: PathBuf,
    /// How many processes ask libwrap.
    jobs: usize,
}

impl Programs {
    /// `TCPW_BIN` or the tcpw beside the running program, and the oracle there.
    ///
    /// # Errors
    /// One of them is not built.
    pub fn find() -> Result<Self> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { oracle: beside("tcpw-oracle")?, tcpw: tcpw_binary()?, jobs })
    }

    /// What the real library answers.
    ///
    /// # Errors
    /// It is not installed, or the caller not root.
    pub fn libwrap(&self, cases: &[Case]) -> Result<Vec<Answer>> {
        let share = cases.len().div_ceil(self.jobs).max(SMALL);
        thread::scope(|scope| {
            let ask = |share| scope.spawn(move || answers(&mut Command::new(&self.oracle), share));
            let asked: Vec<_> = cases.chunks(share).map(ask).collect();
            let mut all = Vec::with_capacity(cases.len());
            for asked in asked {
                all.extend(asked.join().map_err(|_| anyhow!("asking libwrap panicked"))??);
            }
            Ok(all)
        })
    }

    /// What tcpw answers.
    ///
    /// # Errors
    /// It does not answer every case.
    pub fn tcpw(&self, cases: &[Case]) -> Result<Vec<Answer>> {
        answers(Command::new(&self.tcpw).args(["match", "--cases", "/dev/stdin"]), cases)
    }
}

fn answers(command: &mut Command, cases: &[Case]) -> Result<Vec<Answer>> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("{name} has no pipes");
    };
    let (written, lines) = thread::scope(|scope| {
        let write = scope.spawn(move || -> std::io::Result<()> {
            let mut input = BufWriter::new(input);
            for case in cases {
                serde_json::to_writer(&mut input, case)?;
                writeln!(input)?;
            }
            input.flush()
        });
        let lines: std::io::Result<Vec<String>> = BufReader::new(output).lines().collect();
        (write.join(), lines)
    });
    match written {
        // Who ends early says why himself.
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(error).with_context(|| format!("write the cases for {name}"));
        }
        Ok(_) => {}
        Err(_) => bail!("writing the cases for {name} panicked"),
    }
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    ensure!(status.success(), "{name} failed ({status}); its own message is above");
    let lines = lines.with_context(|| format!("read what {name} answers"))?;
    ensure!(lines.len() == cases.len(), "{name} answered {} of {} cases", lines.len(), cases.len());
    let read = |line: &String| serde_json::from_str(line).with_context(|| format!("{name} answered {line}"));
    lines.iter().map(read).collect()
}
