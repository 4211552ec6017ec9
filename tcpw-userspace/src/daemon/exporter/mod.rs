//! Exports metrics: over HTTP, and to a file.
//!
//! In: settings, and the queue of requests to the loop. Out: text for Prometheus.
//! Invariant: the loop never waits for a client or a disk: it is asked through the queue that the control socket uses, at
//! most once in [`FRESH`], however many clients ask.

mod http;
mod textfile;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::{sync::Mutex, task::JoinHandle};

use crate::{
    config::MetricsSettings,
    control::{Asker, Metrics, Request, answer_in},
    metrics,
};

/// For this long clients get the same text.
const FRESH: Duration = Duration::from_millis(200);

/// The tasks; they end when this is dropped.
pub(super) struct Exporter(Vec<JoinHandle<()>>);

impl Exporter {
    /// Starts those that the settings want.
    pub(super) fn start(settings: &MetricsSettings, asker: &Asker) -> Self {
        let mut tasks = Vec::new();
        if let Some(address) = settings.listen {
            warn_of(address);
            tasks.push(tokio::spawn(http::serve(address, Source::new(asker.clone()))));
        }
        if let Some(path) = settings.textfile.clone() {
            tasks.push(tokio::spawn(textfile::write_always(path, asker.clone())));
        }
        Self(tasks)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// There is no authentication.
fn warn_of(address: SocketAddr) {
    if !address.ip().is_loopback() {
        log::warn!(
            "metrics: whatever reaches {address} can read them, and the names of services in them: limit that with a \
             rule for \"tcpw\" in the tables, or listen on 127.0.0.1"
        );
    }
}

/// Asks the loop.
async fn ask(asker: &Asker) -> Result<Metrics, String> {
    answer_in::<Box<Metrics>>(asker.ask(Request::Metrics).await).map(|metrics| *metrics)
}

/// The text that clients get.
#[derive(Clone)]
struct Source {
    asker: Asker,
    /// Those that ask meanwhile wait for the one that is asking.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Source {
    fn new(asker: Asker) -> Self {
        Self { asker, last: Arc::default() }
    }

    /// The text; or why there is none.
    async fn text(&self) -> Result<Full<Bytes>, String> {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(Full::new(text.clone()));
        }
        let text = Bytes::from(metrics::openmetrics(ask(&self.asker).await?));
        *last = Some((Instant::now(), text.clone()));
        Ok(Full::new(text))
    }
}
