//! `tcpw top` in a real terminal, which tmux emulates, of a daemon that real clients come to.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, Place, Requirement, SERVER_V4, Sandbox, Tcpw, Testd, can_run, children,
    client::{connect, knock},
    tcpw_binary, wait_for, wait_until,
};

const ALPHAD: u16 = 7001;
const BETAD: u16 = 7002;
const SOON: Duration = Duration::from_secs(20);
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

/// Attempts of one client.
const MANY: u64 = 2100;

const ALLOW: &str = "alphad: 1.2.3.\n";
const DENY: &str = "# What is not allowed is refused.\nbetad: ALL\nALL: ALL\n";

fn ready() -> bool {
    can_run("top", &[Requirement::Root, Requirement::Program("/usr/bin/tmux")])
}

/// Two daemons, and tcpw.
struct Scene {
    sandbox: Sandbox,
    _daemons: [Testd; 2],
    tcpw: Option<Tcpw>,
}

impl Scene {
    fn start(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables(ALLOW, DENY)?;
        let daemons = [
            Testd::start(&sandbox, "alphad", &format!("0.0.0.0:{ALPHAD}"))?,
            Testd::start(&sandbox, "betad", &format!("0.0.0.0:{BETAD}"))?,
        ];
        let mut scene = Self { sandbox, _daemons: daemons, tcpw: None };
        scene.start_tcpw()?;
        Ok(scene)
    }

    fn start_tcpw(&mut self) -> Result<()> {
        self.tcpw = Some(Tcpw::start(&self.sandbox, &["--log-allowed"])?);
        for port in [ALPHAD, BETAD] {
            Tcpw::wait_listener(&self.sandbox, port, |_| true)?;
        }
        Ok(())
    }

    /// Two clients are allowed at alphad, one is refused there; three are refused at betad.
    fn clients(&self) -> Result<()> {
        for (client, port, is_allowed) in [
            (CLIENT_V4, ALPHAD, true),
            (CLIENT_V4, ALPHAD, true),
            (CLIENT_V4_OTHER, BETAD, false),
            (CLIENT_V4_OTHER, BETAD, false),
            (CLIENT_V4, BETAD, false),
            (CLIENT_V4_OTHER, ALPHAD, false),
        ] {
            // Shorter than the time until a SYN is sent again.
            let time = Duration::from_millis(if is_allowed { 10_000 } else { 300 });
            let attempt = connect(self.sandbox.client(), client, (SERVER_V4, port).into(), time)?;
            ensure!(attempt.is_connected() == is_allowed, "{client} at {port}: {attempt:?}");
        }
        Ok(())
    }

    /// A terminal in which `tcpw top` runs, and after it a command that tells how it ended.
    fn terminal(&self, size: (u16, u16), environment: &str) -> Result<Terminal<'_>> {
        let top = tcpw_binary()?;
        let top = format!(
            "echo before; env {environment} {} top --interval 0.2; echo \"code $?\"; stty -a; exec cat",
            top.display()
        );
        Terminal::start(&self.sandbox, size, &top)
    }
}

/// A terminal that tmux emulates.
struct Terminal<'a> {
    sandbox: &'a Sandbox,
    socket: String,
}

