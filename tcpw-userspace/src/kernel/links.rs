//! The links of the attached programs: each is loaded and attached by itself.
//!
//! In: programs, a cgroup, pins. Out: links, pinned or held by this process.
//! Invariant: a program that the kernel refuses does not stop the others; a pinned program is replaced without
//! a moment in which none is attached.

use std::{fs::File, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSock, CgroupSockAddr, FEntry, SockOps,
        links::{FdLink, PinnedLink},
    },
};

use super::{
    btf::KernelTypes,
    pins::Pins,
    programs::{Hook, Section, Target},
    sys,
    upgrade::check_cgroup,
};

/// Whether a program is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Attached by this process.
    Attached,
    /// An earlier process had pinned it; its program was replaced without a gap.
    Adopted,
    /// The kernel refused it: why. The others go on.
    Refused(String),
}

/// Links of this process. Dropping one that is not pinned detaches its program.
pub(super) struct Links {
    pub(super) btf: KernelTypes,
    pub(super) pins: Option<Pins>,
    owned: Vec<(Hook, FdLink)>,
    pinned: Vec<(Hook, PinnedLink)>,
    /// Programs this process wants attached, whether or not the kernel takes them.
    wanted: Vec<Hook>,
}

impl Links {
    pub(super) fn new(btf: KernelTypes, pins: Option<Pins>) -> Self {
        Self { btf, pins, owned: Vec::new(), pinned: Vec::new(), wanted: Vec::new() }
    }

    /// Whether a program is attached by this process.
    pub(super) fn has(&self, hook: Hook) -> bool {
        let pinned = self.pinned.iter().map(|(hook, _)| hook);
        self.owned.iter().map(|(hook, _)| hook).chain(pinned).any(|it| *it == hook)
    }

    /// Whether an earlier process, or this one, pinned the link of a program.
    pub(super) fn is_pinned(&self, hook: Hook) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.link(hook).exists())
    }

    /// Programs this process wants attached.
    pub(super) fn wanted(&self) -> &[Hook] {
        &self.wanted
    }

    /// A program is not needed any more: it is detached, and its pin removed.
    pub(super) fn forget(&mut self, hook: Hook) -> Result<()> {
        self.wanted.retain(|wanted| *wanted != hook);
        self.detach(hook)
    }

    /// Detaches a program; its pin is removed too.
    pub(super) fn detach(&mut self, hook: Hook) -> Result<()> {
        self.owned.retain(|(owned, _)| *owned != hook);
        for (_, link) in self.pinned.extract_if(.., |(pinned, _)| *pinned == hook) {
            link.unpin().with_context(|| format!("remove the pin of {}", hook.program()))?;
        }
        Ok(())
    }

    /// Loads a program, if that is not done yet.
    ///
    /// # Errors
    /// The kernel refuses it: with the verifier's reasons.
    pub(super) fn load(&self, ebpf: &mut Ebpf, hook: Hook) -> Result<()> {
        hook.load(ebpf, &self.btf)
    }

    /// Loads a program and attaches it.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, hook: Hook, cgroup: &Path) -> Result<HookState> {
        self.wanted.push(hook);
        hook.load(ebpf, &self.btf)?;
        let pins = self.pins.clone();
        if let Some(pins) = &pins
            && pins.link(hook).exists()
            && self.adopt(ebpf, hook, pins, cgroup)?
        {
            return Ok(HookState::Adopted);
        }
        let dir = File::open(cgroup).with_context(|| format!("open cgroup {}", cgroup.display()))?;
        let link = new_link(ebpf, hook, &dir)?;
        match pins {
            None => self.owned.push((hook, link)),
            Some(pins) => {
                let path = pins.link(hook);
                if path.exists() {
                    std::fs::remove_file(&path).with_context(|| format!("replace {}", path.display()))?;
                }
                let link = link.pin(&path).with_context(|| format!("pin {}", path.display()))?;
                self.pinned.push((hook, link));
            }
        }
        Ok(HookState::Attached)
    }

    /// Takes over a pinned cgroup link; `false` if a new link has to be made.
    fn adopt(&mut self, ebpf: &Ebpf, hook: Hook, pins: &Pins, cgroup: &Path) -> Result<bool> {
        if hook.target() == Target::Kernel {
            // A tracing link cannot be updated: the new one is attached before the old pin is removed.
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
        let program = hook.get(ebpf)?.fd().context("the program is not loaded")?;
        sys::update_link(link.as_fd(), program.as_fd())
            .with_context(|| format!("replace the program of {}", path.display()))?;
        let pinned = PinnedLink::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        self.pinned.push((hook, pinned));
        Ok(true)
    }
}

fn new_link(ebpf: &mut Ebpf, hook: Hook, cgroup: &File) -> Result<FdLink> {
    // Single: links always allow several programs, and the kernel refuses other flags for them.
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    Ok(match hook.section() {
        Section::CgroupIngress | Section::CgroupEgress => {
            let program = hook.get_as::<CgroupSkb>(ebpf)?;
            let id = program.attach(cgroup, hook.direction(), MODE)?;
            program.take_link(id)?.try_into()?
        }
        Section::CgroupSock => {
            let program = hook.get_as::<CgroupSock>(ebpf)?;
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Section::CgroupSockAddr => {
            let program = hook.get_as::<CgroupSockAddr>(ebpf)?;
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Section::SockOps => {
            let program = hook.get_as::<SockOps>(ebpf)?;
            let id = program.attach(cgroup, MODE)?;
            program.take_link(id)?.try_into()?
        }
        Section::Tracepoint(_) => {
            let program = hook.get_as::<BtfTracePoint>(ebpf)?;
            let id = program.attach()?;
            program.take_link(id)?.into()
        }
        Section::Entry(_) => {
            let program = hook.get_as::<FEntry>(ebpf)?;
            let id = program.attach()?;
            program.take_link(id)?.into()
        }
        Section::Iterator(_) | Section::SkLookup | Section::SkMsg | Section::Classifier | Section::Xdp => {
            anyhow::bail!("program {} is not attached by a link of its own", hook.program())
        }
    })
}
