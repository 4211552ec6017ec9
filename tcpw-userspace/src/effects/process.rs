//! The helper process, as the daemon sees it.
//!
//! In: a charge, orders. Out: its reports, and that it is gone.
//! Invariant: nothing here waits for the helper except [`Process::end`], after SIGKILL.

use std::{
    io::IoSlice,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream as Pair,
    },
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::wire::{self, Charge, Order, Report};
use crate::host::{COMMANDS, Starter};

/// A report of a helper, or its end.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Which: helpers are numbered.
    pub(crate) helper: u64,
    pub(crate) what: What,
}

/// What a helper reported, or what became of its socket.
#[derive(Debug)]
pub(crate) enum What {
    Said(Report),
    /// The connection of the order with this id was written to its socket.
    GotConnection(u64),
    /// It closed its socket, or its message was not understood: why, unless it just exited.
    Gone(Option<String>),
}

/// A frame; and the connection that goes with it, with the id of its order.
type Sent = (Vec<u8>, Option<(u64, OwnedFd)>);

/// A running helper.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) number: u64,
    pid: u32,
    orders: mpsc::UnboundedSender<Sent>,
}

impl Process {
    /// Starts a helper, whose reports go to `heard`.
    pub(crate) fn start(
        starter: &Starter,
        number: u64,
        charge: &Charge,
        heard: mpsc::Sender<Heard>,
    ) -> Result<Self> {
        let (ours, theirs) = Pair::pair().context("make a socket pair")?;
        let pid = starter.start_process(COMMANDS, &theirs.into())?;
        ours.set_nonblocking(true).context("make the helper's socket not block")?;
        let (reader, writer) = UnixStream::from_std(ours).context("watch the helper's socket")?.into_split();
        // Bounded by the number of commands that run at once.
        let (orders, queue) = mpsc::unbounded_channel();
        drop(orders.send((wire::frame(charge)?, None)));
        tokio::spawn(write(number, writer, queue, heard.clone()));
        tokio::spawn(read(number, reader, heard));
        Ok(Self { number, pid, orders })
    }

    /// Sends an order.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) fn order(&self, order: &Order) -> Result<()> {
        // If it is gone, the reader notices.
        drop(self.orders.send((wire::frame(order)?, None)));
        Ok(())
    }

    /// As [`order`](Self::order), with the connection the order is about.
    pub(crate) fn serve(&self, order: &Order, connection: OwnedFd) -> Result<()> {
        drop(self.orders.send((wire::frame(order)?, Some((order.id, connection)))));
        Ok(())
    }

    /// Ends it, and with it its commands.
    pub(crate) fn end(self, starter: &Starter) {
        starter.end(self.pid);
    }
}

async fn write(
    helper: u64,
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Sent>,
    heard: mpsc::Sender<Heard>,
) {
    while let Some((frame, connection)) = queue.recv().await {
        let sent = match &connection {
            Some((_, connection)) => write_with(&socket, &frame, connection).await,
            None => Ok(0),
        };
        // The rest of the frame.
        let written = match sent.map(|sent| frame.get(sent..).unwrap_or_default()) {
            Ok(rest) => socket.write_all(rest).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            // The reader notices it too.
            return;
        }
        if let Some((id, _)) = connection
            && heard.send(Heard { helper, what: What::GotConnection(id) }).await.is_err()
        {
            return;
        }
    }
}

/// Writes the first bytes of a frame, and a descriptor with them: how many bytes.
async fn write_with(socket: &OwnedWriteHalf, frame: &[u8], descriptor: &OwnedFd) -> std::io::Result<usize> {
    let stream: &UnixStream = socket.as_ref();
    let send = || {
        let descriptors = [descriptor.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        Ok(sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(frame)],
            &control,
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            None,
        )?)
    };
    stream.async_io(Interest::WRITABLE, send).await
}

async fn read(helper: u64, mut socket: OwnedReadHalf, heard: mpsc::Sender<Heard>) {
    loop {
        let what = match receive(&mut socket).await {
            Ok(report) => What::Said(report),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => What::Gone(None),
            Err(error) => What::Gone(Some(crate::host::reason(&error))),
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