impl<'a> Terminal<'a> {
    fn start(sandbox: &'a Sandbox, (width, height): (u16, u16), shell: &str) -> Result<Self> {
        // Each has its own: one that is ending may still be there.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = sandbox.scratch().join(format!("tmux-{number}")).display().to_string();
        sandbox.mounts().run(own_terminals)?;
        let terminal = Self { sandbox, socket };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, shell])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").env("LC_ALL", "C.UTF-8").args(["-u", "-S", &self.socket]).args(arguments);
        let process = self.sandbox.run(Place::Server, tmux, SOON)?;
        Ok(process.lines().into_iter().map(|line| line.text).collect())
    }

    fn keys(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// What it shows.
    fn screen(&self) -> Result<String> {
        Ok(self.tmux(&["capture-pane", "-p"])?.join("\n"))
    }

    /// What it shows as soon as that is so.
    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = wait_for(what, SOON, || {
            last = self.screen()?;
            Ok(is_so(&last).then(|| last.clone()))
        });
        found.with_context(|| last)
    }

    /// What it shows as soon as each of these is in a line of its own or of others.
    fn wait_texts(&self, texts: &[&str]) -> Result<String> {
        self.wait(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// What it shows as soon as a line has these words one after another.
    fn wait_row(&self, words: &[&str]) -> Result<String> {
        self.wait(&format!("a row {words:?}"), |screen| has_row(screen, words))
    }

    /// The process of `tcpw top`.
    fn top(&self) -> Result<Pid> {
        let shell = self.tmux(&["list-panes", "-F", "#{pane_pid}"])?;
        let shell = shell.first().context("no pane")?.parse()?;
        let top = *children(shell)?.first().context("it has ended")?;
        Ok(Pid::from_raw(top.try_into()?))
    }
}

/// Gives the sandbox pseudo-terminals of its own: those of the machine have no names there. Source: the kernel's
/// Documentation/filesystems/devpts.rst.
fn own_terminals() -> Result<()> {
    let none = None::<&str>;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), MsFlags::empty(), Some("ptmxmode=0666,mode=0620"))
        .context("mount /dev/pts")?;
    mount(Some("/dev/pts/ptmx"), "/dev/ptmx", none, MsFlags::MS_BIND, none).context("bind /dev/ptmx")
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // Its process may have ended already.
        drop(self.tmux(&["kill-server"]));
    }
}

/// Whether a line has these words one after another.
fn has_row(screen: &str, words: &[&str]) -> bool {
    screen.lines().any(|line| {
        let all: Vec<&str> = line.split_whitespace().collect();
        all.windows(words.len()).any(|some| some == words)
    })
}

fn is_within(screen: &str, (width, height): (u16, u16)) -> bool {
    screen.lines().count() <= usize::from(height)
        && screen.lines().all(|line| line.chars().count() <= usize::from(width))
}

/// `tcpw status`: each listener is one line, at any width.
#[test]
fn status_fits_small_and_large_terminals() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let scene = Scene::start("status")?;
    scene.clients()?;
    let status = format!("{} status; exec cat", tcpw_binary()?.display());
    for (size, left_out) in [(SMALL, true), (LARGE, false)] {
        let terminal = Terminal::start(&scene.sandbox, size, &status)?;
        let screen = terminal.wait_texts(&["LISTENERS", "refuses all"])?;
        ensure!(screen.contains("no room for FOUND BY") == left_out, "{screen}");
        for daemon in ["alphad", "betad"] {
            let is_whole = |line: &str| {
                line.starts_with("tcp 0.0.0.0:700") && line.contains(daemon) && line.contains("written")
            };
            ensure!(screen.lines().filter(|line| is_whole(line)).count() == 1, "{daemon}:\n{screen}");
        }
        println!("{screen}");
    }
    Ok(())
}

