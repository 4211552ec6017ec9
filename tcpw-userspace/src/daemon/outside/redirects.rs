//! Redirect listeners, and the connections that arrive there.
//!
//! In: namespaces and families; connections. Out: cookies of the listeners, numbers of the connections.
//! Invariant: a connection is kept until it is passed on or ended.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    net::TcpStream,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Results, TaskResult};
use crate::{
    core::{Input, input::Arrived},
    kernel::Kernel,
    redirect::{BoundSocket as Socket, Family, RedirectListener, RedirectedConnection, abort},
};

/// Most connections in the channel to the loop.
const QUEUE: usize = 64;

/// A socket for a redirect listener, or why there is none.
pub(in crate::daemon) struct Bound {
    netns: u64,
    family: Family,
    socket: Result<Socket, String>,
}

/// The listeners and the connections.
pub(super) struct Redirects {
    listeners: BTreeMap<(u64, Family), RedirectListener>,
    connections: HashMap<u64, TcpStream>,
    last: u64,
    /// Connections ended because the channel was full.
    turned_away: Arc<AtomicU64>,
    queue: mpsc::Sender<RedirectedConnection>,
    results: Results,
}

impl Redirects {
    pub(super) fn new(results: Results) -> Self {
        let (queue, mut arrivals) = mpsc::channel(QUEUE);
        let sender = results.clone();
        tokio::spawn(async move {
            while let Some(arrival) = arrivals.recv().await {
                let _ = sender.send(TaskResult::Redirected(arrival));
            }
        });
        Self {
            listeners: BTreeMap::new(),
            connections: HashMap::new(),
            last: 0,
            turned_away: Arc::default(),
            queue,
            results,
        }
    }

    /// Begins to make a listener.
    pub(super) fn open(&self, netns: u64, family: Family, namespace: Option<&File>) {
        let results = self.results.clone();
        let file = match namespace.map(File::try_clone) {
            Some(Ok(file)) => file,
            Some(Err(error)) => return failed(&results, netns, family, error.to_string()),
            None => return failed(&results, netns, family, "its namespace is gone".into()),
        };
        drop(spawn_blocking(move || {
            let socket = RedirectListener::bind(&file, netns, family).map_err(|error| error.to_string());
            let _ = results.send(TaskResult::RedirectBound(Bound { netns, family, socket }));
        }));
    }

    /// The socket was made: it listens from here on.
    pub(super) fn listen(&mut self, bound: Bound, kernel: &mut Kernel) -> Input {
        let Bound { netns, family, socket } = bound;
        let made = socket.and_then(|socket| {
            self.try_listen(socket, (netns, family), kernel).map_err(|error| format!("{error:#}"))
        });
        Input::RedirectListener { netns, family, made }
    }

    fn try_listen(
        &mut self,
        bound: Socket,
        (netns, family): (u64, Family),
        kernel: &mut Kernel,
    ) -> anyhow::Result<u64> {
        kernel.tags.mark_redirect_listener(bound.as_fd(), netns)?;
        let socket = bound.as_fd().try_clone_to_owned()?;
        let listener = bound.listen(self.queue.clone(), Arc::clone(&self.turned_away))?;
        kernel.redirect.add(socket.as_fd(), netns, family.number())?;
        let cookie = listener.cookie();
        self.listeners.insert((netns, family), listener);
        Ok(cookie)
    }

    /// Closes one.
    pub(super) fn close(&mut self, netns: u64, family: Family) {
        self.listeners.remove(&(netns, family));
    }

    /// A connection has arrived.
    pub(super) fn arrived(&mut self, arrival: RedirectedConnection) -> Input {
        let RedirectedConnection { netns, stream, client, server } = arrival;
        self.last += 1;
        self.connections.insert(self.last, stream);
        Input::Arrived(Arrived { connection: self.last, netns, client, server })
    }

    /// Passes a connection on.
    pub(super) fn take(&mut self, connection: u64) -> Option<TcpStream> {
        self.connections.remove(&connection)
    }

    /// Ends a connection with a reset.
    pub(super) fn abort(&mut self, connection: u64) {
        if let Some(stream) = self.take(connection) {
            abort(stream);
        }
    }

    /// Connections ended because the channel to the loop was full.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

fn failed(results: &Results, netns: u64, family: Family, reason: String) {
    let _ = results.send(Input::RedirectListener { netns, family, made: Err(reason) }.into());
}
