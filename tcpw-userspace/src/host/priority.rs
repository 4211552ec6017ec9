//! Priorities of the calling thread.
//!
//! In: nothing. Out: the kernel's scheduler prefers the thread.
//! Invariant: threads and processes that the thread starts later have the ordinary priority. Where the right
//! to it is missing (a container without CAP_SYS_NICE) nothing changes.

use std::io;

/// The niceness of a thread that others wait for: processes of daemons have 0.
const PREFERRED: i32 = -10;

/// How long such a thread runs at a time, nanoseconds. A thread that asks for less than the one that runs is started at
/// once when it wakes, not at the next tick, which may be 4 ms away. Linux 6.12; before, it has no effect.
/// Source: linux kernel/sched/fair.c, `PREEMPT_SHORT`.
const SLICE_NS: u64 = 100_000;

/// Real time: for a thread that needs little time, but at once.
///
/// # Errors
/// The right is missing.
pub fn set_real_time() -> io::Result<()> {
    set_policy(libc::SCHED_RR, 1)
}

/// Before ordinary threads: for a thread that clients wait for.
///
/// # Errors
/// The right is missing.
pub fn set_preferred() -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK.cast_unsigned().into(),
        sched_nice: PREFERRED,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: passes a live struct of the size that it states; 0 is the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// As processes of daemons have it, whatever this one was started with.
///
/// # Errors
/// The right is missing.
pub fn set_ordinary() -> io::Result<()> {
    // SAFETY: takes no pointer; 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the policy of the calling thread alone: what it starts later has the ordinary one.
fn set_policy(policy: i32, sched_priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority };
    // SAFETY: passes a live struct; 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const param) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        // SAFETY: takes no pointer; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn a_preferred_thread_starts_ordinary_ones() {
        // In a thread of its own, so that other tests keep their niceness.
        let of_both = std::thread::spawn(|| {
            let done = set_preferred();
            let child = std::thread::spawn(niceness).join();
            done.map(|()| (niceness(), child.ok()))
        });
        match of_both.join() {
            Ok(Ok(both)) => assert_eq!(both, (PREFERRED, Some(0))),
            Ok(Err(error)) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "no root"),
            Err(_panic) => panic!("the thread panicked"),
        }
    }
}
