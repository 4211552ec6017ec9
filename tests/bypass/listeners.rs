//! Who listens, and how: a misnamed listener would be open to all, or closed to all.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use tcpw_tests::{CLIENT_V4, CLIENT_V4_OTHER, Place, SERVER_V4, Tcpw, Testd};

use crate::world::{
    Families::{self, Both, V4, V6},
    Leg, Theme, Way, World, patience, tried,
};

pub(crate) const THEME: Theme = Theme { name: "listeners", start, ways: WAYS };

const WAYS: &[Way] = &[
    tried("listener of before the start", |world| world.connect_all(Both, BEFORE)),
    tried("listener of after the start", |world| listen(world, Both, "[::]:PORT")),
    tried("IPv4 alone", |world| listen(world, V4, "0.0.0.0:PORT")),
    tried("IPv6 alone", |world| listen(world, V6, "--v6only [::]:PORT")),
    tried("one address alone", |world| listen(world, V4, "1.2.3.1:PORT")),
    tried("one of IPv4 beside one of IPv6", two_sockets),
    tried("an address nobody has yet", |world| {
        let port = world.port();
        world.daemon("alphad", &format!("--free-bind 1.2.8.1:{port}"))?;
        world.sandbox.server().address("tcpw0", "1.2.8.1".parse()?, 32)?;
        Ok(vec![
            world.connect(CLIENT_V4_OTHER, "1.2.8.1".parse()?, port, false)?,
            world.connect(CLIENT_V4, "1.2.8.1".parse()?, port, true)?,
        ])
    }),
    tried("transparent socket", |world| listen(world, Both, "--transparent [::]:PORT")),
    tried("socket of one device", |world| listen(world, Both, "--device tcpw0 [::]:PORT")),
    tried("listen without bind", unbound),
    tried("listen two seconds after bind", late),
    tried("SO_REUSEPORT, a member added later", |world| {
        let port = world.port();
        world.daemon("alphad", &format!("--share [::]:{port}"))?;
        world.daemon("alphad", &format!("--share [::]:{port}"))?;
        many(world, port)
    }),
    tried("SO_REUSEPORT, a member of another daemon", other_member),
    tried("Multipath TCP", |world| listen(world, Both, "--mptcp [::]:PORT")),
    tried("duplicate of the socket", |world| listen(world, Both, "--duplicate [::]:PORT")),
    tried("owner that exits while a child serves", |world| listen(world, Both, "--fork [::]:PORT")),
    tried("program that takes over the socket", |world| become_alphad(world, "starterd", "--exec")),
    tried("socket activation by systemd", |world| become_alphad(world, "systemd", "--activate")),
    tried("socket passed to a running process", passed),
    tried("executable that was removed", |world| {
        copy(world, "gone/alphad")?;
        run(world, Both, "gone/alphad", "--delete [::]:PORT")
    }),
    tried("executable that was copied", |world| {
        copy(world, "copied/alphad")?;
        run(world, Both, "copied/alphad", "[::]:PORT")
    }),
    tried("executable by a symbolic link", symbolic_link),
    tried("executable in memory", in_memory),
    tried("script with an interpreter", script),
    tried("pid and mount namespaces of a container", container),
    tried("process that moved to another cgroup inside", |world| moved(world, true)),
    tried("process that moved to another cgroup outside", |world| moved(world, false)),
    tried("listener that no process shows, named by its port", |world| {
        world.daemon("hiddend", &format!("--hide [::]:{HIDDEN}"))?;
        in_and_out(world, HIDDEN)
    }),
    tried("daemon named by its port in tcpw.toml", |world| {
        world.daemon("gammad", &format!("[::]:{NAMED}"))?;
        world.connect_all(Both, NAMED)
    }),
    tried("daemon named by its unit in tcpw.toml", unit),
];

const BEFORE: u16 = 7001;
const HIDDEN: u16 = 7002;
const NAMED: u16 = 7003;

/// alphad serves 1.2.3. alone, anybody else serves all.
const ALLOW: &str = "alphad: 1.2.3. [3ffe:ffff:100:200::]/64\nALL EXCEPT alphad: ALL\n";

