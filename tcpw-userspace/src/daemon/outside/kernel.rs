//! Writes single entries of the kernel's tables, and reads the entries that belong to a report.
//!
//! In: [`Write`]s, records. Out: whether the write succeeded; events with the entries that belong to them.

use anyhow::Result;
use tcpw_common::event::Event as Record;

use super::Results;
use crate::{
    core::{
        Input,
        action::{BanWrites, Write},
        input::{KernelEvent, Second},
    },
    events,
    kernel::Kernel,
};

/// Makes one write. Returns whether the writes after it may be made.
pub(super) fn write(kernel: &mut Kernel, write: Write, results: &Results) -> bool {
    let result = match write {
        Write::Answer { key, answer, marks, expires_ns } => {
            kernel.answers.answer(key, answer, marks, expires_ns)
        }
        Write::AnswerOnce { key, once } => kernel.answers.answer_once(key, once),
        Write::ResetOnce { key, once } => {
            let (flow, place) = (key.flow, (key.flow.server, key.flow.server_port));
            let is_certified = kernel
                .resets
                .as_ref()
                .is_some_and(|it| it.is_for(flow.netns, place, flow.protocol, key.listener));
            if is_certified { kernel.answers.reset_once(flow, once) } else { Ok(()) }
        }
        Write::ForgetHeld(key) => {
            // The packet is then held for the other reason once its client sends it again.
            is_ok(kernel.answers.forget_held(&key));
            Ok(())
        }
        Write::NameListener { cookie, tag } => kernel.tags.name_socket(cookie, tag),
        Write::LeaveBanner { key, banner } => {
            if let Err(error) = kernel.banners.leave(&key, &banner) {
                let reason = format!("{error:#}");
                let _ = results.send(Input::BannerNotLeft { key, reason }.into());
            }
            Ok(())
        }
        Write::TakeBackBanner(key) => kernel.banners.take_back(&key).map(|was_unclaimed| {
            let _ = results.send(Input::BannerTakenBack { was_unclaimed }.into());
        }),
        Write::DismissBannerSocket(cookie) => kernel.banners.dismiss(cookie),
        Write::RefuseWaiting(waiting) => {
            // A connection for which there was no room has no entry.
            kernel.users.refuse(&waiting).or_else(|error| {
                log::debug!("{error:#}");
                Ok(())
            })
        }
        Write::StopWaiting(socket) => kernel.users.stop_waiting(socket),
    };
    is_ok(result)
}

/// Writes bans; the scopes of names-sets first.
pub(super) fn write_bans(kernel: &mut Kernel, writes: &BanWrites) -> Result<()> {
    for (names, scopes) in &writes.scopes {
        kernel.bans.set_scopes(*names, *scopes)?;
    }
    kernel.bans.change(&writes.changes, writes.in_use)?;
    if writes.replace_all { kernel.bans.keep_only(&writes.changes) } else { Ok(()) }
}

fn is_ok(result: Result<()>) -> bool {
    result.inspect_err(|error| log::error!("{error:#}")).is_ok()
}

/// A report, with the entries that belong to it.
pub(super) fn event(kernel: &Kernel, record: &Record) -> KernelEvent {
    match events::Event::from_record(record) {
        Some(events::Event::Decision(decision)) => KernelEvent::Decided(decision),
        Some(events::Event::Listening { pid, is_udp, .. }) => KernelEvent::Listening { pid, is_udp },
        Some(events::Event::Executed { pid }) => KernelEvent::Executed { pid },
        Some(events::Event::WaitsForUser { cookie }) => match kernel.users.waiting_one(cookie) {
            Ok(Some(waiting)) => KernelEvent::WaitsForUser(Box::new(waiting)),
            // The kernel released it while no daemon ran.
            Ok(None) => KernelEvent::Outdated,
            Err(error) => outdated(&error),
        },
        Some(events::Event::NoRoomForUser(decision)) => KernelEvent::NoRoomForUser(decision),
        Some(events::Event::CannotWait(decision)) => KernelEvent::CannotWait(decision),
        Some(events::Event::HandshakeHasData(decision)) => {
            match kernel.users.pending_handshake(&decision.flow()) {
                Ok(Some(pending)) => KernelEvent::HandshakeHasData(decision, pending),
                // It was completed meanwhile.
                Ok(None) => KernelEvent::Outdated,
                Err(error) => outdated(&error),
            }
        }
        Some(events::Event::BannerDone { cookie }) => KernelEvent::BannerDone(cookie),
        None => KernelEvent::Unknown { kind: record.kind },
    }
}

fn outdated(error: &anyhow::Error) -> KernelEvent {
    log::error!("{error:#}");
    KernelEvent::Outdated
}

/// The kernel's counters.
pub(super) fn second(kernel: &mut Kernel, turned_away: u64) -> Second {
    let waiting =
        kernel.users.are_attached().then(|| kernel.users.waiting()).transpose().unwrap_or_else(|error| {
            log::error!("{error:#}");
            None
        });
    Second {
        counters: kernel.counters.read(),
        is_any_certificate_void: kernel.resets.as_ref().is_some_and(|resets| resets.are_any_void()),
        namespaces_without_resets: kernel.resets.as_ref().map_or(0, |resets| resets.links().1),
        waiting,
        turned_away,
    }
}
