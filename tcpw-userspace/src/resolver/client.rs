//! The process that looks names up, as the daemon sees it.
//!
//! In: questions. Out: for each an answer, through a function of the caller.
//! Invariant: nothing waits for the process but tasks of this file; a question is answered once.

use std::{collections::HashMap, io, os::unix::net::UnixStream as Pair, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::wire::{Answered, Asked, Charge, Ready};
use crate::{
    effects::{FALLBACK, wire},
    host::{NAME_LOOKUPS, Starter, reason},
    resolve::{Found, Question},
};

/// The user it becomes, if there is such a user; else [`FALLBACK`].
const USER: &str = "tcpw-resolver";

/// How long it may take to give up root.
const PATIENCE: Duration = Duration::from_secs(10);

/// After it ended: the first pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Asks the process, and starts it, also again.
#[derive(Debug)]
pub struct ResolverClient {
    questions: UnboundedSender<Question>,
}

impl ResolverClient {
    /// Starts the process. Each answer goes to `tell`; `None`: it could not be looked up.
    pub fn start(
        starter: Arc<Starter>,
        tell: impl Fn(Question, Option<Found>) + Send + Sync + 'static,
    ) -> Self {
        // Bounded by the number of look-ups at once.
        let (questions, queue) = mpsc::unbounded_channel();
        tokio::spawn(keep(starter, queue, tell));
        Self { questions }
    }

    /// Asks.
    pub fn look_up(&self, question: Question) {
        // The task lives as long as this.
        drop(self.questions.send(question));
    }
}

/// Starts one process after the other, until there is nobody to ask.
async fn keep(
    starter: Arc<Starter>,
    mut queue: UnboundedReceiver<Question>,
    tell: impl Fn(Question, Option<Found>) + Sync,
) {
    let mut pause = PAUSES[0];
    loop {
        match begin(&starter).await {
            Ok(socket) => {
                let Some(error) = serve(socket, &mut queue, &tell, &mut pause).await else { return };
                log::error!("the process that looks names up is gone ({error}): it is started again");
            }
            Err(error) => log::error!("names cannot be looked up: {error:#}"),
        }
        // What is asked meanwhile is not known.
        let wait = sleep(pause);
        tokio::pin!(wait);
        pause = (pause * 2).min(PAUSES[1]);
        loop {
            tokio::select! {
                () = &mut wait => break,
                question = queue.recv() => match question {
                    Some(question) => tell(question, None),
                    None => return,
                },
            }
        }
    }
}

/// Starts the process, and waits until it has given up root.
async fn begin(starter: &Arc<Starter>) -> Result<UnixStream> {
    let (ours, theirs) = Pair::pair().context("make a socket pair")?;
    let starter = Arc::clone(starter);
    spawn_blocking(move || starter.start_process(NAME_LOOKUPS, &theirs.into())).await??;
    ours.set_nonblocking(true).context("make the socket not block")?;
    let mut socket = UnixStream::from_std(ours).context("watch the socket")?;
    let user = spawn_blocking(user).await?;
    let charge = wire::frame(&Charge { user })?;
    socket.write_all(&charge).await.context("say which user to become")?;
    let ready = timeout(PATIENCE, receive::<Ready>(&mut socket)).await;
    let ready = ready.map_err(|_| anyhow!("the process that looks names up does not answer"))?;
    ready.context("start the process that looks names up")?.map_err(|why| anyhow!(why))?;
    Ok(socket)
}

fn user() -> String {
    let is_there = matches!(nix::unistd::User::from_name(USER), Ok(Some(_)));
    if is_there { USER } else { FALLBACK }.to_owned()
}

/// Asks and tells until the process is gone: why. `None`: nobody asks any more.
async fn serve(
    socket: UnixStream,
    queue: &mut UnboundedReceiver<Question>,
    tell: &(impl Fn(Question, Option<Found>) + Sync),
    pause: &mut Duration,
) -> Option<String> {
    let (reader, mut writer) = socket.into_split();
    let (heard, mut answers) = mpsc::channel(64);
    let reading = tokio::spawn(read(reader, heard));
    let mut open: HashMap<u64, Question> = HashMap::new();
    let mut last_id = 0;
    let why = loop {
        tokio::select! {
            question = queue.recv() => {
                let question = match question {
                    Some(question) => question,
                    None => break None,
                };
                last_id += 1;
                let sent = ask(&mut writer, last_id, &question).await;
                open.insert(last_id, question);
                if let Err(error) = sent {
                    break Some(reason(&error));
                }
            }
            answer = answers.recv() => match answer {
                Some(Ok(answered)) => {
                    let answered: Answered = answered;
                    *pause = PAUSES[0];
                    if let Some(question) = open.remove(&answered.id) {
                        let found = answered.found(&question);
                        tell(question, found);
                    }
                }
                Some(Err(error)) => break Some(reason(&error)),
                None => break Some("it ended".into()),
            },
        }
    };
    reading.abort();
    for (_, question) in open {
        tell(question, None);
    }
    why
}

async fn ask(socket: &mut OwnedWriteHalf, id: u64, question: &Question) -> io::Result<()> {
    socket.write_all(&wire::frame(&Asked::new(id, question))?).await
}

async fn read(mut socket: OwnedReadHalf, heard: mpsc::Sender<io::Result<Answered>>) {
    loop {
        let answered = receive(&mut socket).await;
        let is_last = answered.is_err();
        if heard.send(answered).await.is_err() || is_last {
            return;
        }
    }
}

async fn receive<M: DeserializeOwned>(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let mut body = vec![0; wire::body_length(head)?];
    socket.read_exact(&mut body).await?;
    wire::message(&body)
}