#[test]
fn small_terminal_shows_one_panel_and_keys_lead_through_all() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let scene = Scene::start("small")?;
    scene.clients()?;
    let terminal = scene.terminal(SMALL, "LC_ALL=C.UTF-8")?;
    // Service; the totals, then the client that was refused last.
    terminal.wait_row(&["0", "3", "1.2.3.4"])?;
    let screen =
        terminal.wait_texts(&["enforce  generation 1,", "[1 Services]", "refused 0/s (4)", "no problems"])?;
    ensure!(has_row(&screen, &["2", "1", "1.2.4.4"]) && is_within(&screen, SMALL), "{screen}");
    ensure!(screen.lines().any(|line| line.starts_with("> betad ")), "{screen}");
    println!("{screen}");

    // Rates, of an attempt that comes.
    connect(scene.sandbox.client(), CLIENT_V4_OTHER, (SERVER_V4, BETAD).into(), Duration::from_millis(300))?;
    terminal.wait("a rate", |screen| {
        let betad = screen.lines().find(|line| line.contains("betad")).unwrap_or_default();
        betad.split_whitespace().nth(3).is_some_and(|rate| rate.contains('.'))
    })?;

    terminal.keys(&["2"])?;
    let screen = terminal.wait_texts(&["[2 Clients]", "of the last 7 records"])?;
    ensure!(has_row(&screen, &["1.2.4.4", "4", "4"]) && has_row(&screen, &["1.2.3.4", "3", "1"]), "{screen}");

    // Sorted by another column: the client that was refused less often is the first one if that is turned round.
    terminal.keys(&["s", "r"])?;
    let screen = terminal.wait_texts(&["REFUSED^"])?;
    ensure!(screen.find("1.2.3.4") < screen.find("1.2.4.4"), "{screen}");

    terminal.keys(&["/", "1.2.4"])?;
    terminal.wait("a filter", |screen| screen.contains("filter: 1.2.4_") && !screen.contains("1.2.3.4"))?;
    terminal.keys(&["Enter", "Enter"])?;
    let screen = terminal.wait_texts(&["last attempts:", " refused alphad["])?;
    ensure!(is_within(&screen, SMALL) && !screen.contains("accepted"), "{screen}");
    terminal.keys(&["Escape"])?;
    terminal.wait_texts(&["[2 Clients]", "only rows with \"1.2.4\""])?;
    terminal.keys(&["Escape"])?;
    terminal.wait_texts(&["1.2.3.4", "q quit"])?;

    terminal.keys(&["Tab"])?;
    let screen = terminal.wait_texts(&["[3 Rules]", "betad: ALL"])?;
    ensure!(has_row(&screen, &["4", "betad:", "ALL"]), "{screen}");
    ensure!(has_row(&screen, &["2", "alphad:", "1.2.3."]), "{screen}");
    terminal.keys(&["Enter"])?;
    let screen =
        terminal.wait_texts(&["hits: 4", ">     2  betad: ALL", "      3  ALL: ALL", "last attempts:"])?;
    ensure!(
        screen.contains("1  # What is not allowed is refused.") && !screen.contains("HAS CHANGED"),
        "{screen}"
    );

    // A bad edit: the text in force is another one than that of the file.
    std::fs::write(scene.sandbox.hosts_deny(), "betad ALL\nbetad: ALL\n")?;
    terminal.wait_texts(&["PROBLEM: 1 error"])?;
    terminal.keys(&["q", "Enter"])?;
    terminal.wait_texts(&["HAS CHANGED since"])?;
    std::fs::write(scene.sandbox.hosts_deny(), DENY)?;
    terminal.wait_texts(&["no problems"])?;

    terminal.keys(&["4"])?;
    let screen = terminal.wait_texts(&["[4 Refusals]", "TIME (UTC)v"])?;
    ensure!(has_row(&screen, &["betad", "1.2.4.4", "rule", "hosts.deny:2"]), "{screen}");
    terminal.keys(&["Enter"])?;
    terminal.wait_texts(&["refused: betad[", "source:", ">     2  betad: ALL"])?;
    // One by one: together they would be another key.
    terminal.keys(&["Escape"])?;
    terminal.wait_texts(&["TIME (UTC)v"])?;
    terminal.keys(&["?"])?;
    terminal.wait_texts(&["Keys", "reverse the order"])?;
    Ok(())
}

#[test]
fn large_terminal_shows_all_panels_at_once() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let scene = Scene::start("large")?;
    // More than the daemon tells at once.
    scene
        .sandbox
        .client()
        .run(|| (0..MANY).try_for_each(|_| knock(CLIENT_V4_OTHER, (SERVER_V4, BETAD).into())))?;
    scene.clients()?;
    wait_until("they are recorded", SOON, || {
        let last = Tcpw::command(&scene.sandbox, &["events", "-n", "1"])?;
        Ok(last.iter().any(|line| line.text.contains(&format!(" #{} refused alphad[", MANY + 6))))
    })?;
    let terminal = scene.terminal(LARGE, "LC_ALL=C")?;
    let panels = [
        "[1 Services]",
        " 2 Clients ",
        " 3 Rules ",
        " 4 Refusals ",
        "betad: ALL",
        "of the last 2,106 records",
        "refused 0/s (2,104)",
    ];
    let screen = terminal.wait_texts(&panels)?;
    println!("{screen}");
    ensure!(is_within(&screen, LARGE) && screen.lines().count() == usize::from(LARGE.1), "{screen}");
    ensure!(screen.is_ascii(), "{screen}");
    for row in [["betad", "0", "0"], ["1.2.4.4", "2,103", "2,103"], ["betad", "1.2.4.4", "rule"]] {
        ensure!(has_row(&screen, &row), "{row:?} in\n{screen}");
    }
    // The same window, smaller: one panel.
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"])?;
    let screen = terminal.wait("one panel", |screen| !screen.contains("2 Clients -"))?;
    ensure!(is_within(&screen, SMALL) && screen.contains("[1 Services]  2 Clients "), "{screen}");
    Ok(())
}

