//! The helper: it runs commands, or does not, or dies.
//!
//! In: orders. Out: reports, some time later.

use super::{daemon, history::History, ledger, oracle::result_of};
use crate::{
    core::{Input, action::HelperAction, input::HelperSaid},
    effects::wire::{Order, Report},
    evaluate::request::CommandResult,
};

/// Does what the core says to it.
pub(super) fn acts(history: &mut History, action: HelperAction) {
    match action {
        HelperAction::Start(number) => {
            let said = if history.fails(&[70, number, history.daemons]) {
                HelperSaid::NotStarted("no such user".into())
            } else {
                if let Some(daemon) = &mut history.daemon {
                    daemon.outside.helper = Some(number);
                }
                HelperSaid::Report(Report::Ready { notes: Vec::new() })
            };
            let delay = history.delay_ns(&[71, number]).max(1);
            daemon::result(history, delay, Input::Helper { number, said });
        }
        HelperAction::End => {
            if let Some(daemon) = &mut history.daemon {
                daemon.outside.helper = None;
            }
        }
        HelperAction::Files(_) => {}
        HelperAction::Run(order) => runs(history, &order),
        HelperAction::Serve { connection, order } => {
            ledger::connection_done(history, connection);
            if let Some(number) = history.daemon.as_ref().and_then(|daemon| daemon.outside.helper) {
                let said = HelperSaid::GotConnection { id: order.id };
                daemon::result(history, 0, Input::Helper { number, said });
            }
            runs(history, &order);
        }
    }
}

fn runs(history: &mut History, order: &Order) {
    let Some(number) = history.daemon.as_ref().and_then(|daemon| daemon.outside.helper) else { return };
    let id = order.id;
    let key = [72, history.daemons, id];
    if history.fails(&key) {
        let reason = "no more processes".to_owned();
        let said = HelperSaid::Report(Report::NotStarted { id, reason });
        return daemon::result(history, 1, Input::Helper { number, said });
    }
    if history.plan.conditions.slow_percent > 0 && history.chance(&key).percent(4) {
        // It never ends, nor does the helper say anything of it.
        return;
    }
    let delay = history.delay_ns(&key).max(1);
    let limit = u64::try_from(history.plan.config.effects.time_limit.as_nanos()).unwrap_or(u64::MAX);
    let (delay, timed_out) = if delay > limit { (limit, true) } else { (delay, false) };
    let (status, signal) = match result_of(&order.command) {
        CommandResult::Exited(status) if !timed_out => (Some(status), 0),
        CommandResult::Exited(_) | CommandResult::Killed { .. } => (None, 9),
    };
    if timed_out {
        ledger::command_timed_out(history);
    }
    let exited = Report::Exited { id, status, pid: 7, signal };
    daemon::result(history, delay, Input::Helper { number, said: HelperSaid::Report(exited) });
    let ended = Report::Ended { id, timed_out };
    daemon::result(history, delay + 1000, Input::Helper { number, said: HelperSaid::Report(ended) });
}
