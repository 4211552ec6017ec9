//! The process that looks names up.
//!
//! In: on its standard input, a socket: the user to become, then questions. Out: answers, in any order.
//! Invariant: it has no capability, cannot run a program, and ends with the daemon.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        resource::{Resource, setrlimit},
        stat::{SFlag, fstat},
    },
    unistd::{getppid, setsid},
};
use serde::Serialize;

use super::wire::{Answered, Asked, Charge, Ready, Work};
use crate::{
    effects::wire,
    host::{close_inherited, end_with, forbid_calls, give_up_root},
    resolve::{Question, SystemResolver, look_up},
};

/// Room for the C library's resolver and the modules of nsswitch.conf.
const STACK_BYTES: usize = 512 << 10;

/// Calls that no look-up needs. `forbid_calls` adds those that no process without rights needs.
const FORBIDDEN: [i64; 3] = [libc::SYS_execve, libc::SYS_execveat, libc::SYS_pidfd_open];

/// The hidden subcommand.
pub fn main() -> ExitCode {
    // SAFETY: standard input is open, and nothing else in this process uses it.
    let socket = unsafe { File::from_raw_fd(0) };
    let is_socket = fstat(&socket)
        .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK);
    if !is_socket {
        drop(writeln!(io::stderr(), "tcpw: this command is started by tcpw run"));
        return ExitCode::from(2);
    }
    let mut socket = UnixStream::from(OwnedFd::from(socket));
    let confined: Ready = confine(&mut socket).map_err(|error| format!("{error:#}"));
    if say(&mut socket, &confined).is_err() || confined.is_err() {
        return ExitCode::FAILURE;
    }
    // The daemon has closed its end. Look-ups that do not return end with this process.
    drop(answer(&socket));
    ExitCode::SUCCESS
}

fn confine(socket: &mut UnixStream) -> Result<()> {
    close_inherited()?;
    let charge: Charge = wire::read(socket).context("read the daemon's charge")?;
    let parent = getppid();
    // Not the daemon's terminal, nor its process group.
    setsid().context("leave the daemon's session")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("make no core files")?;
    give_up_root(&charge.user)?;
    forbid_calls(&FORBIDDEN).context("forbid system calls")?;
    end_with(parent)
}

fn answer(socket: &UnixStream) -> Result<()> {
    let mut questions = socket.try_clone()?;
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    loop {
        let asked: Asked = wire::read(&mut questions)?;
        let id = asked.id;
        let question = match asked.work() {
            Work::LookUp(question) => question,
            Work::Nothing => {
                say(&mut locked(&answers), &Answered::new(id, None))?;
                continue;
            }
            Work::Read(reply) => {
                let user = catch_unwind(|| reply.user()).ok().flatten();
                say(&mut locked(&answers), &Answered::of_user(id, user))?;
                continue;
            }
        };
        let thread = thread::Builder::new().name("look-up".into()).stack_size(STACK_BYTES);
        let own = Arc::clone(&answers);
        if thread.spawn(move || look_up_and_say(id, &question, &own)).is_err() {
            say(&mut locked(&answers), &Answered::new(id, None))?;
        }
    }
}

fn look_up_and_say(id: u64, question: &Question, answers: &Mutex<UnixStream>) {
    // A defect must not keep the daemon waiting for an answer.
    let found = catch_unwind(AssertUnwindSafe(|| look_up(question, &SystemResolver))).ok();
    // The daemon may have closed its end.
    drop(say(&mut locked(answers), &Answered::new(id, found)));
}

fn locked(answers: &Mutex<UnixStream>) -> std::sync::MutexGuard<'_, UnixStream> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(socket: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&wire::frame(message)?)
}
