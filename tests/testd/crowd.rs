//! Very many listeners.

use std::{io::Write as _, net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{ForkResult, fork, pipe},
};

use crate::{open, style::Style};

/// Listens on many ports from `first` on, or on `first` in many network namespaces, a process in each;
/// nobody is greeted.
pub(crate) fn crowd(first: SocketAddr, many: u16, namespaces: u32) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: passes pointers to a live struct.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    let mut listeners = Vec::new();
    for port in first.port()..first.port() + many {
        let address = SocketAddr::new(first.ip(), port);
        listeners.push(open(address, &Style::default()).with_context(|| address.to_string())?);
    }
    let mut children = Vec::new();
    for _child in 0..namespaces {
        let (ready, told) = pipe()?;
        // SAFETY: this process has one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // Its files are what a scan looks at.
                children.clear();
                unshare(CloneFlags::CLONE_NEWNET)?;
                let _listener = open(first, &Style::default())?;
                drop(told);
                thread::sleep(Duration::from_secs(600));
                return Ok(());
            }
            ForkResult::Parent { .. } => {
                drop(told);
                children.push(ready);
            }
        }
    }
    for ready in children {
        // Ends when the child has closed its end: it listens, or has failed.
        nix::unistd::read(&ready, &mut [0])?;
    }
    writeln!(std::io::stdout(), "listening")?;
    thread::sleep(Duration::from_secs(600));
    Ok(())
}
