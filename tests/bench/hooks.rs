//! What the programs in the kernel take for each call, as the kernel itself counts it.
//!
//! A server below the guarded cgroup, on real sockets in a sandbox; connections that are allowed
//! and refused, messages over one that is established, datagrams asked and answered.
//! Source: BPF_ENABLE_STATS of bpf(2), `run_time_ns` and `run_cnt` of bpf_prog_info.

use std::{
    collections::BTreeMap,
    env,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, Listening, Place, Process, SERVER_V4, Sandbox, Tcpw, TinyProgram,
    client::connect,
};

/// Connections that are allowed, and that are refused.
const CONNECTIONS: usize = 2_000;
/// Messages there and back over one connection, and datagrams.
const MESSAGES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 7001;
const MESSAGE: [u8; 64] = [b'x'; 64];

/// Starts this program's server in the guarded cgroup, and waits until it listens.
pub(crate) fn served(sandbox: &Sandbox, port: u16) -> Result<Process> {
    let mut serve = Command::new(env::current_exe().context("find the running program")?);
    serve.args(["serve", &port.to_string()]);
    let mut server = sandbox.spawn(Place::Guarded, serve)?;
    sandbox.wait_listening(&mut server, &[Listening { v6: false, port }])?;
    Ok(server)
}

/// Runs one load after the other; one JSON array: a load and a program each.
pub(crate) fn run() -> Result<String> {
    let _stats = enable_stats(Stats::RunTime).context("ask the kernel to count")?;
    let sandbox = Sandbox::new("bench-hooks")?;
    sandbox.write_tables("tcpw-bench: 1.2.3.\n", "ALL: ALL\n")?;
    let _server = served(&sandbox, PORT)?;
    let others = counted()?;
    // Every packet runs it, too: what a program takes beyond it is its own.
    let _empty = TinyProgram::at_cgroup(sandbox.cgroup())?;
    let _tcpw = Tcpw::start(&sandbox, &["--on-deny", "reset"])?;
    let mut results = Vec::new();
    for (name, load) in LOADS {
        let before = counted()?;
        load(&sandbox).with_context(|| name.to_owned())?;
        for (id, (program, runs, time)) in counted()? {
            let (_, runs_before, time_before) = before.get(&id).cloned().unwrap_or_default();
            let runs = runs - runs_before;
            if runs > 0 && !others.contains_key(&id) {
                let ns = (time - time_before).as_nanos() / u128::from(runs);
                results.push(serde_json::json!({ "load": name, "program": program, "runs": runs, "ns": ns }));
            }
        }
    }
    Ok(serde_json::Value::from(results).to_string())
}

/// Name, calls and time of every program of the kernel, by id.
fn counted() -> Result<BTreeMap<u32, (String, u64, Duration)>> {
    let mut counted = BTreeMap::new();
    for program in loaded_programs() {
        let program = program.context("list the programs")?;
        let name = program.name_as_str().unwrap_or("?").to_owned();
        counted.insert(program.id(), (name, program.run_count(), program.run_time()));
    }
    Ok(counted)
}

type Load = fn(&Sandbox) -> Result<()>;

const LOADS: [(&str, Load); 4] = [
    ("connections, allowed", |sandbox| connections(sandbox, CLIENT_V4, true)),
    ("connections, refused", |sandbox| connections(sandbox, CLIENT_V4_OTHER, false)),
    ("messages", messages),
    ("datagrams", datagrams),
];

const SERVER: SocketAddr = SocketAddr::new(SERVER_V4, PORT);

fn connections(sandbox: &Sandbox, client: IpAddr, is_allowed: bool) -> Result<()> {
    // Past the rates of resets a refused client hears nothing.
    let patience = if is_allowed { PATIENCE } else { Duration::from_millis(2) };
    for _connection in 0..CONNECTIONS {
        let attempt = connect(sandbox.client(), client, SERVER, patience)?;
        ensure!(attempt.is_connected() == is_allowed, "{client}: {attempt:?}");
    }
    Ok(())
}

/// There and back over one connection.
fn messages(sandbox: &Sandbox) -> Result<()> {
    let mut attempt = sandbox.client().run(|| Ok(TcpStream::connect(SERVER)?))?;
    attempt.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut answer = MESSAGE;
    for _message in 0..MESSAGES {
        attempt.write_all(&MESSAGE).context("send")?;
        attempt.read_exact(&mut answer).context("receive")?;
    }
    Ok(())
}

/// Asked and answered.
fn datagrams(sandbox: &Sandbox) -> Result<()> {
    let socket = sandbox.client().run(|| Ok(UdpSocket::bind((CLIENT_V4, 0))?))?;
    socket.set_read_timeout(Some(PATIENCE)).context("set a time limit")?;
    let mut answer = MESSAGE;
    for _datagram in 0..MESSAGES {
        socket.send_to(&MESSAGE, SERVER).context("send a datagram")?;
        socket.recv_from(&mut answer).context("receive a datagram")?;
    }
    Ok(())
}

/// Answers every message and datagram with itself, until it is killed.
pub(crate) fn serve(port: &str) -> Result<String> {
    let port: u16 = port.parse().with_context(|| format!("{port}: no port"))?;
    let datagrams = UdpSocket::bind(("0.0.0.0", port)).context("bind")?;
    let listener = TcpListener::bind(("0.0.0.0", port)).context("listen")?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
            drop(datagrams.send_to(&buffer[..length], peer));
        }
    });
    for stream in listener.incoming() {
        let mut stream = stream.context("accept")?;
        let mut buffer = [0; 2048];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    }
    Ok(String::new())
}
