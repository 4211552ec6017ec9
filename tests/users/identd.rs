//! An ident server that says what the test wants, true or not.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tcpw_tests::Netns;

/// What it does with a query.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// `%p` stands for the ports as they were asked for.
    Says(Vec<u8>),
    /// The same, but later.
    Slowly(Duration, Vec<u8>),
    /// Nothing, and the connection stays open.
    Silent,
    /// Hangs up.
    HangsUp,
}

impl Manner {
    /// A reply as it should be.
    pub(crate) fn user(user: &[u8]) -> Self {
        Self::Says([b"%p : USERID : UNIX : ", user, b"\r\n"].concat())
    }
}

/// A running server, on port 113 of both families; it ends with the test's process.
pub(crate) struct Identd {
    state: Arc<State>,
}

struct State {
    default: Mutex<Manner>,
    of_port: Mutex<HashMap<u16, Manner>>,
    queries: AtomicUsize,
    open: AtomicUsize,
}

impl Identd {
    pub(crate) fn start(netns: &Netns, default: Manner) -> Result<Self> {
        let listener =
            netns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 113)).context("listen at 113"))?;
        let state = Arc::new(State {
            default: Mutex::new(default),
            of_port: Mutex::default(),
            queries: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&of_thread);
                thread::spawn(move || {
                    state.open.fetch_add(1, Ordering::SeqCst);
                    // A client that goes away early is no failure here.
                    drop(state.serve(client));
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { state })
    }

    /// What it does from here on.
    pub(crate) fn becomes(&self, manner: Manner) {
        *self.state.default.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// What it does with a query about a client's port.
    pub(crate) fn about(&self, client_port: u16, manner: Manner) {
        self.state.of_port.lock().unwrap_or_else(PoisonError::into_inner).insert(client_port, manner);
    }

    /// How many queries came.
    pub(crate) fn queries(&self) -> usize {
        self.state.queries.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut query = String::new();
        reader.read_line(&mut query)?;
        self.queries.fetch_add(1, Ordering::SeqCst);
        let port = query.split(',').next().and_then(|port| port.trim().parse().ok()).unwrap_or(0);
        let manner = self.of_port.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned();
        let manner =
            manner.unwrap_or_else(|| self.default.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let reply = match manner {
            Manner::Says(reply) => reply,
            Manner::Slowly(time, reply) => {
                thread::sleep(time);
                reply
            }
            Manner::Silent => {
                // Until the client gives up.
                reader.read_line(&mut query)?;
                return Ok(());
            }
            Manner::HangsUp => return Ok(()),
        };
        let ports = query.trim().as_bytes();
        let at = reply.windows(2).position(|two| two == b"%p");
        match at {
            Some(at) => client.write_all(&[&reply[..at], ports, &reply[at + 2..]].concat())?,
            None => client.write_all(&reply)?,
        }
        Ok(())
    }
}
