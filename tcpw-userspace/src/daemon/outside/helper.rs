//! Starts the helper and talks to it.
//!
//! In: orders of the core. Out: the helper's reports. Files that commands write to are made before it starts.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc;

use super::{Results, redirects::Redirects};
use crate::{
    core::{Input, action::HelperAction, input::HelperSaid},
    effects::{
        Settings, default_user,
        files::Files,
        process::{Heard, Process, What},
        wire::Charge,
    },
    host::Starter,
};

/// Processes assumed for one command in the limit on all processes of the user.
const PROCESSES_EACH: u64 = 16;

/// The helper, if there is one.
pub(super) struct Helper {
    starter: Arc<Starter>,
    settings: Settings,
    user: String,
    files: Files,
    process: Option<Process>,
    heard: mpsc::Sender<Heard>,
    results: Results,
}

impl Helper {
    pub(super) fn new(starter: Arc<Starter>, settings: Settings, results: Results) -> Self {
        let user = settings.user.clone().unwrap_or_else(default_user);
        let (heard, mut said) = mpsc::channel::<Heard>(64);
        let sender = results.clone();
        tokio::spawn(async move {
            while let Some(Heard { helper: number, what }) = said.recv().await {
                let said = match what {
                    What::Said(report) => HelperSaid::Report(report),
                    What::GotConnection(id) => HelperSaid::GotConnection { id },
                    What::Gone(why) => HelperSaid::Gone(why),
                };
                let _ = sender.send(Input::Helper { number, said }.into());
            }
        });
        Self { files: Files::new(&user), starter, settings, user, process: None, heard, results }
    }

    /// Carries an order out.
    pub(super) fn act(&mut self, action: HelperAction, redirects: &mut Redirects) {
        match action {
            HelperAction::Start(number) => self.start(number),
            HelperAction::End => {
                if let Some(process) = self.process.take() {
                    process.end(&self.starter);
                }
            }
            HelperAction::Files(files) => self.want(files),
            HelperAction::Run(order) => {
                let Some(process) = &self.process else { return };
                if let Err(error) = process.order(&order) {
                    self.not_started(process.number, order.id, &error);
                }
            }
            HelperAction::Serve { connection, order } => {
                let stream = redirects.take(connection);
                let Some(process) = &self.process else { return };
                let given = match stream {
                    Some(stream) => process.serve(&order, stream.into()),
                    None => Err(anyhow::anyhow!("its connection is closed")),
                };
                if let Err(error) = given {
                    self.not_started(process.number, order.id, &error);
                }
            }
        }
    }

    fn start(&mut self, number: u64) {
        let charge = Charge {
            user: self.user.clone(),
            allow_set_uid: self.settings.allow_set_uid,
            writable: self.settings.writable.clone(),
            mailer_group: self.settings.mailer_group,
            files: self.files.wanted().to_vec(),
            // As many commands again may serve a connection.
            processes: u64::from(self.settings.at_once) * 2 * PROCESSES_EACH,
            time_limit_s: self.settings.time_limit.as_secs(),
        };
        match Process::start(&self.starter, number, &charge, self.heard.clone()) {
            Ok(process) => self.process = Some(process),
            Err(error) => {
                let said = HelperSaid::NotStarted(format!("{error:#}"));
                let _ = self.results.send(Input::Helper { number, said }.into());
            }
        }
    }

    fn not_started(&self, number: u64, id: u64, error: &anyhow::Error) {
        let report = crate::effects::wire::Report::NotStarted { id, reason: format!("{error:#}") };
        let _ = self.results.send(Input::Helper { number, said: HelperSaid::Report(report) }.into());
    }

    /// Sets the files that commands name.
    fn want(&mut self, files: Vec<PathBuf>) {
        let are_others = self.files.want(files);
        // One that is started later may write to them.
        if (self.files.keep() || are_others) && self.process.is_some() {
            let _ = self.results.send(Input::CommandFilesMade.into());
        }
    }

    /// Makes files that are gone; whether there were any.
    pub(super) fn keep_files(&mut self) -> bool {
        self.files.keep()
    }
}
