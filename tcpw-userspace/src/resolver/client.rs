//! The process that looks names up, as the daemon sees it.
//!
//! In: questions, and replies of ident servers. Out: for each an answer; that of a question through a function of the
//! caller.
//! Invariant: nothing waits for the process but tasks of this file; a question is answered once, if need be by the next
//! process; one that hangs is ended.

use std::{collections::HashMap, io, os::unix::net::UnixStream as Pair, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::{JoinSet, spawn_blocking},
    time::{interval, sleep, timeout},
};

use super::wire::{Answered, Asked, Charge, Ready, SIGN_OF_LIFE};
use crate::{
    effects::{FALLBACK, wire},
    host::{NAME_LOOKUPS, Starter, reason},
    parse::rule::Text,
    resolve::{Found, Question, ident::IdentReply},
};

/// The user it becomes, if there is such a user; else [`FALLBACK`].
const USER: &str = "tcpw-resolver";

/// How long it may take to give up root.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it gives a sign of life; one that is missing when the next is due ends it.
const SIGN_EVERY: Duration = Duration::from_secs(10);

/// How many processes are asked the same.
const MOST_PROCESSES: u32 = 2;

/// After it ended: the first pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Asks the process, and starts it, also again.
#[derive(Clone, Debug)]
pub struct ResolverClient {
    questions: UnboundedSender<Open>,
}

/// What has no answer yet.
#[derive(Debug)]
enum Open {
    /// A question.
    Question(Question),
    /// A reply, and where its user goes.
    Reply(IdentReply, oneshot::Sender<Option<Text>>),
}

impl Open {
    fn message(&self, id: u64) -> Asked {
        match self {
            Self::Question(question) => Asked::new(id, question),
            Self::Reply(reply, _) => Asked::user(id, reply.clone()),
        }
    }

    /// Whether its answer is still waited for.
    fn is_waited_for(&self) -> bool {
        match self {
            Self::Question(_) => true,
            Self::Reply(_, user) => !user.is_closed(),
        }
    }

    /// Passes the answer on; `None`: there is none.
    fn end(self, answered: Option<Answered>, tell: impl Fn(Question, Option<Found>)) {
        match self {
            Self::Question(question) => {
                let found = answered.and_then(|answered| answered.found(&question));
                tell(question, found);
            }
            // Its answer may not be waited for any more.
            Self::Reply(_, user) => drop(user.send(answered.and_then(Answered::user))),
        }
    }
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
        drop(self.questions.send(Open::Question(question)));
    }

    /// The user that a reply names; `None` also if the process is not there in time.
    pub async fn user(&self, reply: IdentReply, limit: Duration) -> Option<Text> {
        let (tell, told) = oneshot::channel();
        self.questions.send(Open::Reply(reply, tell)).ok()?;
        timeout(limit, told).await.ok()?.ok()?
    }
}

