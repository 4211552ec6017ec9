//! The control socket: a daemon that answers, whatever its clients do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tcpw_userspace::control::{
    AskError, Lock, LockError, Request, Response, Server, TableStatus, TablesStatus, ask, socket_path,
};

const SOON: Duration = Duration::from_secs(2);

/// A run directory of its own, removed at the end.
struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tcpw-control-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn status() -> tcpw_userspace::control::Status {
    use tcpw_userspace::{
        config::Mode,
        control::{ConfirmStatus, ListenerStatus, LogStatus, Status, TagState},
    };
    let table = |path: &str| TableStatus { path: path.into(), rules: 2, errors: 0, sha256: String::new() };
    Status {
        version: "0.1.0".into(),
        pid: 7,
        mode: Mode::Audit,
        enforcing_since: 1,
        generation: 3,
        applied_at: 2,
        tables: TablesStatus { allow: table("/etc/hosts.allow"), deny: table("/etc/hosts.deny") },
        problem: Some("the disk is full".into()),
        follow_files: false,
        confirm: Some(ConfirmStatus { before: 2, until: 3 }),
        cgroup: "/sys/fs/cgroup".into(),
        pinned: true,
        kernel_not_asked: None,
        early_drop: [].into(),
        // More than a socket buffer holds.
        listeners: vec![
            ListenerStatus {
                pid: 1,
                ident: "sshd".into(),
                names: vec!["ssh".into(), "sshd".into()],
                netns: 1,
                local: "[::]:22".parse().unwrap(),
                protocol: "tcp".into(),
                proven_by: vec!["root".into()],
                unproven: [].into(),
                not_opened: Vec::new(),
                found_by: "scan".into(),
                policy: "2 rules".into(),
                on_deny: "reset".into(),
                tag: TagState::Written,
            };
            5000
        ],
        counters: [("refused".to_owned(), u64::MAX)].into(),
        log: LogStatus { written: 1, failed: 0, sinks: Vec::new() },
    }
}

/// Answers requests as the daemon's loop does, until told to stop.
async fn serve(mut server: Server) {
    loop {
        let (request, reply) = server.next().await;
        match request {
            Request::Status => reply.send(Response::Status(Box::new(status()))),
            Request::Detach
            | Request::Match(_)
            | Request::Recent(_)
            | Request::Metrics
            | Request::Apply(_)
            | Request::Confirm
            | Request::Rollback
            | Request::Ban(_)
            | Request::Unban(_)
            | Request::Bans { .. } => drop(reply),
            Request::Stop => {
                reply.send(Response::Done(vec!["stopped".into()]));
                return server.close().await;
            }
        }
    }
}

async fn asked(run_dir: &Path, request: Request) -> Result<Response, AskError> {
    let run_dir = run_dir.to_path_buf();
    tokio::task::spawn_blocking(move || ask(&run_dir, request, SOON)).await.unwrap()
}

fn raw(run_dir: &Path) -> UnixStream {
    UnixStream::connect(socket_path(run_dir)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_and_the_last_answer_arrives() {
    let dir = RunDir::new("answers");
    let server = Server::bind(&dir.0, None).unwrap();
    assert_eq!(fs::metadata(socket_path(&dir.0)).unwrap().permissions().mode() & 0o777, 0o600);
    let serving = tokio::spawn(serve(server));
    assert_eq!(asked(&dir.0, Request::Status).await.unwrap(), Response::Status(Box::new(status())));
    let Response::Failed(message) = asked(&dir.0, Request::Detach).await.unwrap() else { panic!() };
    assert_eq!(message, "the daemon is ending");
    assert_eq!(asked(&dir.0, Request::Stop).await.unwrap(), Response::Done(vec!["stopped".into()]));
    serving.await.unwrap();
    assert!(!socket_path(&dir.0).exists());
    assert!(matches!(asked(&dir.0, Request::Status).await, Err(AskError::NotRunning)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impolite_clients_delay_nobody() {
    let dir = RunDir::new("impolite");
    let serving = tokio::spawn(serve(Server::bind(&dir.0, None).unwrap()));
    let run_dir = dir.0.clone();
    let impolite = tokio::task::spawn_blocking(move || {
        // Silent; half a line; gone before the answer; never reads a long answer.
        let silent = raw(&run_dir);
        let mut half = raw(&run_dir);
        half.write_all(b"{\"request\":").unwrap();
        raw(&run_dir).write_all(b"{\"request\":\"status\"}\n").unwrap();
        let mut deaf = raw(&run_dir);
        deaf.write_all(b"{\"request\":\"status\"}\n").unwrap();

        let mut junk = raw(&run_dir);
        junk.write_all(b"\xff\0{]\nhello\n").unwrap();
        let mut lines = BufReader::new(junk).lines();
        for _ in 0..2 {
            assert!(lines.next().unwrap().unwrap().contains("not a request"));
        }
        let mut endless = raw(&run_dir);
        // The daemon closes before all of it is taken.
        let _ = endless.write_all(&vec![b'x'; 4 << 20]);
        let mut answer = String::new();
        let _ = endless.read_to_string(&mut answer);
        (silent, half, deaf)
    });
    let held = impolite.await.unwrap();
    let begin = Instant::now();
    assert!(matches!(asked(&dir.0, Request::Status).await, Ok(Response::Status(_))));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    drop(held);
    asked(&dir.0, Request::Stop).await.unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_silent_clients_are_thrown_out_in_time() {
    let dir = RunDir::new("silent");
    let serving = tokio::spawn(serve(Server::bind(&dir.0, None).unwrap()));
    let silent: Vec<_> = (0..40).map(|_| raw(&dir.0)).collect();
    let run_dir = dir.0.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&run_dir, Request::Status, Duration::from_secs(20)))
        .await
        .unwrap();
    assert!(matches!(answer, Ok(Response::Status(_))), "{answer:?}");
    drop(silent);
    asked(&dir.0, Request::Stop).await.unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_hangs_is_given_up() {
    let dir = RunDir::new("hangs");
    let server = Server::bind(&dir.0, None).unwrap();
    let begin = Instant::now();
    let answer = asked(&dir.0, Request::Status).await;
    assert!(matches!(&answer, Err(AskError::NoAnswer(_))), "{answer:?}");
    assert!(begin.elapsed() < SOON + Duration::from_secs(1));
    // The socket of a daemon that was killed does not stop the next one.
    std::mem::forget(server);
    let serving = tokio::spawn(serve(Server::bind(&dir.0, None).unwrap()));
    assert!(asked(&dir.0, Request::Stop).await.is_ok());
    serving.await.unwrap();
}

#[test]
fn one_daemon_per_run_directory() {
    let dir = RunDir::new("lock");
    let run_dir = dir.0.join("made/on/the/way");
    let lock = Lock::take(&run_dir).unwrap();
    match Lock::take(&run_dir) {
        Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("two locks"),
    }
    drop(lock);
    drop(Lock::take(&run_dir).unwrap());
    // The file stays behind; it is the lock that counts.
    assert!(run_dir.join("lock").exists());
    fs::write(dir.0.join("file"), "").unwrap();
    assert!(matches!(Lock::take(&dir.0.join("file")), Err(LockError::Unusable { .. })));
}
