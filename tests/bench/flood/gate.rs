//! What a refusal takes of the processor at the gate; `tcpw-bench gate`.
//!
//! Out: one JSON object. `ns`: the time of the programs in the kernel for a refused attempt, as the kernel
//! counts it: an interrupt that wakes the daemon is in it. `client_ns`: the time of the client's thread for an
//! attempt, its own system calls and all that the kernel does on its behalf.
//! Source: BPF_ENABLE_STATS of bpf(2), `run_time_ns` of bpf_prog_info.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use nix::time::{ClockId, clock_gettime};
use tcpw_tests::{Sandbox, Tcpw, Testd, client::knock};

use super::{FLOODED, FLOODER, Shape};

const FLOOD: Duration = Duration::from_secs(2);
const RULES: usize = 10;

/// One flood of the program that `TCPW_BIN` names.
pub(crate) fn run() -> Result<String> {
    let _stats = enable_stats(Stats::RunTime).context("ask the kernel to count")?;
    let sandbox = Sandbox::new("bench-gate")?;
    sandbox.write_tables("", "")?;
    Shape::Literal.write(&sandbox, RULES, FLOODER)?;
    let _alphad = Testd::start(&sandbox, "alphad", &FLOODED.to_string())?;
    let others = counted()?;
    let log = sandbox.scratch().join("log/secure");
    let _tcpw = Tcpw::start(&sandbox, &["--log", &format!("file:{}", log.display())])?;
    let before = counted()?;
    let (attempts, client) = sandbox.client().run(|| {
        let (end, started) = (Instant::now() + FLOOD, thread_time()?);
        let mut attempts: u64 = 0;
        while Instant::now() < end {
            knock(FLOODER, FLOODED)?;
            attempts += 1;
        }
        Ok((attempts, thread_time()? - started))
    })?;
    let mut programs: Duration = Duration::ZERO;
    for (id, time) in counted()?.into_iter().filter(|(id, _)| !others.contains_key(id)) {
        programs += time - before.get(&id).copied().unwrap_or_default();
    }
    let each = |time: Duration| time.as_nanos() / u128::from(attempts.max(1));
    let result = serde_json::json!({ "attempts": attempts, "ns": each(programs), "client_ns": each(client) });
    Ok(result.to_string())
}

/// The time of every program of the kernel, by id.
fn counted() -> Result<BTreeMap<u32, Duration>> {
    let mut counted = BTreeMap::new();
    for program in loaded_programs() {
        let program = program.context("list the programs")?;
        counted.insert(program.id(), program.run_time());
    }
    Ok(counted)
}

fn thread_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).context("read the thread's clock")
}
