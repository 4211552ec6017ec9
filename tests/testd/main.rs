//! A daemon that never knew libwrap: greets every client with its own name and closes.
//!
//! In: `testd [OPTION]... ADDRESS:PORT...`, the options those of [`style::Style`]. Copied under any
//! name, it is that daemon. Out: a line `listening` once every socket listens, with the port of one
//! that has no address of its own; with `--tell` one for everything a client sent.

mod crowd;
mod pass;
mod send;
mod style;
mod udp;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
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
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockopt, listen,
        setsockopt, socket, sockopt,
    },
};

use style::Style;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let style = Style::read(std::env::args().skip(1))?;
    style.prepare()?;
    if let (1.., Some(first)) = (u32::from(style.many) + style.namespaces, style.addresses.first()) {
        return crowd::crowd(*first, style.many, style.namespaces);
    }
    if style.is_udp {
        return serve_datagrams(&style);
    }
    let mut listeners = Vec::new();
    for fd in &style.inherited {
        // SAFETY: whoever executed us left this listening socket to us alone.
        listeners.push(unsafe { TcpListener::from_raw_fd(*fd) });
    }
    if let Some(path) = &style.take {
        listeners.push(TcpListener::from(pass::take(path)?));
    }
    for address in &style.addresses {
        for _member in 0..style.members {
            listeners.push(open(*address, &style)?);
        }
    }
    if let Some(cgroup) = &style.cgroup {
        std::fs::write(format!("{cgroup}/cgroup.procs"), "0").context("move to the cgroup")?;
    }
    if let Some(program) = &style.exec {
        return execute(program, &listeners);
    }
    if let Some(program) = &style.activate {
        return activate(program, &listeners);
    }
    if let Some(path) = &style.give {
        pass::give(path, &listeners)?;
        writeln!(std::io::stdout(), "listening")?;
        thread::sleep(FOR_EVER);
        return Ok(());
    }
    if style.hide {
        let hidden: Vec<_> = listeners.iter().map(pass::hide).collect::<Result<_>>()?;
        drop(listeners);
        writeln!(std::io::stdout(), "listening")?;
        thread::sleep(FOR_EVER);
        drop(hidden);
        return Ok(());
    }
    if style.fork {
        // SAFETY: one thread so far; the child goes on as the parent would have.
        match unsafe { libc::fork() } {
            0 => {}
            // Its last words: whoever waits for them may go on.
            _ => std::process::exit(0),
        }
    }
    serve_all(listeners, &style)
}

fn serve_all(listeners: Vec<TcpListener>, style: &Style) -> Result<()> {
    let name = std::env::current_exe()?.file_name().context("a name")?.to_string_lossy().into_owned();
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |own| own.port());
    let mut threads = Vec::new();
    for listener in listeners {
        let listener = if style.duplicate { listener.try_clone()? } else { listener };
        let greeting = format!("hello from {name}\n");
        let (tell, tells_keepalive) = (style.tell, style.tells_keepalive);
        let send = style.send.clone();
        threads.push(thread::spawn(move || serve(&listener, &greeting, tell, tells_keepalive, &send)));
    }
    writeln!(std::io::stdout(), "listening {port}")?;
    for thread in threads {
        drop(thread.join());
    }
    Ok(())
}

/// Answers datagrams.
fn serve_datagrams(style: &Style) -> Result<()> {
    let name = std::env::current_exe()?.file_name().context("a name")?.to_string_lossy().into_owned();
    let mut sockets = Vec::new();
    if let Some(path) = &style.take {
        sockets.push(UdpSocket::from(pass::take(path)?));
    }
    for address in &style.addresses {
        sockets.push(udp::open(*address, style)?);
    }
    if let Some(path) = &style.give {
        pass::give(path, &sockets)?;
        drop(sockets);
        writeln!(std::io::stdout(), "listening")?;
        thread::sleep(FOR_EVER);
        return Ok(());
    }
    let mut threads = Vec::new();
    for socket in sockets {
        let style = style.datagrams.clone();
        let greeting = format!("hello from {name}\n");
        threads.push(thread::spawn(move || drop(udp::serve(&socket, &greeting, &style))));
    }
    writeln!(std::io::stdout(), "listening")?;
    for thread in threads {
        drop(thread.join());
    }
    Ok(())
}

/// Becomes another program, which goes on listening.
fn execute(program: &str, listeners: &[TcpListener]) -> Result<()> {
    let error = inheriting(program, listeners)?.exec();
    Err(error).with_context(|| program.to_owned())
}

/// Keeps the sockets and starts another program that serves them, as systemd does.
fn activate(program: &str, listeners: &[TcpListener]) -> Result<()> {
    let status = inheriting(program, listeners)?.env("LISTEN_FDS", listeners.len().to_string()).status()?;
    anyhow::ensure!(status.success(), "{program}: {status}");
    Ok(())
}

fn inheriting(program: &str, listeners: &[TcpListener]) -> Result<Command> {
    let mut command = Command::new(program);
    for listener in listeners {
        fcntl(listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
        command.arg("--inherited").arg(listener.as_raw_fd().to_string());
    }
    Ok(command)
}

/// IPPROTO_MPTCP. Source: linux/include/uapi/linux/in.h.
const MPTCP: i32 = 262;

fn open(address: SocketAddr, style: &Style) -> Result<TcpListener> {
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
    if style.members > 1 || style.reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    style.mark(&fd)?;
    if !style.unbound {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    }
    if style.pause {
        writeln!(std::io::stdout(), "bound")?;
        thread::sleep(Duration::from_secs(2));
    }
    listen(&fd, Backlog::new(128)?)?;
    // SAFETY: the descriptor is a listening TCP socket that nobody else owns.
    Ok(unsafe { TcpListener::from_raw_fd(fd.into_raw_fd()) })
}

fn serve(listener: &TcpListener, greeting: &str, tell: bool, tells_keepalive: bool, send: &send::Style) {
    for client in listener.incoming().flatten() {
        let Some(mut client) = send.serve(client) else { continue };
        drop(client.write_all(greeting.as_bytes()));
        if tells_keepalive {
            let is_on = getsockopt(&client, sockopt::KeepAlive).unwrap_or(false);
            drop(client.write_all(format!("keepalive {is_on}\n").as_bytes()));
        }
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
