//! A daemon that lives, and is not let run.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::libc;
use tcpw_common::limits::ALIVE_NS;
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, SERVER_V4, Sandbox, Tcpw, Testd, client::connect};

use crate::{DENY, PORT, is_allowed, ready};

/// Threads that keep every processor busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..32 * thread::available_parallelism()?.get() {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                // Behind whatever else runs; Linux takes 0 for the calling thread.
                // SAFETY: takes numbers.
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Ok(Self(stop))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets a process run only when nobody else wants to, but for threads that have a priority of their
/// own: their names.
fn starve(pid: u32) -> Result<Vec<String>> {
    let mut others = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let number: i32 = task.file_name().to_string_lossy().parse()?;
        // SAFETY: takes a number.
        let policy = unsafe { libc::sched_getscheduler(number) };
        if policy < 0 {
            // It has ended since the directory was read.
            continue;
        }
        // A niceness of its own does not help a thread here.
        if policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_OTHER {
            let param = libc::sched_param { sched_priority: 0 };
            // SAFETY: passes a live struct.
            let done = unsafe { libc::sched_setscheduler(number, libc::SCHED_IDLE, &raw const param) };
            ensure!(done == 0, "SCHED_IDLE: {}", std::io::Error::last_os_error());
        } else {
            others.push(fs::read_to_string(task.path().join("comm"))?.trim().to_owned());
        }
    }
    Ok(others)
}

/// What it has not come to yet waits: nobody is let in by the name his process gives itself.
#[test]
fn daemon_that_gets_no_processor_is_not_taken_for_a_dead_one() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("starved")?;
    sandbox.write_tables("alphad: 1.2.3.\nALL EXCEPT alphad: ALL\n", DENY)?;
    let config = sandbox.write_settings(&format!("[names.port]\n{PORT} = [\"alphad\"]\n"))?;
    let tcpw = Tcpw::start(&sandbox, &["--config", &config])?;
    let busy = Busy::start()?;
    assert_eq!(starve(tcpw.process.pid())?, ["alive"]);
    thread::sleep(Duration::from_nanos(ALIVE_NS) * 2);
    let _betad = Testd::start(&sandbox, "betad", &format!("0.0.0.0:{PORT}"))?;
    for _ in 0..3 {
        assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    }
    drop(busy);
    let server = SocketAddr::new(SERVER_V4, PORT);
    assert!(connect(sandbox.client(), CLIENT_V4, server, Duration::from_secs(10))?.is_connected());
    assert!(!is_allowed(&sandbox, CLIENT_V4_OTHER)?);
    Ok(())
}