fn start(theme: &'static str) -> Result<World> {
    World::prepared(theme, ALLOW, crate::world::DENY, |sandbox| {
        let settings = sandbox.scratch().join("tcpw.toml");
        let text = format!(
            "[names.port]\n{HIDDEN} = [\"alphad\"]\n{NAMED} = [\"alphad\"]\n[names.unit]\n\"web.service\" = [\"alphad\"]\n"
        );
        fs::write(&settings, text)?;
        let before = Testd::start(sandbox, "alphad", &format!("[::]:{BEFORE}"))?;
        Ok((vec![before], vec!["--config".into(), settings.to_string_lossy().into_owned()]))
    })
}

/// alphad so started.
fn listen(world: &World, families: Families, arguments: &str) -> Result<Vec<Leg>> {
    run(world, families, "alphad", arguments)
}

/// Each family has its own socket.
fn two_sockets(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("alphad", &format!("0.0.0.0:{port}"))?;
    world.daemon("alphad", &format!("--v6only [::]:{port}"))?;
    world.connect_all(Both, port)
}

fn run(world: &World, families: Families, program: &str, arguments: &str) -> Result<Vec<Leg>> {
    let port = world.port();
    let mut command = Command::new(world.sandbox.scratch().join(program));
    command.args(arguments.replace("PORT", &port.to_string()).split_whitespace());
    world.daemon_by(command)?;
    world.connect_all(families, port)
}

fn copy(world: &World, to: &str) -> Result<()> {
    let to = world.sandbox.scratch().join(to);
    fs::create_dir_all(to.parent().context("a directory")?)?;
    fs::copy(Testd::program(&world.sandbox, "alphad")?, &to)?;
    Ok(())
}

fn in_and_out(world: &World, port: u16) -> Result<Vec<Leg>> {
    // Nobody accepts: the handshake is all there is.
    let to = SocketAddr::new(SERVER_V4, port);
    let tried = |(from, expected)| -> Result<Leg> {
        let attempt = tcpw_tests::client::connect(world.sandbox.client(), from, to, patience(expected))?;
        Ok(Leg::new(from, expected, attempt.is_connected()))
    };
    [(CLIENT_V4_OTHER, false), (CLIENT_V4, true)].into_iter().map(tried).collect()
}

/// Among several sockets every one is met.
fn many(world: &World, port: u16) -> Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for _round in 0..8 {
        legs.extend(world.connect_all(V4, port)?);
    }
    Ok(legs)
}

fn unbound(world: &World) -> Result<Vec<Leg>> {
    let mut process = {
        let mut command = Command::new(world.sandbox.scratch().join("alphad"));
        command.args(["--unbound", "[::]:0"]);
        world.sandbox.spawn(Place::Guarded, command)?
    };
    let line = process.wait_for_line("listening", Duration::from_secs(10))?.text;
    let port = line.rsplit(' ').next().context("a port")?.parse()?;
    world.connect_all(Both, port)
}

/// The scan that follows bind finds no listener yet.
fn late(world: &World) -> Result<Vec<Leg>> {
    listen(world, Both, "--pause [::]:PORT")
}

/// Each member is judged by its own name: betad's serves all, alphad's does not.
fn other_member(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon("betad", &format!("--share [::]:{port}"))?;
    world.daemon("alphad", &format!("--share [::]:{port}"))?;
    let mut legs = Vec::new();
    for _round in 0..16 {
        let to = SocketAddr::new(SERVER_V4, port);
        let mut attempt = tcpw_tests::client::connect(
            world.sandbox.client(),
            CLIENT_V4_OTHER,
            to,
            Duration::from_millis(300),
        )?;
        // Nothing came: it was alphad's.
        let met_alphad = attempt.greeting(Duration::from_secs(1)).contains("alphad");
        legs.push(Leg::new("1.2.4.4 at alphad", false, met_alphad));
        legs.push(world.connect(CLIENT_V4, SERVER_V4, port, true)?);
    }
    Ok(legs)
}

