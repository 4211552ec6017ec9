//! Loads and attaches each program by itself: one the kernel refuses does not stop the others.

use std::{fs::File, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::Array,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Program,
        ProgramError, SockOps,
        links::{FdLink, PinnedLink},
    },
};

use super::{alive::boot_ns, load::Kernel, pins::Pins, sys, upgrade::check_cgroup};

/// A place in the kernel where a program of tcpw runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// cgroup_skb/ingress: judges.
    Gate,
    /// cgroup post_bind4: names IPv4 listeners.
    BoundV4,
    /// cgroup post_bind6: names IPv6 listeners.
    BoundV6,
    /// cgroup bind4: tells UDP sockets whose port the kernel chooses.
    BindsV4,
    /// cgroup bind6: likewise.
    BindsV6,
    /// cgroup bind4 of the whole host: stamps UDP ports that are watched.
    WatchBindV4,
    /// cgroup bind6: likewise.
    WatchBindV6,
    /// cgroup post_bind4: likewise, once the socket has its port.
    WatchBoundV4,
    /// cgroup post_bind6: likewise.
    WatchBoundV6,
    /// cgroup sendmsg4: remembers the peers a UDP service socket writes to.
    WroteV4,
    /// cgroup sendmsg6: likewise.
    WroteV6,
    /// tp_btf/inet_sock_set_state: names listeners that were not bound, reports every one.
    Listening,
    /// tp_btf/sched_process_exec: reports programs that may take over a listener.
    Executed,
    /// sock_ops: reports accepted connections, sets SO_KEEPALIVE on them.
    Accepted,
    /// cgroup_skb/ingress: holds data of connections that wait for a user.
    UserIn,
    /// cgroup_skb/egress: likewise.
    UserOut,
    /// sock_ops: marks connections that wait for a user.
    UserAccepted,
}

/// What makes connections wait for a user; the one that makes them last.
pub(super) const USER_HOOKS: [Hook; 3] = [Hook::UserIn, Hook::UserOut, Hook::UserAccepted];

impl Hook {
    /// Name of its program in the BPF object.
    pub fn program(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::BoundV4 => "bound_v4",
            Self::BoundV6 => "bound_v6",
            Self::BindsV4 => "binds_v4",
            Self::BindsV6 => "binds_v6",
            Self::WatchBindV4 => "watch_bind_v4",
            Self::WatchBindV6 => "watch_bind_v6",
            Self::WatchBoundV4 => "watch_bound_v4",
            Self::WatchBoundV6 => "watch_bound_v6",
            Self::WroteV4 => "wrote_v4",
            Self::WroteV6 => "wrote_v6",
            Self::Listening => "listening",
            Self::Executed => "executed",
            Self::Accepted => "accepted",
            Self::UserIn => "user_in",
            Self::UserOut => "user_out",
            Self::UserAccepted => "user_accepted",
        }
    }
}

/// Whether a hook is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Attached by this process.
    Attached,
    /// An earlier process had pinned it; its program was replaced without a gap.
    Adopted,
    /// The kernel refused it: why. The others go on.
    Refused(String),
}

/// Links held by this process. Dropping an unpinned one ends its enforcement.
#[derive(Default)]
pub(super) struct Attached {
    owned: Vec<(Hook, FdLink)>,
    pinned: Vec<(Hook, PinnedLink)>,
}

impl Attached {
    /// Whether a hook is in use.
    pub(super) fn has(&self, hook: Hook) -> bool {
        self.owned
            .iter()
            .map(|(hook, _)| hook)
            .chain(self.pinned.iter().map(|(hook, _)| hook))
            .any(|it| *it == hook)
    }

    /// Lets go of a hook; its pin goes too.
    fn detach(&mut self, hook: Hook) -> Result<()> {
        self.owned.retain(|(owned, _)| *owned != hook);
        for (_, link) in self.pinned.extract_if(.., |(pinned, _)| *pinned == hook) {
            link.unpin().with_context(|| format!("remove the pin of {}", hook.program()))?;
        }
        Ok(())
    }
}