/// Starts one process after the other, until there are no more questions.
async fn keep(
    starter: Arc<Starter>,
    mut queue: UnboundedReceiver<Open>,
    tell: impl Fn(Question, Option<Found>) + Sync,
) {
    let mut pause = PAUSES[0];
    let mut open = OpenQuestions::default();
    loop {
        match begin(&starter).await {
            Ok((pid, socket)) => {
                let ended = serve(socket, &mut queue, &mut open, &tell, &mut pause).await;
                end(&starter, pid).await;
                let Some(why) = ended else { return };
                log::error!("the process that looks names up is gone ({why}): it is started again");
            }
            Err(error) => log::error!("names cannot be looked up, which is tried again: {error:#}"),
        }
        // What is asked meanwhile waits.
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Starts the process, and waits until it has given up root: its process id and socket.
async fn begin(starter: &Arc<Starter>) -> Result<(u32, UnixStream)> {
    let (ours, theirs) = Pair::pair().context("make a socket pair")?;
    ours.set_nonblocking(true).context("make the socket not block")?;
    let (order, theirs) = (Arc::clone(starter), theirs.into());
    let pid = spawn_blocking(move || order.start_process(NAME_LOOKUPS, &theirs)).await??;
    let ready = timeout(PATIENCE, give_up_root(ours)).await;
    match ready.unwrap_or_else(|_| Err(anyhow!("it does not answer"))) {
        Ok(socket) => Ok((pid, socket)),
        Err(error) => {
            end(starter, pid).await;
            Err(error.context("start the process that looks names up"))
        }
    }
}

async fn give_up_root(socket: Pair) -> Result<UnixStream> {
    let mut socket = UnixStream::from_std(socket).context("watch the socket")?;
    let user = spawn_blocking(user).await?;
    socket.write_all(&wire::frame(&Charge { user })?).await.context("say which user to become")?;
    receive::<Ready>(&mut socket).await?.map_err(|why| anyhow!(why))?;
    Ok(socket)
}

async fn end(starter: &Arc<Starter>, pid: u32) {
    let starter = Arc::clone(starter);
    drop(spawn_blocking(move || starter.end(pid)).await);
}

fn user() -> String {
    let is_there = matches!(nix::unistd::User::from_name(USER), Ok(Some(_)));
    if is_there { USER } else { FALLBACK }.to_owned()
}

/// Questions without an answer, by number.
#[derive(Default)]
struct OpenQuestions {
    last: u64,
    /// With how many processes have been asked.
    asked: HashMap<u64, (Open, u32)>,
}

impl OpenQuestions {
    /// Another question: its message.
    fn add(&mut self, open: Open) -> Asked {
        self.last += 1;
        let asked = open.message(self.last);
        self.asked.insert(self.last, (open, 1));
        asked
    }

    /// The messages for the next process; and the questions that [`MOST_PROCESSES`] were asked, which may be what ends
    /// them.
    fn again(&mut self) -> (Vec<Asked>, Vec<Open>) {
        self.asked.retain(|_, (open, _)| open.is_waited_for());
        let given_up = self.asked.extract_if(|_, (_, processes)| *processes >= MOST_PROCESSES);
        let given_up = given_up.map(|(_, (open, _))| open).collect();
        let again = self.asked.iter_mut().map(|(id, (open, processes))| {
            *processes += 1;
            open.message(*id)
        });
        (again.collect(), given_up)
    }
}

/// Asks and tells until the process is gone: why. `None`: there are no more questions.
async fn serve(
    socket: UnixStream,
    queue: &mut UnboundedReceiver<Open>,
    open: &mut OpenQuestions,
    tell: &(impl Fn(Question, Option<Found>) + Sync),
    pause: &mut Duration,
) -> Option<String> {
    let (reader, writer) = socket.into_split();
    // Bounded by the number of open questions.
    let (heard, mut answers) = mpsc::unbounded_channel();
    let (messages, to_write) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(read(reader, heard));
    tasks.spawn(write(writer, to_write));
    let (again, given_up) = open.again();
    given_up.into_iter().for_each(|open| open.end(None, tell));
    // If it is gone, the reader notices.
    let ask = |asked: Asked| drop(messages.send(asked));
    again.into_iter().for_each(ask);
    let mut signs = interval(SIGN_EVERY);
    let mut is_answered = true;
    loop {
        tokio::select! {
            question = queue.recv() => {
                let question = question?;
                if question.is_waited_for() {
                    ask(open.add(question));
                }
            }
            answer = answers.recv() => match answer {
                Some(Ok(Answered { id: SIGN_OF_LIFE, .. })) => is_answered = true,
                Some(Ok(answered)) => {
                    *pause = PAUSES[0];
                    if let Some((open, _)) = open.asked.remove(&answered.id) {
                        open.end(Some(answered), tell);
                    }
                }
                Some(Err(error)) => return Some(reason(&error)),
                None => return Some("it ended".into()),
            },
            _ = signs.tick() => {
                if !std::mem::replace(&mut is_answered, false) {
                    return Some("it does not answer".into());
                }
                ask(Asked::sign_of_life());
            }
        }
    }
}

async fn write(mut socket: OwnedWriteHalf, mut messages: UnboundedReceiver<Asked>) {
    while let Some(message) = messages.recv().await {
        let Ok(frame) = wire::frame(&message) else { return };
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn read(mut socket: OwnedReadHalf, heard: UnboundedSender<io::Result<Answered>>) {
    loop {
        let answered = receive(&mut socket).await;
        let is_last = answered.is_err();
        if heard.send(answered).is_err() || is_last {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_that_ended_two_processes_is_given_up() {
        let mut open = OpenQuestions::default();
        let question = |address: &str| Open::Question(Question::Name(address.parse().unwrap()));
        assert_eq!(open.add(question("10.0.0.1")).id, 1);
        let (again, given_up) = open.again();
        assert_eq!((again.len(), given_up.len()), (1, 0));
        assert_eq!(open.add(question("10.0.0.2")).id, 2);
        let (again, given_up) = open.again();
        assert_eq!(again.iter().map(|asked| asked.id).collect::<Vec<_>>(), [2]);
        assert!(
            matches!(&given_up[..], [Open::Question(Question::Name(address))] if address.to_string() == "10.0.0.1")
        );
    }
}
