//! A started program and the lines it printed.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const POLL: Duration = Duration::from_millis(2);

/// One line a process printed, on either of its outputs.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub at: Instant,
    /// The line, without its end.
    pub text: String,
}

/// A child process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<Line>>,
    grown: Condvar,
}

impl Process {
    /// Starts a program with its outputs captured and nothing to read.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take());
        output.collect(child.stderr.take());
        Ok(Self { name, child, output })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many lines there are so far: a mark for [`Self::wait_for_line_after`].
    pub fn mark(&self) -> usize {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for a line that contains `pattern`, also one printed before the call.
    ///
    /// # Errors
    /// No such line came in time, or the process ended without it: with its last lines.
    pub fn wait_for_line(&mut self, pattern: &str, timeout: Duration) -> Result<Line> {
        self.wait_for_line_after(0, pattern, timeout)
    }

    /// Waits for a line that contains `pattern` and was printed after the mark.
    ///
    /// # Errors
    /// As [`Self::wait_for_line`].
    pub fn wait_for_line_after(&mut self, mark: usize, pattern: &str, timeout: Duration) -> Result<Line> {
        let deadline = Instant::now() + timeout;
        let output = Arc::clone(&self.output);
        loop {
            let ended = self.child.try_wait().context("ask for the process's state")?;
            let lines = output.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(line) = lines.iter().skip(mark).find(|line| line.text.contains(pattern)) {
                return Ok(line.clone());
            }
            let now = Instant::now();
            // An ended process's last lines may still be on their way.
            if now >= deadline || (ended.is_some() && Arc::strong_count(&output) == 2) {
                let how =
                    ended.map_or_else(|| format!("in {timeout:?}"), |status| format!("and ended ({status})"));
                drop(lines);
                bail!("{} did not print \"{pattern}\" {how}; its last lines:\n{}", self.name, self.tail());
            }
            let wait = (deadline - now).min(Duration::from_millis(20));
            drop(output.grown.wait_timeout(lines, wait).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after the time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().context("wait for the process")? {
                // Its readers end with it.
                while Arc::strong_count(&self.output) > 1 && Instant::now() < deadline {
                    thread::sleep(POLL);
                }
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {timeout:?}; its last lines:\n{}", self.name, self.tail());
            }
            thread::sleep(POLL);
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()).context("process id")?);
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Kills it as `kill -9` does: no clean-up of its own.
    ///
    /// # Errors
    /// The process ended otherwise.
    pub fn kill_9(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait(Duration::from_secs(5))?;
        if status.signal() != Some(Signal::SIGKILL as i32) {
            bail!("{} had ended before it was killed ({status}):\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout)
    }

    /// Its last lines, indented, for a message.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(15)..];
        last.iter().map(|line| format!("    {}\n", line.text)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Output {
    fn collect(self: &Arc<Self>, stream: Option<impl Read + Send + 'static>) {
        let Some(stream) = stream else { return };
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                let line = Line { at: Instant::now(), text };
                output.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                output.grown.notify_all();
                bytes.clear();
            }
        });
    }
}
