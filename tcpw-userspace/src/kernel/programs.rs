//! Every program of the BPF object: the one table of them.
//!
//! A new program is one line here, an entry point in tcpw-ebpf's main.rs, and a file of its own there.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, FEntry, Iter, Program,
        ProgramError, SchedClassifier, SkLookup, SkMsg, SockOps, Xdp,
    },
};

use super::btf::KernelTypes;

/// Kind of a program, with its attach type: the section it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// cgroup_skb/ingress.
    CgroupIngress,
    /// cgroup_skb/egress.
    CgroupEgress,
    /// cgroup/post_bind4, cgroup/post_bind6.
    CgroupSock,
    /// cgroup/bind4, cgroup/bind6, cgroup/sendmsg4, cgroup/sendmsg6.
    CgroupSockAddr,
    /// sockops.
    SockOps,
    /// tp_btf, with the name of the tracepoint.
    Tracepoint(&'static str),
    /// fentry, with the name of the kernel's function.
    Entry(&'static str),
    /// iter, with its kind.
    Iterator(&'static str),
    /// sk_lookup.
    SkLookup,
    /// sk_msg.
    SkMsg,
    /// classifier.
    Classifier,
    /// xdp.
    Xdp,
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The guarded cgroup.
    Cgroup,
    /// The root of all cgroups: the whole host.
    RootCgroup,
    /// The kernel's tracepoint.
    Kernel,
    /// A map, which holds the attached program.
    Map(&'static str),
    /// Network devices that the settings name.
    Devices,
    /// Nothing: it is called, or run by a system call.
    Nothing,
}

/// When a program is loaded and attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the start, before the gate. If the kernel refuses it, the others go on.
    Start,
    /// At the start, with a policy in force. tcpw cannot do without it.
    Required,
    /// While a feature needs it. If the kernel refuses it, the feature is not available.
    Wanted(Want),
}

/// The feature that needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Listeners that come and go: by the kernel's functions, or by the tracepoint.
    Listeners,
    /// Accepted connections are logged, or a rule acts on them.
    Accepted,
    /// Users decide.
    Users,
    /// Refused datagrams are answered with ICMP.
    UdpPorts,
    /// Refused clients are reset or redirected.
    Refusals,
    /// Allowed clients get a banner.
    Banners,
    /// SYNs of refused clients are dropped at a device.
    EarlyDrop,
    /// A scan of all open files, a frame to re-inject, a test of the tables.
    Call,
}

/// Defines every program: its section, target, name (its pin is `link_` and that) and when it is attached.
macro_rules! programs {
    ($($(#[doc = $help:literal])+ $hook:ident: $name:literal, $section:expr, $target:expr, $when:expr;)*) => {
        /// A program, at the place in the kernel where it runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Hook {
            $($(#[doc = $help])+ $hook,)*
        }

        impl Hook {
            /// Every program, in the order in which those of one purpose are attached.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$hook),*];

            /// Name of its program in the BPF object.
            pub fn program(self) -> &'static str {
                match self { $(Self::$hook => $name,)* }
            }

            /// Section of its program.
            pub fn section(self) -> Section {
                match self { $(Self::$hook => $section,)* }
            }

            /// What it is attached to.
            pub fn target(self) -> Target {
                match self { $(Self::$hook => $target,)* }
            }

            /// When it is attached.
            pub fn when(self) -> When {
                match self { $(Self::$hook => $when,)* }
            }
        }
    };
}

programs! {
    /// Marks UDP sockets whose port the kernel chooses, IPv4.
    BindsV4: "binds_v4", Section::CgroupSockAddr, Target::Cgroup, When::Start;
    /// Likewise, IPv6.
    BindsV6: "binds_v6", Section::CgroupSockAddr, Target::Cgroup, When::Start;
    /// Tags IPv4 listeners.
    BoundV4: "bound_v4", Section::CgroupSock, Target::Cgroup, When::Start;
    /// Tags IPv6 listeners.
    BoundV6: "bound_v6", Section::CgroupSock, Target::Cgroup, When::Start;
    /// Remembers the IPv4 peers that a UDP listener's socket writes to.
    WroteV4: "wrote_v4", Section::CgroupSockAddr, Target::Cgroup, When::Start;
    /// Likewise, IPv6.
    WroteV6: "wrote_v6", Section::CgroupSockAddr, Target::Cgroup, When::Start;
    /// Reports every listener; tags those that were not bound.
    Listens: "listens", Section::Entry("inet_csk_listen_start"), Target::Kernel, When::Wanted(Want::Listeners);
    /// Voids the certificates of a listener that ends.
    ListenEnds: "listen_ends", Section::Entry("inet_csk_listen_stop"), Target::Kernel, When::Wanted(Want::Listeners);
    /// Does what these two do where the kernel has no fentry. It runs several times for each connection.
    Listening: "listening", Section::Tracepoint("inet_sock_set_state"), Target::Kernel, When::Wanted(Want::Listeners);
    /// Reports programs that may take over a listener.
    Executed: "executed", Section::Tracepoint("sched_process_exec"), Target::Kernel, When::Start;
    /// The gate: judges every attempt.
    Gate: "gate", Section::CgroupIngress, Target::Cgroup, When::Required;
    /// Reports accepted connections, sets SO_KEEPALIVE on them, gives them their banner.
    Accepted: "accepted", Section::SockOps, Target::Cgroup, When::Wanted(Want::Accepted);
    /// Drops data that reach connections that wait for a user.
    UserIn: "user_in", Section::CgroupIngress, Target::Cgroup, When::Wanted(Want::Users);
    /// Drops data that such connections send.
    UserOut: "user_out", Section::CgroupEgress, Target::Cgroup, When::Wanted(Want::Users);
    /// Marks connections that have to wait. It comes last: it makes them wait.
    UserAccepted: "user_accepted", Section::SockOps, Target::Cgroup, When::Wanted(Want::Users);
    /// Stamps watched UDP ports of which a bind(2) is asked for, IPv4.
    WatchBindV4: "watch_bind_v4", Section::CgroupSockAddr, Target::RootCgroup, When::Wanted(Want::UdpPorts);
    /// Likewise, IPv6.
    WatchBindV6: "watch_bind_v6", Section::CgroupSockAddr, Target::RootCgroup, When::Wanted(Want::UdpPorts);
    /// Stamps watched UDP ports that a socket got, IPv4.
    WatchBoundV4: "watch_bound_v4", Section::CgroupSock, Target::RootCgroup, When::Wanted(Want::UdpPorts);
    /// Likewise, IPv6.
    WatchBoundV6: "watch_bound_v6", Section::CgroupSock, Target::RootCgroup, When::Wanted(Want::UdpPorts);
    /// Refuses before a listener is looked for. The program of each network namespace calls it.
    Refuse: "refuse", Section::SkLookup, Target::Map("REFUSALS"), When::Wanted(Want::Refusals);
    /// Sends the banners of allowed clients.
    SendBanner: "send_banner", Section::SkMsg, Target::Map("BANNER_SOCKETS"), When::Wanted(Want::Banners);
    /// Drops the SYNs of refused clients at a device, before the stack.
    EarlyXdp: "early_xdp", Section::Xdp, Target::Devices, When::Wanted(Want::EarlyDrop);
    /// The same, where XDP cannot be attached.
    EarlyTc: "early_tc", Section::Classifier, Target::Devices, When::Wanted(Want::EarlyDrop);
    /// Marks UDP sockets that were bound before the other programs ran.
    OpenFiles: "open_files", Section::Iterator("task_file"), Target::Nothing, When::Wanted(Want::Call);
    /// Decides what BPF_PROG_TEST_RUN asks.
    Probe: "probe", Section::Classifier, Target::Nothing, When::Wanted(Want::Call);
    /// Measures what a decision takes.
    Measure: "measure", Section::Classifier, Target::Nothing, When::Wanted(Want::Call);
    /// Passes frames that BPF_PROG_TEST_RUN puts onto a device.
    Receive: "receive", Section::Xdp, Target::Nothing, When::Wanted(Want::Call);
}

impl Hook {
    /// Every program that is attached at such a time.
    pub fn of(when: When) -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(move |hook| hook.when() == when)
    }

    /// Direction of cgroup_skb.
    pub(super) fn direction(self) -> CgroupSkbAttachType {
        if self.section() == Section::CgroupEgress {
            CgroupSkbAttachType::Egress
        } else {
            CgroupSkbAttachType::Ingress
        }
    }

    /// Its program.
    pub(super) fn get(self, ebpf: &Ebpf) -> Result<&Program> {
        ebpf.program(self.program())
            .with_context(|| format!("the BPF object has no program {}", self.program()))
    }

    /// Its program, of the type its section says.
    pub(super) fn get_as<'a, P>(self, ebpf: &'a mut Ebpf) -> Result<&'a mut P>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = ebpf
            .program_mut(self.program())
            .with_context(|| format!("the BPF object has no program {}", self.program()))?;
        Ok(program.try_into()?)
    }

    /// Loads its program, if that is not done yet.
    ///
    /// # Errors
    /// The kernel refuses it: with the verifier's reasons.
    pub(super) fn load(self, ebpf: &mut Ebpf, btf: &KernelTypes) -> Result<()> {
        if self.get(ebpf)?.fd().is_ok() {
            return Ok(());
        }
        let loaded = match self.section() {
            Section::CgroupIngress | Section::CgroupEgress => self.get_as::<CgroupSkb>(ebpf)?.load(),
            Section::CgroupSock => self.get_as::<CgroupSock>(ebpf)?.load(),
            Section::CgroupSockAddr => self.get_as::<CgroupSockAddr>(ebpf)?.load(),
            Section::SockOps => self.get_as::<SockOps>(ebpf)?.load(),
            Section::Tracepoint(name) => self.get_as::<BtfTracePoint>(ebpf)?.load(name, &*btf.get()?),
            Section::Entry(name) => self.get_as::<FEntry>(ebpf)?.load(name, &*btf.get()?),
            Section::Iterator(kind) => self.get_as::<Iter>(ebpf)?.load(kind, &*btf.get()?),
            Section::SkLookup => self.get_as::<SkLookup>(ebpf)?.load(),
            Section::SkMsg => self.get_as::<SkMsg>(ebpf)?.load(),
            Section::Classifier => self.get_as::<SchedClassifier>(ebpf)?.load(),
            Section::Xdp => self.get_as::<Xdp>(ebpf)?.load(),
        };
        match loaded {
            Ok(()) => Ok(()),
            Err(ProgramError::LoadError { io_error, verifier_log }) => {
                bail!("the kernel refuses program {}: {io_error}\n{verifier_log}", self.program())
            }
            Err(error) => Err(error).with_context(|| format!("load program {}", self.program())),
        }
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;
    use crate::kernel::load::OBJECT;

    #[test]
    fn table_has_every_program_of_the_object() -> Result<()> {
        let object = Object::parse(OBJECT)?;
        let mut in_object: Vec<&str> = object.programs.keys().map(String::as_str).collect();
        let mut in_table = Hook::ALL.map(Hook::program).to_vec();
        in_object.sort_unstable();
        in_table.sort_unstable();
        assert_eq!(in_object, in_table);
        Ok(())
    }
}
