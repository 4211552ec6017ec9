//! One request to the exporter, and the samples of its answer.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::Sandbox;

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Connects on the server and sends some bytes.
pub(crate) fn open(sandbox: &Sandbox, bytes: &str) -> Result<TcpStream> {
    open_at(sandbox, super::LOOPBACK, bytes)
}

/// Sends a request from the server itself, and reads the answer to its end.
pub(crate) fn scrape(sandbox: &Sandbox, request: &str) -> Result<Answer> {
    ask(sandbox, super::LOOPBACK, request)
}

pub(crate) fn ask(sandbox: &Sandbox, server: &str, request: &str) -> Result<Answer> {
    let mut stream = open_at(sandbox, server, request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    // A server that has not read all may reset the connection after its answer.
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..length]);
    }
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no head: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.into() })
}

fn open_at(sandbox: &Sandbox, server: &str, bytes: &str) -> Result<TcpStream> {
    sandbox.server().run(|| {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(bytes.as_bytes())?;
        Ok(stream)
    })
}

/// Samples by name with labels.
#[derive(Debug)]
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut all = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
            let before = all.insert(name.to_owned(), value.parse().with_context(|| line.to_owned())?);
            ensure!(before.is_none(), "twice: {line}");
        }
        Ok(Self(all))
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Of all samples of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let is_it = |key: &str| key == name || key.starts_with(&labelled);
        self.0.iter().filter(|(key, _)| is_it(key)).map(|(_, value)| value).sum()
    }

    /// The names, without labels.
    pub(crate) fn names(&self) -> std::collections::BTreeSet<&str> {
        self.0.keys().map(|key| key.split('{').next().unwrap_or(key)).collect()
    }
}
