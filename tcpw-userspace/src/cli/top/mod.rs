//! `tcpw top`: services, clients, rules and refusals of the running daemon, in the terminal.
//!
//! In: what the daemon tells, keys, signals. Out: the screen. Invariant: the terminal is as it was before, however this ends:
//! by a key, an error, a panic, a signal.

mod ask;
mod attempt;
mod detail;
mod excerpt;
mod header;
mod keys;
mod look;
mod model;
mod picture;
mod rows;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{self, Receiver, Sender, SyncSender},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use nix::sys::signal::{SigSet, Signal, raise};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{Event, KeyEvent, read},
};

use super::{DaemonArgs, Failure, Outcome};
use crate::control::AskError;
use ask::{Asker, ask_on};
use look::Look;
use model::{Model, Wish};
use picture::Reading;

/// Shortest and longest interval, in seconds.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.2..=60.0;

/// Messages that wait until the screen is drawn.
const WAITING: usize = 16;

/// Flags of `tcpw top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Ask the daemon every so many seconds, 0.2 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| INTERVALS.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write seconds, 0.2 to 60".into())
}

/// What the main thread hears.
enum Message {
    Told(Result<Reading, AskError>),
    Key(KeyEvent),
    /// The window has another size.
    Resized,
    Signal(Signal),
    /// There are no more keys.
    Broken(io::Error),
}

/// Shows it until it is quit.
///
/// # Errors
/// There is no terminal, no daemon runs, or it does not answer at first.
pub fn run(arguments: &TopArgs) -> Result<Outcome, Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Usage("top needs a terminal: use \"tcpw status\" or \"tcpw events\"".into()));
    }
    let mut asker = Asker::new(arguments.daemon_place.run_dir()?);
    let mut model = Model::new(asker.ask()?);

    let signals = ending_signals();
    // Before there are threads: they inherit it.
    signals.thread_block().map_err(io::Error::from)?;
    let (sender, messages) = mpsc::sync_channel(WAITING);
    let (pause, pauses) = mpsc::channel();
    // From here on it is restored, also by a panic.
    let terminal = ratatui::try_init();
    let ended = terminal.and_then(|mut terminal| {
        start(asker, arguments.interval, sender, pauses, signals)?;
        show(&mut terminal, &mut model, &messages, &pause)
    });
    let restored = ratatui::try_restore();
    let ended = ended?;
    restored?;
    if let Some(signal) = ended {
        // As if it had not been caught.
        signals.thread_unblock().map_err(io::Error::from)?;
        raise(signal).map_err(io::Error::from)?;
    }
    Ok(Outcome::Fine)
}

/// The signals that end it.
fn ending_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect()
}

/// The threads that ask, read keys and wait for signals. They end with the process.
fn start(
    asker: Asker,
    interval: Duration,
    sender: SyncSender<Message>,
    pauses: Receiver<bool>,
    signals: SigSet,
) -> io::Result<()> {
    let asked = sender.clone();
    let named = |name: &str| thread::Builder::new().name(name.into());
    let gone = Gone(sender.clone());
    named("ask").spawn(move || {
        let _told_at_the_end = gone;
        ask_on(asker, interval, &pauses, |told| asked.send(Message::Told(told)).is_ok());
    })?;
    let signalled = sender.clone();
    named("signals").spawn(move || {
        if let Ok(signal) = signals.wait() {
            // The main thread is gone only at the end.
            drop(signalled.send(Message::Signal(signal)));
        }
    })?;
    named("keys").spawn(move || {
        loop {
            let message = match read() {
                Ok(Event::Key(key)) => Message::Key(key),
                Ok(Event::Resize(..)) => Message::Resized,
                Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_)) => continue,
                Err(error) => Message::Broken(error),
            };
            let is_last = matches!(message, Message::Broken(_));
            if sender.send(message).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

/// Says that the thread that asks has ended, by a panic perhaps.
struct Gone(SyncSender<Message>);

impl Drop for Gone {
    fn drop(&mut self) {
        // The main thread is gone only at the end.
        drop(self.0.send(Message::Broken(io::Error::other("the daemon is not asked any more"))));
    }
}

/// Draws, and does what is heard, until the end: by a signal perhaps.
fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    messages: &Receiver<Message>,
    pause: &Sender<bool>,
) -> io::Result<Option<Signal>> {
    let look = Look::of_environment();
    loop {
        terminal.draw(|frame| {
            model.page = view::page(frame.area());
            view::draw(frame, model, look);
        })?;
        let Ok(message) = messages.recv() else { return Ok(None) };
        let command = match message {
            Message::Told(Ok(reading)) => {
                model.take(reading);
                continue;
            }
            Message::Told(Err(error)) => {
                model.fail(error.to_string(), now());
                continue;
            }
            Message::Key(key) => keys::command(key, model.is_writing),
            Message::Resized => continue,
            Message::Signal(signal) => return Ok(Some(signal)),
            Message::Broken(error) => return Err(error),
        };
        match command.map_or(Wish::Nothing, |command| model.apply(command)) {
            Wish::Nothing => {}
            Wish::Quit => return Ok(None),
            Wish::Read(path, line) => model.excerpt = Some(excerpt::read(&path, line)),
            // The thread that asks is gone only at the end.
            Wish::Pause(is_paused) => drop(pause.send(is_paused)),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