fn become_alphad(world: &World, starter: &str, how: &str) -> Result<Vec<Leg>> {
    let port = world.port();
    let alphad = Testd::program(&world.sandbox, "alphad")?;
    world.daemon(starter, &format!("{how} {} [::]:{port}", alphad.display()))?;
    // The scan follows exec within milliseconds.
    Tcpw::wait_listener(&world.sandbox, port, |row| row["ident"] == "alphad")?;
    world.connect_all(Both, port)
}

/// From a daemon that serves all to alphad, which ran before.
fn passed(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let path = world.sandbox.scratch().join("passed");
    let mut command = Command::new(world.sandbox.scratch().join("alphad"));
    command.arg("--take").arg(&path);
    let mut alphad = world.sandbox.spawn(Place::Guarded, command)?;
    world.daemon("betad", &format!("--give {} [::]:{port}", path.display()))?;
    alphad.wait_for_line("listening", Duration::from_secs(10))?;
    // Nothing tells that a socket was passed on: every ten seconds all processes are looked at.
    Tcpw::wait_listener(&world.sandbox, port, |row| row["ident"] == "alphad")?;
    world.connect_all(Both, port)
}

fn symbolic_link(world: &World) -> Result<Vec<Leg>> {
    let link = world.sandbox.scratch().join("linkd");
    symlink(Testd::program(&world.sandbox, "alphad")?, &link)?;
    run(world, Both, "linkd", "[::]:PORT")
}

/// The name of an executable in memory is nobody's; that of argv[0] is root's to choose.
fn in_memory(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let alphad = Testd::program(&world.sandbox, "alphad")?;
    let text = format!(
        "import os, sys\nfd = os.memfd_create('x')\nos.write(fd, open('{}', 'rb').read())\n\
         os.execve(fd, ['alphad', '[::]:{port}'], os.environ)\n",
        alphad.display()
    );
    let mut command = Command::new("python3");
    command.args(["-c", &text]);
    world.daemon_by(command)?;
    world.connect_all(Both, port)
}

/// Known by its process name, which is the script's.
fn script(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let directory = world.sandbox.scratch().join("script");
    fs::create_dir_all(&directory)?;
    let path = directory.join("alphad");
    let text = "#!/usr/bin/python3 -u\nimport socket, sys\n\
                s = socket.socket(socket.AF_INET6)\ns.bind(('::', int(sys.argv[1])))\ns.listen()\nprint('listening')\n\
                while True:\n    c, _ = s.accept()\n    c.send(b'hello')\n    c.close()\n";
    fs::write(&path, text)?;
    Command::new("chmod").arg("755").arg(&path).status()?;
    let mut command = Command::new(&path);
    command.arg(port.to_string());
    world.daemon_by(command)?;
    world.connect_all(Both, port)
}

fn container(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(world.sandbox.scratch().join("alphad")).arg(format!("[::]:{port}"));
    world.daemon_by(command)?;
    world.connect_all(Both, port)
}

/// A socket stays in the cgroup it was made in, whatever becomes of its process.
fn moved(world: &World, inside: bool) -> Result<Vec<Leg>> {
    let guarded = world.sandbox.cgroup();
    let to = if inside {
        let child = guarded.join("child");
        fs::create_dir_all(&child)?;
        child
    } else {
        guarded.parent().context("a parent")?.join("clients")
    };
    let port = world.port();
    world.daemon("alphad", &format!("--cgroup {} [::]:{port}", to.display()))?;
    world.connect_all(Both, port)
}

fn unit(world: &World) -> Result<Vec<Leg>> {
    let cgroup = world.sandbox.cgroup().join("web.service");
    fs::create_dir_all(&cgroup)?;
    let port = world.port();
    world.daemon("gammad", &format!("--cgroup {} [::]:{port}", cgroup.display()))?;
    // It moved there after it listened: the next scan of it sees so.
    Tcpw::wait_listener(&world.sandbox, port, |row| row["names"].to_string().contains("alphad"))?;
    world.connect_all(Both, port)
}
