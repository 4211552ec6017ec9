//! Sockets that a user without privileges shares with root or gets from it, and programs that change while they are
//! looked at: none of them opens anything.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{CLIENT_V4, Place, SERVER_V4, Tcpw, Testd, wait_until};

use crate::world::{DENY, Leg, PORT, Theme, Way, World, tried};

pub(crate) const THEME: Theme = Theme { name: "handed over", start, ways: WAYS };

const WAYS: &[Way] = &[
    tried("SO_REUSEPORT join of root's port", join),
    tried("SO_REUSEPORT join of an address of root's port", |world| join_at(world, "1.2.3.1")),
    tried("socket of root's alphad that has ended", from_root),
    tried("program that becomes another all the time", flicker),
    tried("root's process that becomes a user's", becomes_users),
    tried("root's alphad, beside them", |world| Ok(vec![world.connect(CLIENT_V4, SERVER_V4, PORT, true)?])),
    tried("row of root's alphad", |world| {
        let row = Tcpw::wait_listener(&world.sandbox, PORT, |row| row["ident"] == "alphad")?;
        let is_proven = row["unproven"].as_object().is_none_or(serde_json::Map::is_empty);
        Ok(vec![Leg::new(&row, true, row["policy"] == "allows all" && is_proven)])
    }),
];

const NOBODY: u32 = 65534;
const SOON: Duration = Duration::from_secs(20);
/// How a user without privileges runs something.
const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// Alphad and dash serve all, no other daemon any client.
fn start(theme: &'static str) -> Result<World> {
    let world = World::with(theme, "alphad dash: ALL\n", DENY, &[])?;
    world.daemon("alphad", &format!("--share 0.0.0.0:{PORT}"))?;
    Ok(world)
}

fn shell(text: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", text]);
    command
}

fn join(world: &World) -> Result<Vec<Leg>> {
    join_at(world, "0.0.0.0")
}

/// The kernel gives a port to sockets of one user alone.
fn join_at(world: &World, address: &str) -> Result<Vec<Leg>> {
    let liard = Testd::program(&world.sandbox, "liard")?;
    let command = shell(&format!("exec {AS_NOBODY} {} --share {address}:{PORT}", liard.display()));
    let mut liard = world.sandbox.spawn(Place::Guarded, command)?;
    let has_joined = liard.wait(SOON)?.success();
    Ok(vec![Leg::new("the user joins", false, has_joined), world.connect(CLIENT_V4, SERVER_V4, PORT, true)?])
}

/// A directory of the user with a program of its own, called alphad.
fn alphad_of_user(world: &World, name: &str, program: &str) -> Result<PathBuf> {
    let directory = world.sandbox.scratch().join(name);
    fs::create_dir_all(&directory)?;
    let to = directory.join("alphad");
    fs::copy(program, &to).with_context(|| format!("copy {program}"))?;
    for path in [&directory, &to] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(to)
}

/// Root's alphad passes its socket to a process of the user, and ends.
fn from_root(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let liard = Testd::program(&world.sandbox, "liard")?;
    let own = alphad_of_user(world, "from-root", &liard.display().to_string())?;
    let path = own.with_file_name("socket");
    let take = shell(&format!("exec {AS_NOBODY} {} --take {}", own.display(), path.display()));
    let mut users = world.sandbox.spawn(Place::Guarded, take)?;
    let mut roots = Command::new(Testd::program(&world.sandbox, "alphad")?);
    roots.arg("--give").arg(&path).arg(format!("0.0.0.0:{port}"));
    let roots = world.sandbox.spawn(Place::Guarded, roots)?;
    users.wait_for_line("listening", SOON).context("the user has the socket")?;
    drop(roots);
    let row = Tcpw::wait_listener(&world.sandbox, port, |row| row["pid"] == users.pid())?;
    let is_unproven = row["unproven"].get("alphad").is_some();
    Ok(vec![Leg::new(&row, true, is_unproven), world.connect(CLIENT_V4, SERVER_V4, port, false)?])
}

/// How often it becomes another program: some seconds.
const CHANGES: u32 = 1500;

/// A user's process with a listening socket is root's dash, its own alphad, another program, and so on.
fn flicker(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let own = alphad_of_user(world, "flicker", "/usr/bin/bash")?;
    let liard = Testd::program(&world.sandbox, "liard")?;
    let change = own.with_file_name("change");
    let again = change.display();
    let text = format!(
        "#!/bin/bash\ni=${{1#--inherited}}; i=${{i:-0}}; n=$((i + 1))\n\
         if [ $n = {CHANGES} ]; then echo over; exec sleep 60; fi\n\
         case $((n % 3)) in 0) exec dash {again} $n;; 1) exec {} {again} $n;; 2) exec bash {again} $n;; esac\n",
        own.display()
    );
    fs::write(&change, text)?;
    fs::set_permissions(&change, fs::Permissions::from_mode(0o755))?;
    let command = shell(&format!("exec {AS_NOBODY} {} --exec {again} 0.0.0.0:{port}", liard.display()));
    let mut process = world.sandbox.spawn(Place::Guarded, command)?;
    let is_listening = || Ok(world.sandbox.server().listening()?.iter().any(|it| it.port == port));
    wait_until("it listens", SOON, is_listening)?;
    let mut legs = Vec::new();
    while process.wait_for_line("over", Duration::ZERO).is_err() {
        ensure!(process.is_running(), "{}", process.tail());
        legs.push(world.connect(CLIENT_V4, SERVER_V4, port, false)?);
    }
    Ok(legs)
}

/// Root's process opens a socket and becomes the user's program: what is read of it may be of before and after.
fn becomes_users(world: &World) -> Result<Vec<Leg>> {
    let liard = Testd::program(&world.sandbox, "liard")?;
    let own = alphad_of_user(world, "becomes", &liard.display().to_string())?;
    let becomes = world.sandbox.scratch().join("becomes-users");
    fs::write(&becomes, format!("#!/bin/bash\nexec {AS_NOBODY} {} \"$@\"\n", own.display()))?;
    fs::set_permissions(&becomes, fs::Permissions::from_mode(0o755))?;
    let mut legs = Vec::new();
    for _ in 0..20 {
        let port = world.port();
        let command = shell(&format!("exec {} --exec {} 0.0.0.0:{port}", liard.display(), becomes.display()));
        world.daemon_by(command)?;
        legs.push(world.connect(CLIENT_V4, SERVER_V4, port, false)?);
        let row =
            Tcpw::wait_listener(&world.sandbox, port, |row| row["names"].to_string().contains("alphad"))?;
        legs.push(Leg::new(&row, true, row["unproven"].get("alphad").is_some()));
    }
    Ok(legs)
}
