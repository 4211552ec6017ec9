//! A daemon that never knew libwrap: greets every client with its own name and closes.
//!
//! In: `testd [--fast-open] [--reuse-port N] ADDRESS:PORT...`. Copied under any name, it is
//! that daemon. Out: a line `listening` once every socket listens.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _},
    thread,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt,
    socket, sockopt,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut fast_open, mut members, mut addresses) = (false, 1_usize, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--fast-open" => fast_open = true,
            "--reuse-port" => members = arguments.next().context("--reuse-port N")?.parse()?,
            address => addresses.push(address.parse::<SocketAddr>().with_context(|| address.to_owned())?),
        }
    }
    let name = std::env::current_exe()?.file_name().context("a name")?.to_string_lossy().into_owned();
    let mut threads = Vec::new();
    for address in addresses {
        for _member in 0..members {
            let listener = open(address, fast_open, members > 1)?;
            let greeting = format!("hello from {name}\n");
            threads.push(thread::spawn(move || serve(&listener, &greeting)));
        }
    }
    writeln!(std::io::stdout(), "listening")?;
    for thread in threads {
        drop(thread.join());
    }
    Ok(())
}

fn open(address: SocketAddr, fast_open: bool, reuse_port: bool) -> Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if reuse_port {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if fast_open {
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

fn serve(listener: &TcpListener, greeting: &str) {
    for client in listener.incoming().flatten() {
        let mut client = client;
        drop(client.write_all(greeting.as_bytes()));
    }
}