#[test]
fn daemon_that_goes_away_leaves_the_last_picture_and_comes_back() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let mut scene = Scene::start("away")?;
    scene.clients()?;
    let terminal = Terminal::start(
        // Borrowed alone: the daemon is replaced meanwhile.
        &scene.sandbox,
        SMALL,
        &format!("LC_ALL=C {} top --interval 0.2; exec cat", tcpw_binary()?.display()),
    )?;
    terminal.wait_row(&["0", "3", "1.2.3.4"])?;
    scene.tcpw = None;
    let screen = terminal.wait_texts(&["NO ANSWER since", "no daemon is running"])?;
    ensure!(has_row(&screen, &["0", "3", "1.2.3.4"]), "{screen}");
    let again = Tcpw::start(&scene.sandbox, &["--log-allowed"])?;
    let screen = terminal.wait("it is back", |screen| !screen.contains("NO ANSWER"))?;
    // It counts from 0.
    ensure!(screen.contains("none yet") && screen.contains("refused"), "{screen}");
    Tcpw::wait_listener(&scene.sandbox, ALPHAD, |_| true)?;

    // Nothing changes while it is paused.
    terminal.keys(&["p"])?;
    terminal.wait_texts(&["PAUSED"])?;
    connect(scene.sandbox.client(), CLIENT_V4_OTHER, (SERVER_V4, ALPHAD).into(), Duration::from_millis(300))?;
    wait_until("it is recorded", SOON, || {
        let lines = Tcpw::command(&scene.sandbox, &["events"])?;
        Ok(lines.iter().any(|line| line.text.contains(" refused alphad[")))
    })?;
    terminal.keys(&["2"])?;
    let screen = terminal.wait_texts(&["[2 Clients]"])?;
    ensure!(screen.contains("none yet"), "{screen}");
    terminal.keys(&["p"])?;
    let screen = terminal.wait_row(&["1.2.4.4", "1", "1"])?;
    ensure!(!screen.contains("PAUSED"), "{screen}");
    drop(again);
    Ok(())
}

#[test]
fn terminal_is_as_before_however_it_ends() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let scene = Scene::start("ends")?;
    // 128 + SIGTERM, as of any program that a signal ends.
    for (signal, code) in [(None, "code 0"), (Some(Signal::SIGTERM), "code 143")] {
        let terminal = scene.terminal(SMALL, "LC_ALL=C")?;
        terminal.wait("it is drawn", |screen| screen.contains("none yet") && !screen.contains("before"))?;
        match signal {
            None => terminal.keys(&["q"])?,
            Some(signal) => kill(terminal.top()?, signal)?,
        }
        let screen = terminal.wait_texts(&["before", code, " icanon", " echo "])?;
        ensure!(!screen.contains("tcpw top") && !screen.contains("-icanon"), "{screen}");
    }
    // Without a daemon nothing is drawn.
    let tcpw = tcpw_binary()?;
    let none = format!("{} top --run-dir /run/nowhere; echo \"code $?\"; exec cat", tcpw.display());
    let terminal = Terminal::start(&scene.sandbox, SMALL, &none)?;
    let screen = terminal.wait_texts(&["code 1"])?;
    ensure!(screen.contains("tcpw: error: no daemon is running"), "{screen}");
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_use() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("pipe")?;
    let said = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let mut process = Tcpw::spawn_command(&sandbox, arguments)?;
        let code = process.wait(SOON)?.code();
        Ok((code, process.tail()))
    };
    let (code, text) = said(&["top"])?;
    ensure!(code == Some(2) && text.contains("use \"tcpw status\" or \"tcpw events\""), "{code:?}: {text}");
    for interval in ["0.1", "61", "x", "NaN"] {
        let (code, text) = said(&["top", "--interval", interval])?;
        ensure!(code == Some(2) && text.contains("0.2 to 60"), "{interval}: {code:?}: {text}");
    }
    Ok(())
}
