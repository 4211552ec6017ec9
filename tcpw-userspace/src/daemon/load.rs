//! Loads the programs and attaches those that identify listeners; a start that fails is undone.
//!
//! In: a configuration. Out: a [`Kernel`] whose gate is not attached yet, and the state at the start that the
//! core needs.

use std::{collections::BTreeSet, io, sync::Arc};

use anyhow::Result;

use super::kept;
use super::outside::ban_store::{self, StoredSize};
use crate::{
    bans::journal::Stored,
    config::{Config, Mode},
    control::{Lock, LockError},
    core::input::{Kept, Started},
    host::{netns_cookie_of, own_netns_cookie},
    kernel::{Changes, Hook, HookState, Kernel, LoadOptions, Pins},
};

/// The loaded programs, and the state at the start.
pub(super) struct Loaded {
    pub(super) kernel: Kernel,
    /// Stamps of listeners that come and go, if clients can be reset or redirected.
    pub(super) changes: Option<Arc<Changes>>,
    pub(super) started: Started,
    /// How much is stored of bans.
    pub(super) stored_bans: StoredSize,
}

/// Loads the programs, or adopts the pinned ones.
pub(super) fn load(config: &Config) -> Result<Loaded> {
    let pins = config.pin.then(|| Pins::new(&config.pin_dir));
    let mut kernel = Kernel::load(&LoadOptions {
        pins: pins.as_ref(),
        log_allowed: config.log_allowed,
        // Then the gate remembers which flows it refused.
        resets: config.mode == Mode::Enforce && config.refusal.answers_any(),
        faults: 0,
    })?;
    tokio::spawn(kernel.take_diagnostics()?.forward());
    let mut has_listening_hook = true;
    for (hook, state) in kernel.attach_identity(&config.cgroup) {
        if let HookState::Refused(reason) = state {
            has_listening_hook &= hook != Hook::Listening;
            log::warn!("the kernel refuses program {}: {reason}", hook.program());
        }
    }
    let changes = start_refusals(&mut kernel, config);
    let mut banners = Vec::new();
    match kernel.banners.left() {
        Ok(left) => banners = left,
        Err(error) => log::error!("{error:#}"),
    }
    let has_users = kernel.users.were_pinned();
    if has_users {
        // Connections of an earlier process still wait.
        kernel.begin_users(&config.cgroup)?;
    }
    // A policy that nobody has confirmed is not adopted.
    let fell_back = kernel.end_left_deadline()?;
    let flags = kernel.flags_in_force()?;
    let bans = ban_store::read(&config.state_dir).unwrap_or_else(|error| {
        log::error!("no stored ban is in force: {error:#}");
        Stored::default()
    });
    let stored_bans = StoredSize::from(&bans);
    let started = Started {
        has_listening_hook,
        certified: kernel.resets.as_ref().map(|resets| resets.all_certified().clone()).unwrap_or_default(),
        early_netns: early_netns(config, changes.is_some()),
        has_refusals: changes.is_some(),
        banners,
        bans,
        has_users,
        line_namespaces: line_namespaces(config),
        missing_before: flags.map(missing),
        kept: Kept { fell_back, ..kept::read(&config.state_dir) },
    };
    Ok(Loaded { kernel, changes, started, stored_bans })
}

/// The network namespaces whose listeners' lines carry their names: the host's, this process's, those of the settings.
fn line_namespaces(config: &Config) -> BTreeSet<u64> {
    let of_host = config.proc_root.join("1/ns/net");
    let files = std::iter::once(&of_host).chain(&config.line_namespaces);
    let found = files.filter_map(|file| {
        let cookie = netns_cookie_of(file);
        let unknown = |error: &io::Error| {
            log::warn!(
                "network namespace {}: {error}; lines of its listeners do not carry their names",
                file.display()
            );
        };
        cookie.inspect_err(unknown).ok()
    });
    found.chain(own_netns_cookie()).collect()
}

/// The network namespace whose SYNs may be dropped at devices: this process's.
fn early_netns(config: &Config, has_refusals: bool) -> Option<u64> {
    let is_wanted = !config.early_drop.is_empty() && has_refusals;
    let cookie = is_wanted.then(own_netns_cookie)?;
    cookie.inspect_err(|error| log::warn!("early-drop: this network namespace is not known: {error}")).ok()
}

/// Prepares resets and redirects, except in audit mode.
fn start_refusals(kernel: &mut Kernel, config: &Config) -> Option<Arc<Changes>> {
    // Also without resets, clients may be redirected for a banner or `twist`.
    let started = if config.mode == Mode::Enforce {
        kernel.start_resets(&config.refusal, &config.cgroup).map(Some)
    } else {
        kernel.end_resets().map(|()| None)
    };
    started.unwrap_or_else(|error| {
        log::warn!(
            "refused clients are not reset, their SYNs are dropped, and twist and banners do nothing: {error:#}"
        );
        None
    })
}

/// Which tables the flags of a header say were missing.
fn missing(flags: u32) -> [bool; 2] {
    use tcpw_common::decide::{NO_ALLOW_TABLE, NO_DENY_TABLE};
    [NO_ALLOW_TABLE, NO_DENY_TABLE].map(|flag| flags & flag != 0)
}

/// Locks the pins against other daemons; fails if this daemon would enforce a second policy beside a pinned one.
pub(super) fn lock_pins(config: &Config) -> Result<Option<Lock>> {
    if config.pin {
        return Ok(Some(Lock::take_pins(&config.pin_dir)?));
    }
    if Pins::new(&config.pin_dir).gates()?.is_empty() {
        return Ok(None);
    }
    Lock::refuse_held_pins(&config.pin_dir)?;
    Err(LockError::Orphan { path: config.pin_dir.clone() }.into())
}

/// Removes the pins of a start that failed.
pub(super) fn undo(pins: Option<&Pins>) {
    let Some(pins) = pins else { return };
    if let Err(error) = pins.remove() {
        log::error!("{error:#}");
    }
    for old in pins.gates().unwrap_or_default() {
        log::warn!("the policy that version {} pinned stays in force; no daemon updates it", old.version());
    }
}
