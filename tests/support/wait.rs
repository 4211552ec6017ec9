//! Waiting: until something is so, or until it is certain that nothing comes any more.
//!
//! In: a condition, or an attempt that leaves a line. Out: what was waited for, or an error that names it.
//! Invariant: no test sleeps for a time in the hope that something is over by then.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    client::knock,
    namespace::Netns,
    process::Process,
    sandbox::{CLIENT_V4, SERVER_V4, Sandbox},
    tcpw::Tcpw,
    testd::Testd,
};

/// The first pause between two looks; the next ones are longer, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until there is a value, and returns it.
///
/// # Errors
/// There is none in time: "`what` did not come in ..". A look that fails ends the wait at once.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not in {within:?}");
        }
        thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Looks again and again until something is so.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, within: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, within, || Ok(is_so()?.then_some(())))
}

/// As [`wait_until`], for what a process must do first: ends when it ends.
///
/// # Errors
/// It is not so in time, or the process ended: with its last lines.
pub fn wait_ready(
    process: &mut Process,
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let waited = wait_until(what, within, || {
        if is_so()? {
            return Ok(true);
        }
        ensure!(process.is_running(), "{what}: it has ended");
        Ok(false)
    });
    waited.with_context(|| format!("its last lines:\n{}", process.tail()))
}

/// Waits until so many connections of a network have sent their SYN and have no answer.
///
/// # Errors
/// They have not in time.
pub fn wait_syn_sent(netns: &Netns, count: usize) -> Result<()> {
    wait_until(&format!("{count} SYNs are sent"), Duration::from_secs(10), || {
        let table = netns.run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
        let is_syn_sent = |line: &&str| line.split_whitespace().nth(3) == Some("02");
        Ok(table.lines().skip(1).filter(is_syn_sent).count() >= count)
    })
}

/// How often a client that goes on by itself has tried: what a test waits for instead of for a time.
#[derive(Debug, Default)]
pub struct Tries(AtomicUsize);

impl Tries {
    /// The client has tried once more.
    pub fn tried(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until the client has begun and ended so many more tries; one that runs already does not count.
    ///
    /// # Errors
    /// It has stopped, or each takes seconds.
    pub fn wait_more(&self, more: usize) -> Result<()> {
        let wanted = self.count() + 1 + more;
        wait_until(&format!("{more} more attempts"), Duration::from_secs(30), || Ok(self.count() >= wanted))
    }
}

/// A daemon whose clients are all refused: the line of an attempt at it shows that what the kernel reported
/// before has been worked off, as reports arrive in order. "Nothing was written" is asserted behind it.
///
/// The tables have to refuse `markerd` to 1.2.3.4 without effects: `ALL: ALL` does, or `markerd: ALL` in front
/// of what has effects. Each passage is one more in `refused`.
#[derive(Debug)]
pub struct Barrier {
    _markerd: Testd,
}

impl Barrier {
    /// The port of the marker daemon: no other daemon of a test has it.
    const PORT: u16 = 7999;
    /// Longest a busy machine takes from an attempt to its line.
    const LONG: Duration = Duration::from_secs(20);

    /// Starts the marker daemon in the guarded cgroup.
    ///
    /// # Errors
    /// testd is not built.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self { _markerd: Testd::start(sandbox, "markerd", &format!("0.0.0.0:{}", Self::PORT))? })
    }

    /// Waits until a running tcpw knows the marker daemon: needed if it was started behind tcpw.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_known(&self, sandbox: &Sandbox) -> Result<()> {
        Tcpw::wait_listener(sandbox, Self::PORT, |row| row["ident"] == "markerd").map(drop)
    }

    /// Makes one attempt at the marker daemon and waits for its line.
    ///
    /// # Errors
    /// The line does not come.
    pub fn pass(&self, sandbox: &Sandbox, tcpw: &mut Tcpw) -> Result<()> {
        let mark = tcpw.process.mark();
        sandbox.client().run(|| knock(CLIENT_V4, SocketAddr::new(SERVER_V4, Self::PORT)))?;
        tcpw.process.wait_for_line_after(mark, " markerd[", Self::LONG).context("the barrier")?;
        Ok(())
    }
}
