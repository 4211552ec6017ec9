//! The programs are loaded, listeners identified; a start that fails leaves things as they were.
//!
//! In: a configuration. Out: a [`Kernel`] whose gate is not attached yet, and what the core has to know of
//! how it began.

use std::sync::Arc;

use anyhow::Result;

use crate::{
    config::{Config, Mode},
    control::{Lock, LockError},
    core::input::Started,
    kernel::{Changes, Hook, HookState, Kernel, LoadOptions, Pins},
};

/// What was loaded.
pub(super) struct Loaded {
    pub(super) kernel: Kernel,
    /// Stamps of listeners that come and go, if clients can be reset or redirected.
    pub(super) changes: Option<Arc<Changes>>,
    pub(super) started: Started,
}

/// Loads, or adopts what is pinned.
pub(super) fn load(config: &Config) -> Result<Loaded> {
    let pins = config.pin.then(|| Pins::new(&config.pin_dir));
    let mut kernel = Kernel::load(&LoadOptions {
        pins: pins.as_ref(),
        log_allowed: config.log_allowed,
        // Then the gate remembers which clients it let pass.
        resets: config.mode == Mode::Enforce && config.refusal.resets_any(),
    })?;
    tokio::spawn(kernel.take_diagnostics()?.forward());
    let mut has_listening_hook = true;
    for (hook, state) in kernel.attach_identity(&config.cgroup) {
        if let HookState::Refused(reason) = state {
            has_listening_hook &= hook != Hook::Listening;
            log::warn!("this kernel refuses {}: {reason}", hook.program());
        }
    }
    let changes = start_refusals(&mut kernel, config);
    let mut banners = Vec::new();
    match kernel.left_banners() {
        Ok(left) => banners = left,
        Err(error) => log::error!("{error:#}"),
    }
    let has_users = kernel.has_pinned_users();
    if has_users {
        // Connections that an earlier process let in wait still.
        kernel.begin_users(&config.cgroup)?;
    }
    let flags = kernel.flags_in_force()?;
    let started = Started {
        has_listening_hook,
        certified: kernel.resets().map(|resets| resets.all_certified()).unwrap_or_default(),
        has_refusals: changes.is_some(),
        banners,
        has_users,
        missing_before: flags.map(missing),
    };
    Ok(Loaded { kernel, changes, started })
}

/// Gets ready to reset or redirect clients, unless tcpw only looks.
fn start_refusals(kernel: &mut Kernel, config: &Config) -> Option<Arc<Changes>> {
    // Without resets, some may be redirected to what their rule has for them.
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

/// Keeps other daemons from the pins, and this one from guarding beside them.
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

/// Takes back what a start pinned that failed.
pub(super) fn undo(pins: Option<&Pins>) {
    let Some(pins) = pins else { return };
    if let Err(error) = pins.remove() {
        log::error!("{error:#}");
    }
    for old in pins.gates().unwrap_or_default() {
        log::warn!("the policy that version {} pinned stays in force; nobody follows it", old.version());
    }
}
