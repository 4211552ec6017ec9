//! Serves metrics over HTTP/1.1.
//!
//! In: connections. Out: the text to `GET /metrics`, an error to anything else.
//! Invariant: connections are bounded in number and time. A new one is always served, in the place of the oldest that has
//! not asked yet: clients that send nothing, or do not read, keep no other from being served.
//! Source: RFC 9110, RFC 9112.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::Source;
use crate::metrics::OPENMETRICS;

/// Connections at once.
const MOST: usize = 64;

/// How long a client may take to ask.
const ASKING: Duration = Duration::from_secs(5);

/// How long a connection may take in all.
const WHOLE: Duration = Duration::from_secs(40);

/// Bytes of a request's head: the least that the library takes.
const HEAD: usize = 8 << 10;

/// The pause before an address is tried again: an interface may get it later, another process may free it.
const PAUSE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted: descriptors may be used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves for good.
pub(super) async fn serve(address: SocketAddr, source: Source) {
    let listener = listen(address).await;
    log::info!("metrics: http://{address}/metrics");
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.take(stream, &source),
            Err(error) => {
                log::debug!("metrics: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Listens as soon as that is possible: it is no reason not to enforce.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut said: Option<io::ErrorKind> = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                if said.replace(error.kind()) != Some(error.kind()) {
                    let reason = crate::host::reason(&error);
                    log::error!("metrics: cannot listen at {address}: {reason}; it is tried again");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<Connection>);

struct Connection {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    /// Serves one more. If all places are taken, the oldest that has not asked gives way; if all have asked, the oldest.
    fn take(&mut self, stream: TcpStream, source: &Source) {
        self.0.retain(|connection| !connection.task.is_finished());
        if self.0.len() >= MOST {
            let silent = self.0.iter().position(|it| !it.has_asked.load(Ordering::Relaxed));
            self.0.remove(silent.unwrap_or(0)).into_iter().for_each(|gone| gone.task.abort());
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(connection(stream, source.clone(), Arc::clone(&has_asked)));
        self.0.push_back(Connection { task: task.abort_handle(), has_asked });
    }
}

/// One connection: one request and its answer. Its client may do what it likes.
async fn connection(stream: TcpStream, source: Source, has_asked: Arc<AtomicBool>) {
    let answer = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let source = source.clone();
        async move { Ok::<_, Infallible>(answer(&request, &source).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(ASKING).max_buf_size(HEAD).keep_alive(false);
    let served = timeout(WHOLE, server.serve_connection(TokioIo::new(stream), answer)).await;
    if let Ok(Err(error)) = served {
        log::debug!("metrics: {error}");
    }
}

async fn answer(request: &Request<Incoming>, source: &Source) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "not found: the metrics are at /metrics\n".into());
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match source.text().await {
        Ok(text) => of_type(Response::new(text), OPENMETRICS),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    of_type(response, "text/plain; charset=utf-8")
}

fn of_type(mut response: Response<Full<Bytes>>, media_type: &'static str) -> Response<Full<Bytes>> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
