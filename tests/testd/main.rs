//! A daemon that never knew libwrap: greets every client with its own name and closes.
//!
//! In: `testd [--fast-open] [--tell] [--mptcp] [--device NAME] [--reuse-port N]
//! [--exec PROGRAM] [--hide] [--inherited FD] [--many N] [--namespaces N] ADDRESS:PORT...`, or
//! `testd --udp [--ask PEER] [--late] [--connect PEER] [--group GROUP,LOCAL] [--quiet] ADDRESS:PORT...`. Copied under any name, it is
//! that daemon. Out: a line `listening` once every socket listens;
//! with `--tell` one for everything a client sent.

mod udp;

use std::{
    io::{IoSlice, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
        bind, listen, sendmsg, setsockopt, socket, socketpair, sockopt,
    },
    unistd::{ForkResult, fork, pipe},
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut style, mut members, mut addresses) = (Style::default(), 1_usize, Vec::new());
    let mut inherited = Vec::new();
    let (mut is_udp, mut datagrams) = (false, udp::Style::default());
    let (mut many, mut namespaces) = (0_u16, 0_u32);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--fast-open" => style.fast_open = true,
            "--udp" => is_udp = true,
            "--ask" => datagrams.ask.push(arguments.next().context("--ask PEER")?.parse()?),
            "--late" => datagrams.late = true,
            "--quiet" => datagrams.quiet = true,
            "--connect" => datagrams.connect = Some(arguments.next().context("--connect PEER")?.parse()?),
            "--group" => {
                let both = arguments.next().context("--group GROUP,LOCAL")?;
                let (group, local) = both.split_once(',').context("--group GROUP,LOCAL")?;
                datagrams.group = Some((group.parse()?, local.parse()?));
            }
            "--tell" => style.tell = true,
            "--mptcp" => style.mptcp = true,
            "--exec" => style.exec = Some(arguments.next().context("--exec PROGRAM")?),
            "--hide" => style.hide = true,
            "--inherited" => inherited.push(arguments.next().context("--inherited FD")?.parse::<i32>()?),
            "--many" => many = arguments.next().context("--many N")?.parse()?,
            "--namespaces" => namespaces = arguments.next().context("--namespaces N")?.parse()?,
            "--device" => style.device = Some(arguments.next().context("--device NAME")?),
            "--reuse-port" => members = arguments.next().context("--reuse-port N")?.parse()?,
            address => addresses.push(address.parse::<SocketAddr>().with_context(|| address.to_owned())?),
        }
    }
    if let (1.., Some(first)) = (u32::from(many) + namespaces, addresses.first()) {
        return crowd(*first, many, namespaces);
    }
    let name = std::env::current_exe()?.file_name().context("a name")?.to_string_lossy().into_owned();
    let mut threads = Vec::new();
    for fd in inherited {
        // SAFETY: whoever executed us left this listening socket to us alone.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        let greeting = format!("hello from {name}\n");
        threads.push(thread::spawn(move || serve(&listener, &greeting, false)));
    }
    let mut hidden = Vec::new();
    for address in addresses {
        if is_udp {
            let (socket, style) = (udp::open(address, &datagrams)?, datagrams.clone());
            let greeting = format!("hello from {name}\n");
            threads.push(thread::spawn(move || drop(udp::serve(&socket, &greeting, &style))));
            continue;
        }
        for _member in 0..members {
            let listener = open(address, &style, members > 1)?;
            if let Some(program) = &style.exec {
                return execute(program, &listener);
            }
            if style.hide {
                hidden.push(hide(&listener)?);
                continue;
            }
            let greeting = format!("hello from {name}\n");
            let tell = style.tell;
            threads.push(thread::spawn(move || serve(&listener, &greeting, tell)));
        }
    }
    writeln!(std::io::stdout(), "listening")?;
    for thread in threads {
        drop(thread.join());
    }
    if !hidden.is_empty() {
        thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

/// Listens on many ports from `first` on, or on `first` in many network namespaces, a process in each;
/// nobody is greeted.
fn crowd(first: SocketAddr, many: u16, namespaces: u32) -> Result<()> {
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
        listeners.push(open(address, &Style::default(), false).with_context(|| address.to_string())?);
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
                let _listener = open(first, &Style::default(), false)?;
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

/// Becomes another program, which goes on listening.
fn execute(program: &str, listener: &TcpListener) -> Result<()> {
    fcntl(listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let error = Command::new(program).arg("--inherited").arg(listener.as_raw_fd().to_string()).exec();
    Err(error).with_context(|| program.to_owned())
}

/// Leaves a socket to the kernel: on its way in a message that nobody takes, no process shows it.
fn hide(listener: &TcpListener) -> Result<(OwnedFd, OwnedFd)> {
    let (from, to) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let fds = [listener.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(from.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    Ok((from, to))
}

/// How to listen.
#[derive(Default)]
struct Style {
    fast_open: bool,
    mptcp: bool,
    device: Option<String>,
    /// Listen, then become this program.
    exec: Option<String>,
    /// Listen where no process shows it.
    hide: bool,
    /// Print what clients send.
    tell: bool,
}

/// IPPROTO_MPTCP. Source: linux/include/uapi/linux/in.h.
const MPTCP: i32 = 262;

fn open(address: SocketAddr, style: &Style, reuse_port: bool) -> Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = if style.mptcp {
        // SAFETY: takes three integers; the result is checked before it is used.
        let fd = unsafe { libc::socket(family as i32, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, MPTCP) };
        anyhow::ensure!(fd >= 0, "IPPROTO_MPTCP: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just made this descriptor for us.
        unsafe { OwnedFd::from_raw_fd(fd) }
    } else {
        socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?
    };
    if let Some(device) = &style.device {
        setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
    }
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if style.fast_open {
        let queue: i32 = 16;
        // SAFETY: passes a live int and its size, 4.
        let done = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_FASTOPEN,
                (&raw const queue).cast(),
                4,
            )
        };
        anyhow::ensure!(done == 0, "TCP_FASTOPEN: {}", std::io::Error::last_os_error());
    }
    listen(&fd, Backlog::new(128)?)?;
    // SAFETY: the descriptor is a listening TCP socket that nobody else owns.
    Ok(unsafe { TcpListener::from_raw_fd(fd.into_raw_fd()) })
}

fn serve(listener: &TcpListener, greeting: &str, tell: bool) {
    for client in listener.incoming().flatten() {
        let mut client = client;
        drop(client.write_all(greeting.as_bytes()));
        if tell {
            thread::spawn(move || {
                let mut bytes = [0; 256];
                let length = client.read(&mut bytes).unwrap_or(0);
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                drop(writeln!(std::io::stdout(), "read: {text}"));
            });
        }
    }
}
