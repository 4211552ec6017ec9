//! How to listen: the options, and what has to be done before the first socket.

use std::{
    ffi::CString,
    fs::File,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CloneFlags, setns},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::{send, udp};

/// How to listen.
#[derive(Default)]
pub(crate) struct Style {
    /// ADDRESS:PORT.
    pub(crate) addresses: Vec<SocketAddr>,
    /// `--reuse-port N`: so many sockets for each address.
    pub(crate) members: usize,
    /// `--share`: with SO_REUSEPORT, though it is one.
    pub(crate) reuse_port: bool,
    /// `--fast-open`.
    pub(crate) fast_open: bool,
    /// `--defer SECONDS`: TCP_DEFER_ACCEPT.
    pub(crate) defer: i32,
    /// `--tell-keepalive`: say whether the accepted socket has SO_KEEPALIVE.
    pub(crate) tells_keepalive: bool,
    /// `--tell`: print what clients send.
    pub(crate) tell: bool,
    /// `--mptcp`.
    pub(crate) mptcp: bool,
    /// `--device NAME`: SO_BINDTODEVICE.
    pub(crate) device: Option<String>,
    /// `--v6only`.
    pub(crate) v6_only: bool,
    /// `--free-bind`.
    pub(crate) free_bind: bool,
    /// `--transparent`.
    pub(crate) transparent: bool,
    /// `--unbound`: listen without bind.
    pub(crate) unbound: bool,
    /// `--pause`: bind, say `bound`, and listen two seconds later.
    pub(crate) pause: bool,
    /// `--exec PROGRAM`: become it, once listening.
    pub(crate) exec: Option<String>,
    /// `--activate PROGRAM`: start it with the sockets, and keep them.
    pub(crate) activate: Option<String>,
    /// `--inherited FD`: serve it.
    pub(crate) inherited: Vec<i32>,
    /// `--hide`: listen where no process shows it.
    pub(crate) hide: bool,
    /// `--give PATH`: pass the sockets to who waits there, and let go of them.
    pub(crate) give: Option<String>,
    /// `--take PATH`: wait there for a socket.
    pub(crate) take: Option<String>,
    /// `--fork`: a child serves, the parent exits.
    pub(crate) fork: bool,
    /// `--duplicate`: serve a duplicate.
    pub(crate) duplicate: bool,
    /// `--cgroup DIRECTORY`: move there, once listening.
    pub(crate) cgroup: Option<String>,
    /// `--many N`: at so many ports from that of the address on.
    pub(crate) many: u16,
    /// `--namespaces N`: in so many networks.
    pub(crate) namespaces: u32,
    /// `--udp`: datagrams, not connections.
    pub(crate) is_udp: bool,
    /// `--ask PEER`, `--late`, `--quiet`, `--tunnel`, `--disconnect PEER`, `--connect PEER`, `--group GROUP,LOCAL`.
    pub(crate) datagrams: udp::Style,
    /// `--send FILE`, `--by HOW`, `--wait`, `--alarm`.
    pub(crate) send: send::Style,
    /// `--netns FILE`: listen in that network.
    netns: Option<String>,
    /// `--uid N`: as that user.
    uid: Option<u32>,
    /// `--comm NAME`: as a process of that name.
    comm: Option<String>,
    /// `--delete`: remove the executable first.
    delete: bool,
}

impl Style {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut style = Self { members: 1, ..Self::default() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} what?"));
            match argument.as_str() {
                "--reuse-port" => style.members = value()?.parse()?,
                "--share" => style.reuse_port = true,
                "--fast-open" => style.fast_open = true,
                "--defer" => style.defer = value()?.parse()?,
                "--tell-keepalive" => style.tells_keepalive = true,
                "--tell" => style.tell = true,
                "--mptcp" => style.mptcp = true,
                "--device" => style.device = Some(value()?),
                "--v6only" => style.v6_only = true,
                "--free-bind" => style.free_bind = true,
                "--transparent" => style.transparent = true,
                "--unbound" => style.unbound = true,
                "--pause" => style.pause = true,
                "--exec" => style.exec = Some(value()?),
                "--activate" => style.activate = Some(value()?),
                "--inherited" => style.inherited.push(value()?.parse()?),
                "--hide" => style.hide = true,
                "--give" => style.give = Some(value()?),
                "--take" => style.take = Some(value()?),
                "--fork" => style.fork = true,
                "--duplicate" => style.duplicate = true,
                "--cgroup" => style.cgroup = Some(value()?),
                "--many" => style.many = value()?.parse()?,
                "--namespaces" => style.namespaces = value()?.parse()?,
                "--udp" => style.is_udp = true,
                "--ask" => style.datagrams.ask.push(value()?.parse()?),
                "--late" => style.datagrams.late = true,
                "--quiet" => style.datagrams.quiet = true,
                "--tunnel" => style.datagrams.tunnel = true,
                "--disconnect" => style.datagrams.disconnect = Some(value()?.parse()?),
                "--connect" => style.datagrams.connect = Some(value()?.parse()?),
                "--group" => {
                    let both = value()?;
                    let (group, local) = both.split_once(',').context("--group GROUP,LOCAL")?;
                    style.datagrams.group = Some((group.parse()?, local.parse()?));
                }
                "--send" => style.send.file = Some(value()?.into()),
                "--by" => style.send.by = value()?.parse()?,
                "--wait" => style.send.waits = true,
                "--alarm" => style.send.alarm = true,
                "--netns" => style.netns = Some(value()?),
                "--uid" => style.uid = Some(value()?.parse()?),
                "--comm" => style.comm = Some(value()?),
                "--delete" => style.delete = true,
                address => style.addresses.push(address.parse().with_context(|| address.to_owned())?),
            }
        }
        Ok(style)
    }

    /// Makes the process what it shall be.
    pub(crate) fn prepare(&self) -> Result<()> {
        if let Some(path) = &self.netns {
            setns(File::open(path)?, CloneFlags::CLONE_NEWNET).context("enter the network")?;
        }
        if self.delete {
            std::fs::remove_file(std::env::current_exe()?)?;
        }
        if let Some(uid) = self.uid {
            setgroups(&[])?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
        }
        if let Some(comm) = &self.comm {
            let comm = CString::new(comm.as_bytes())?;
            // SAFETY: passes a NUL-terminated string that lives over the call.
            let done = unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) };
            ensure!(done == 0, "PR_SET_NAME: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }

    /// Sets a socket's options that come before bind.
    pub(crate) fn mark(&self, fd: &OwnedFd) -> Result<()> {
        let options = [
            (self.v6_only, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
            (self.free_bind, libc::IPPROTO_IP, libc::IP_FREEBIND, 1),
            (self.transparent, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1),
            (self.fast_open, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16),
            (self.defer > 0, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, self.defer),
        ];
        for (_, level, option, value) in options.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
            let value: i32 = value;
            // SAFETY: passes a live int and its size, 4.
            let done =
                unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), 4) };
            ensure!(done == 0, "option {option}: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }
}
