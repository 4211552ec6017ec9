//! The daemon's end of the control socket.
//!
//! Invariant: the main loop never waits for a client, whatever it does (sends nothing, sends garbage or an
//! endless line, never reads): the loop takes complete requests from one queue and puts answers into another.
//! Each client is served by a task with a time limit; the number of tasks is bounded.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::AtFlags,
    unistd::{Gid, fchown, fchownat, geteuid},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{Request, Response, SOCKET, socket_path};
use crate::host::peer_is_in_group;

/// Clients served at once; more wait in the socket's queue.
const MAX_CLIENTS: u32 = 16;

/// Readers served at once: they leave room for root.
const MAX_READERS: usize = 8;

/// Longest request line, newline included.
const MAX_LINE: u64 = 256 << 10;

/// How long a client may take to send a line or to read its answer.
const CLIENT_TIME: Duration = Duration::from_secs(3);

/// How long the main loop may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// How long [`Server::close`] waits for answers that are not sent yet.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The daemon's end of the control socket.
pub struct Server {
    requests: mpsc::Receiver<(Request, Reply)>,
    asker: Asker,
    accepting: JoinHandle<()>,
    clients: Arc<Semaphore>,
    path: PathBuf,
}

/// Puts requests into the queue of the main loop.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<(Request, Reply)>);

impl Asker {
    /// The main loop's answer to a request.
    pub async fn ask(&self, request: Request) -> Response {
        let (reply, response) = oneshot::channel();
        let asked = async {
            self.0.send((request, Reply(reply))).await.ok()?;
            response.await.ok()
        };
        match timeout(ANSWER_TIME, asked).await {
            Ok(Some(response)) => response,
            Ok(None) => Response::Failed("the daemon is ending".into()),
            Err(_) => Response::Failed(format!("no answer within {} s", ANSWER_TIME.as_secs())),
        }
    }
}

/// The way back for one answer. If it is dropped unused, the client gets an error.
pub struct Reply(oneshot::Sender<Response>);

impl Reply {
    /// Sends the answer; never waits. If the client is gone, the answer is dropped.
    pub fn send(self, response: Response) {
        let _ = self.0.send(response);
    }
}

impl Server {
    /// Listens in `run_dir`; replaces a socket that an earlier daemon left there. The members of the group
    /// `readers` may ask what [only reads](Request::only_reads).
    ///
    /// To be called within a tokio runtime, by the holder of the directory's [`Lock`](super::Lock).
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn bind(run_dir: &Path, readers: Option<u32>) -> io::Result<Self> {
        let dir = crate::host::make_own_dir(run_dir)?;
        let path = socket_path(run_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Until here the umask decides which users may connect; `Peer` decides whose requests are answered.
        let mode = if readers.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        if let Some(group) = readers {
            let group = Some(Gid::from_raw(group));
            fchownat(&dir, SOCKET, None, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            fchown(&dir, None, group)?;
            let dir = File::from(dir);
            // The way to the socket, and to no list of what is there.
            dir.set_permissions(std::fs::Permissions::from_mode(0o710))?;
        }
        let (queue, requests) = mpsc::channel(1);
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
        let asker = Asker(queue);
        let accepting = tokio::spawn(accept(listener, clients.clone(), asker.clone(), readers));
        Ok(Self { requests, asker, accepting, clients, path })
    }

    /// For a task of the daemon that asks the loop as clients do.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// The next request and where its answer goes. Cancel safe.
    pub async fn next(&mut self) -> (Request, Reply) {
        match self.requests.recv().await {
            Some(next) => next,
            // The accepting task is gone: no more requests will come.
            None => std::future::pending().await,
        }
    }

    /// Takes no more requests; waits a moment for the answers that are not sent yet.
    pub async fn close(mut self) {
        self.accepting.abort();
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
        let _ = timeout(CLOSE_TIME, self.clients.acquire_many(MAX_CLIENTS)).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, clients: Arc<Semaphore>, asker: Asker, readers: Option<u32>) {
    let reading = Arc::new(Semaphore::new(MAX_READERS));
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => match Peer::of(&stream, readers) {
                Some(Peer::Root) => {
                    tokio::spawn(serve(stream, Peer::Root, asker.clone(), (permit, None)));
                }
                Some(Peer::Reader) => {
                    if let Ok(reader) = reading.clone().try_acquire_owned() {
                        tokio::spawn(serve(stream, Peer::Reader, asker.clone(), (permit, Some(reader))));
                    }
                }
                None => {}
            },
            Err(error) => {
                // Most likely out of descriptors: clients wait in the socket's queue meanwhile.
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Root, or the daemon's own user.
    Root,
    /// A member of the group of readers.
    Reader,
}

impl Peer {
    /// `None` if it gets no answer.
    fn of(stream: &UnixStream, readers: Option<u32>) -> Option<Self> {
        let user = stream.peer_cred().ok()?.uid();
        if user == 0 || user == geteuid().as_raw() {
            return Some(Self::Root);
        }
        let is_reader = peer_is_in_group(stream.as_fd(), readers?).unwrap_or(false);
        is_reader.then_some(Self::Reader)
    }

    fn may(self, request: &Request) -> bool {
        self == Self::Root || request.only_reads()
    }
}

/// Its place among all clients, and among the readers.
type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Answers one client's lines until it closes the connection, exceeds the time limit or breaks the protocol.
async fn serve(stream: UnixStream, peer: Peer, asker: Asker, _permits: Permits) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MAX_LINE);
        match timeout(CLIENT_TIME, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(length)) if length > 0 => {}
            Ok(_) | Err(_) => return,
        }
        let complete = line.last() == Some(&b'\n');
        let response = match serde_json::from_slice(&line) {
            Ok(request) if complete && peer.may(&request) => asker.ask(request).await,
            Ok(_) if complete => Response::Failed("only root may ask for this".into()),
            Ok(_) => return,
            Err(error) => Response::Failed(format!("not a request: {error}")),
        };
        let Ok(mut text) = serde_json::to_vec(&response) else { return };
        text.push(b'\n');
        match timeout(CLIENT_TIME, writer.write_all(&text)).await {
            Ok(Ok(())) if complete => {}
            Ok(_) | Err(_) => return,
        }
    }
}
