//! The helper process, as the daemon sees it.
//!
//! In: a charge, orders. Out: its reports, and that it is gone.
//! Invariant: nothing here waits for the helper but [`Process::end`], after SIGKILL.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as Pair},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::wire::{self, Charge, Order, Report};

/// The subcommand that is the helper.
pub const SUBCOMMAND: &str = "effects-helper";

/// What was heard of a helper.
#[derive(Debug)]
pub struct Heard {
    /// Which: helpers are numbered.
    pub(super) helper: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Said(Report),
    /// It closed its end, or spoke nonsense: why, if it did not just end.
    Gone(Option<String>),
}

/// A running helper.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u64,
    child: Child,
    orders: mpsc::UnboundedSender<Vec<u8>>,
}

impl Process {
    /// Starts a helper, which reports to `heard`. To be called by the main thread: the helper ends
    /// with the thread that started it.
    pub(super) fn start(number: u64, charge: &Charge, heard: mpsc::Sender<Heard>) -> Result<Self> {
        let (ours, theirs) = Pair::pair().context("make a socket pair")?;
        let child = Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the helper")?;
        ours.set_nonblocking(true).context("make the helper's socket not block")?;
        let (reader, writer) = UnixStream::from_std(ours).context("watch the helper's socket")?.into_split();
        // Bounded by the number of commands that run at once.
        let (orders, queue) = mpsc::unbounded_channel();
        drop(orders.send(wire::frame(charge)?));
        tokio::spawn(write(writer, queue));
        tokio::spawn(read(number, reader, heard));
        Ok(Self { number, child, orders })
    }

    /// Hands over an order.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn order(&self, order: &Order) -> Result<()> {
        // If it is gone, that is heard soon.
        drop(self.orders.send(wire::frame(order)?));
        Ok(())
    }

    /// Ends it, and with it its commands.
    pub(super) fn end(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn write(mut socket: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        if socket.write_all(&frame).await.is_err() {
            // The reader hears it too.
            return;
        }
    }
}

async fn read(helper: u64, mut socket: OwnedReadHalf, heard: mpsc::Sender<Heard>) {
    loop {
        let what = match receive(&mut socket).await {
            Ok(report) => What::Said(report),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => What::Gone(None),
            Err(error) => What::Gone(Some(crate::source::reason(&error))),
        };
        let is_last = matches!(what, What::Gone(_));
        if heard.send(Heard { helper, what }).await.is_err() || is_last {
            return;
        }
    }
}

async fn receive(socket: &mut OwnedReadHalf) -> std::io::Result<Report> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let mut body = vec![0; wire::body_length(head)?];
    socket.read_exact(&mut body).await?;
    wire::message(&body)
}
