//! The daemon's end of the control socket.
//!
//! Invariant: the main loop never waits for a client, whatever it does (sends nothing, sends garbage or an
//! endless line, never reads): the loop takes complete requests from one queue and puts answers into another.
//! Each client is served by a task with a time limit; the number of tasks is bounded.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{Request, Response, socket_path};

/// Clients served at once; more wait in the socket's queue.
const MAX_CLIENTS: u32 = 16;

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
    /// Listens in `run_dir`; replaces a socket that an earlier daemon left there.
    ///
    /// To be called within a tokio runtime, by the holder of the directory's [`Lock`](super::Lock).
    ///
    /// # Errors
    ///
    /// The socket cannot be made.
    pub fn bind(run_dir: &Path) -> io::Result<Self> {
        crate::host::make_own_dir(run_dir)?;
        let path = socket_path(run_dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Until here the umask decides which users may connect; `is_trusted` decides whose requests are answered.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let (queue, requests) = mpsc::channel(1);
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
        let asker = Asker(queue);
        let accepting = tokio::spawn(accept(listener, clients.clone(), asker.clone()));
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

async fn accept(listener: UnixListener, clients: Arc<Semaphore>, asker: Asker) {
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) if is_trusted(&stream) => {
                tokio::spawn(serve(stream, asker.clone(), permit));
            }
            Ok(_) => {}
            Err(error) => {
                // Most likely out of descriptors: clients wait in the socket's queue meanwhile.
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Whether the peer is root or has the daemon's own user id.
fn is_trusted(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

/// Answers one client's lines until it closes the connection, exceeds the time limit or breaks the protocol.
async fn serve(stream: UnixStream, asker: Asker, _permit: OwnedSemaphorePermit) {
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
            Ok(request) if complete => asker.ask(request).await,
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