impl Kernel {
    /// Attaches what names listeners, before anything is judged.
    pub fn attach_identity(&mut self, cgroup: &Path) -> Vec<(Hook, HookState)> {
        let mut hooks = vec![
            Hook::BindsV4,
            Hook::BindsV6,
            Hook::BoundV4,
            Hook::BoundV6,
            Hook::WroteV4,
            Hook::WroteV6,
            Hook::Listening,
            Hook::Executed,
        ];
        // One that is pinned goes on with this version's program.
        let is_pinned = self.pins.as_ref().is_some_and(|pins| pins.link(Hook::Accepted).exists());
        if self.log_allowed || is_pinned {
            hooks.push(Hook::Accepted);
        }
        hooks
            .into_iter()
            .map(|hook| match self.attach(hook, cgroup) {
                Ok(state) => {
                    self.sees_listeners |= hook == Hook::Listening && self.offsets_known;
                    (hook, state)
                }
                Err(error) => (hook, HookState::Refused(format!("{error:#}"))),
            })
            .collect()
    }

    /// Watches accepted connections, if that is not done yet. It stays so: handshakes that an
    /// earlier policy marked may be on their way.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn watch_accepted(&mut self, cgroup: &Path) -> Result<()> {
        if !self.attached.has(Hook::Accepted) {
            self.attach(Hook::Accepted, cgroup).context("watch accepted connections")?;
        }
        Ok(())
    }

    /// Watches accepted connections no more: also where an earlier daemon's pin did.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn forget_accepted(&mut self) -> Result<()> {
        self.in_use.retain(|hook| *hook != Hook::Accepted);
        self.attached.detach(Hook::Accepted)
    }

    /// Attaches the gate: from here on connections are judged. Needs a policy in force.
    ///
    /// # Errors
    /// The kernel refuses it, or the pinned gate guards another cgroup.
    pub fn attach_gate(&mut self, cgroup: &Path) -> Result<HookState> {
        self.check_predecessors(cgroup)?;
        if self.pins.as_ref().is_some_and(|own| !own.hold_a_gate()) {
            self.take_over_counters()?;
        }
        let state = self
            .attach(Hook::Gate, cgroup)
            .with_context(|| format!("attach the gate to cgroup {}", cgroup.display()))?;
        self.watch_from_here(&state).context("note since when the gate judges")?;
        Ok(state)
    }

    /// An adopted gate has judged all along.
    fn watch_from_here(&mut self, state: &HookState) -> Result<()> {
        let map = self.ebpf.map_mut("WATCHING").context("the BPF object has no map WATCHING")?;
        let mut since: Array<_, u64> = Array::try_from(map)?;
        if *state == HookState::Attached || since.get(&0, 0)? == 0 {
            since.set(0, boot_ns(), 0)?;
        }
        Ok(())
    }

    /// Attaches what makes connections wait for a user; nothing to do if it is there.
    ///
    /// # Errors
    /// The kernel refuses one of the programs: then none of them is attached.
    pub(super) fn attach_user_hooks(&mut self, cgroup: &Path) -> Result<()> {
        for hook in USER_HOOKS {
            if self.attached.has(hook) {
                continue;
            }
            if let Err(error) = self.attach(hook, cgroup) {
                self.detach_user_hooks()?;
                return Err(error.context(format!(
                    "attach {} to cgroup {}",
                    hook.program(),
                    cgroup.display()
                )));
            }
        }
        Ok(())
    }

    /// Detaches it.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub(super) fn detach_user_hooks(&mut self) -> Result<()> {
        USER_HOOKS.into_iter().rev().try_for_each(|hook| self.attached.detach(hook))
    }

    pub(super) fn attach(&mut self, hook: Hook, cgroup: &Path) -> Result<HookState> {
        self.in_use.push(hook);
        if self.program(hook)?.fd().is_err() {
            self.load_program(hook)?;
        }
        let pins = self.pins.clone();
        if let Some(pins) = &pins
            && pins.link(hook).exists()
            && self.adopt(hook, pins, cgroup)?
        {
            return Ok(HookState::Adopted);
        }
        let dir = File::open(cgroup).with_context(|| format!("open cgroup {}", cgroup.display()))?;
        let link = self.new_link(hook, &dir)?;
        match pins {
            None => self.attached.owned.push((hook, link)),
            Some(pins) => {
                let path = pins.link(hook);
                if path.exists() {
                    std::fs::remove_file(&path).with_context(|| format!("replace {}", path.display()))?;
                }
                let link = link.pin(&path).with_context(|| format!("pin {}", path.display()))?;
                self.attached.pinned.push((hook, link));
            }
        }
        Ok(HookState::Attached)
    }

    /// Takes over a pinned cgroup link; `false` if it has to be made anew.
    fn adopt(&mut self, hook: Hook, pins: &Pins, cgroup: &Path) -> Result<bool> {
        if matches!(hook, Hook::Listening | Hook::Executed) {
            // A tracing link cannot be updated: the new one is attached before the old pin goes.
            return Ok(false);
        }
        let path = pins.link(hook);
        let link = sys::open_pin(&path).with_context(|| format!("open {}", path.display()))?;
        let guarded =
            sys::cgroup_link(link.as_fd()).with_context(|| format!("ask {}", path.display()))?.cgroup;
        if guarded == 0 {
            return Ok(false);
        }
        check_cgroup(guarded, cgroup, &path)?;
        let program =
            self.program(hook)?.fd().context("the program is not loaded")?.as_fd().try_clone_to_owned()?;
        sys::update_link(link.as_fd(), program.as_fd())
            .with_context(|| format!("replace the program of {}", path.display()))?;
        let pinned = PinnedLink::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        self.attached.pinned.push((hook, pinned));
        Ok(true)
    }

    fn load_program(&mut self, hook: Hook) -> Result<()> {
        let btf = &self.btf;
        let program = self.ebpf.program_mut(hook.program()).context("not in the BPF object")?;
        let result = match hook {
            Hook::Gate | Hook::UserIn | Hook::UserOut => <&mut CgroupSkb>::try_from(program)?.load(),
            Hook::BoundV4 | Hook::BoundV6 | Hook::WatchBoundV4 | Hook::WatchBoundV6 => {
                <&mut CgroupSock>::try_from(program)?.load()
            }
            Hook::BindsV4
            | Hook::BindsV6
            | Hook::WatchBindV4
            | Hook::WatchBindV6
            | Hook::WroteV4
            | Hook::WroteV6 => <&mut CgroupSockAddr>::try_from(program)?.load(),
            Hook::Listening => <&mut BtfTracePoint>::try_from(program)?.load("inet_sock_set_state", btf),
            Hook::Executed => <&mut BtfTracePoint>::try_from(program)?.load("sched_process_exec", btf),
            Hook::Accepted | Hook::UserAccepted => <&mut SockOps>::try_from(program)?.load(),
        };
        match result {
            Ok(()) => Ok(()),
            Err(ProgramError::LoadError { io_error, verifier_log }) => {
                bail!("the kernel refuses program {}: {io_error}\n{verifier_log}", hook.program())
            }
            Err(error) => Err(error).with_context(|| format!("load program {}", hook.program())),
        }
    }

    fn new_link(&mut self, hook: Hook, cgroup: &File) -> Result<FdLink> {
        let program = self.ebpf.program_mut(hook.program()).context("not in the BPF object")?;
        // Single: with links the kernel lets several programs coexist anyway, and refuses other flags.
        let mode = CgroupAttachMode::Single;
        Ok(match hook {
            Hook::Gate | Hook::UserIn | Hook::UserOut => {
                let gate: &mut CgroupSkb = program.try_into()?;
                let is_out = hook == Hook::UserOut;
                let direction =
                    if is_out { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
                let id = gate.attach(cgroup, direction, mode)?;
                gate.take_link(id)?.try_into()?
            }
            Hook::BoundV4 | Hook::BoundV6 | Hook::WatchBoundV4 | Hook::WatchBoundV6 => {
                let bound: &mut CgroupSock = program.try_into()?;
                let id = bound.attach(cgroup, mode)?;
                bound.take_link(id)?.try_into()?
            }
            Hook::BindsV4
            | Hook::BindsV6
            | Hook::WatchBindV4
            | Hook::WatchBindV6
            | Hook::WroteV4
            | Hook::WroteV6 => {
                let addressed: &mut CgroupSockAddr = program.try_into()?;
                let id = addressed.attach(cgroup, mode)?;
                addressed.take_link(id)?.try_into()?
            }
            Hook::Listening | Hook::Executed => {
                let listening: &mut BtfTracePoint = program.try_into()?;
                let id = listening.attach()?;
                listening.take_link(id)?.into()
            }
            Hook::Accepted | Hook::UserAccepted => {
                let accepted: &mut SockOps = program.try_into()?;
                let id = accepted.attach(cgroup, mode)?;
                accepted.take_link(id)?.try_into()?
            }
        })
    }

    fn program(&self, hook: Hook) -> Result<&Program> {
        self.ebpf.program(hook.program()).context("not in the BPF object")
    }
}
