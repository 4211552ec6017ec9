//! Names that a user without privileges borrows: each way ends with a listener called alphad, which opens nothing.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{CLIENT_V4, Place, SERVER_V4, Tcpw, Testd};

use crate::world::{DENY, Leg, PORT, Theme, Way, World, tried};

pub(crate) const THEME: Theme = Theme { name: "borrowed names", start, ways: WAYS };

const WAYS: &[Way] = &[
    tried("copied file", |world| by_anybody(world, &copy(world, "copied")?)),
    tried("copied file: status says why, and which setting would open", said),
    tried("hard link to a program of root", |world| {
        let link = directory(world, "linked")?.join("alphad");
        fs::hard_link(Testd::program(&world.sandbox, "liard")?, &link)?;
        by_anybody(world, &link)
    }),
    tried("the program itself, which may have loaded a library of its user", |world| {
        by_anybody(world, &Testd::program(&world.sandbox, "alphad")?)
    }),
    tried("set-uid program that is given another name", set_uid),
    tried("copy mounted over the program, in a mount namespace of its own", mounted),
    tried("root of a user namespace of its own, copied file", |world| {
        let copy = copy(world, "inside")?;
        anybody(world, &format!("exec unshare --map-root-user {}", copy.display()))
    }),
    tried("file name with a line feed", |world| {
        let copy = copy(world, "lines")?;
        let other = copy.with_file_name("alphad\nalphad");
        fs::rename(&copy, &other)?;
        by_anybody(world, &other)
    }),
    tried("cgroup of a user, named like a unit", |world| in_cgroup(world, "alphad.service", true)),
    tried("job of a unit", |world| in_cgroup(world, "alphad@1.service", false)),
    tried("unit of a user", |world| {
        in_cgroup(world, "user.slice/user@65534.service/app.slice/alphad.service", true)
    }),
    tried("socket passed to root's alphad", passed),
    tried("root's alphad, beside them", |world| Ok(vec![world.connect(CLIENT_V4, SERVER_V4, PORT, true)?])),
    tried("row of root's alphad", |world| {
        let row = Tcpw::wait_listener(&world.sandbox, PORT, |row| row["ident"] == "alphad")?;
        Ok(vec![Leg::new(&row, true, row["policy"] == "allows all" && row["names"][0] == "alphad")])
    }),
];

const NOBODY: u32 = 65534;

/// Alphad serves all, no other daemon anybody.
fn start(theme: &'static str) -> Result<World> {
    let world = World::with(theme, "alphad: ALL\n", DENY, &[])?;
    world.daemon("alphad", &format!("0.0.0.0:{PORT}"))?;
    Ok(world)
}

/// A directory of the user.
fn directory(world: &World, name: &str) -> Result<PathBuf> {
    let directory = world.sandbox.scratch().join(name);
    fs::create_dir_all(&directory)?;
    chown(&directory, Some(NOBODY), Some(NOBODY))?;
    Ok(directory)
}

/// A copy of a program in a directory of the user, called alphad.
fn copy(world: &World, name: &str) -> Result<PathBuf> {
    let to = directory(world, name)?.join("alphad");
    fs::copy(Testd::program(&world.sandbox, "liard")?, &to)?;
    chown(&to, Some(NOBODY), Some(NOBODY))?;
    Ok(to)
}

fn said(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon_by(shell(&format!("exec {} 0.0.0.0:{port}", copy(world, "said")?.display())))?;
    let row = Tcpw::wait_listener(&world.sandbox, port, |_| true)?;
    let not_opened = row["not_opened"][0].as_str().unwrap_or_default();
    let is_said = row["unproven"]["alphad"] == "user 65534 runs it"
        && not_opened.contains("hosts.allow:1 does not open alphad[")
        && not_opened.ends_with("set [names.user] 65534 = [\"alphad\"]");
    Ok(vec![Leg::new(&row, true, is_said)])
}

fn by_anybody(world: &World, program: &Path) -> Result<Vec<Leg>> {
    anybody(world, &format!("exec '{}'", program.display()))
}

/// By a shell of the user, which becomes a program that listens at the port it is given.
fn anybody(world: &World, how: &str) -> Result<Vec<Leg>> {
    let port = world.port();
    world.daemon_by(shell(&format!("{how} 0.0.0.0:{port}")))?;
    stays_out(world, port)
}

fn shell(text: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", text]);
    command
}

/// Before it is known, and after.
fn stays_out(world: &World, port: u16) -> Result<Vec<Leg>> {
    let mut legs = vec![world.connect(CLIENT_V4, SERVER_V4, port, false)?];
    Tcpw::wait_listener(&world.sandbox, port, |_| true)?;
    legs.push(world.connect(CLIENT_V4, SERVER_V4, port, false)?);
    Ok(legs)
}

fn set_uid(world: &World) -> Result<Vec<Leg>> {
    let program = world.sandbox.scratch().join("set-uid");
    fs::copy(Testd::program(&world.sandbox, "liard")?, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    anybody(world, &format!("exec -a alphad {}", program.display()))
}

fn mounted(world: &World) -> Result<Vec<Leg>> {
    let copy = copy(world, "mounted")?;
    let alphad = Testd::program(&world.sandbox, "alphad")?;
    let (from, to) = (copy.display(), alphad.display());
    let inside = format!("mount --bind {from} {to} && exec {to} \"$1\"");
    anybody(world, &format!("exec unshare --map-root-user --mount bash -c '{inside}' x"))
}

fn in_cgroup(world: &World, name: &str, is_users: bool) -> Result<Vec<Leg>> {
    let cgroup = world.sandbox.cgroup().join(name);
    fs::create_dir_all(&cgroup)?;
    if is_users {
        chown(&cgroup, Some(NOBODY), Some(NOBODY))?;
    }
    let liard = Testd::program(&world.sandbox, "liard")?;
    let port = world.port();
    let text = format!(
        "echo 0 > {}/cgroup.procs && exec setpriv --reuid=65534 --regid=65534 --clear-groups {} 0.0.0.0:{port}",
        cgroup.display(),
        liard.display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &text]);
    world.daemon_by(command)?;
    stays_out(world, port)
}

/// Its owner is root's alphad from then on, but the user made it, and may have kept it.
fn passed(world: &World) -> Result<Vec<Leg>> {
    let port = world.port();
    let path = directory(world, "passed")?.join("socket");
    let mut command = Command::new(Testd::program(&world.sandbox, "alphad")?);
    command.arg("--take").arg(&path);
    let mut alphad = world.sandbox.spawn(Place::Guarded, command)?;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        ensure!(std::time::Instant::now() < deadline, "alphad waits for no socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let liard = Testd::program(&world.sandbox, "liard")?;
    let give = format!("exec {} --give {} 0.0.0.0:{port}", liard.display(), path.display());
    world.daemon_by(shell(&give))?;
    alphad.wait_for_line("listening", Duration::from_secs(10)).context("alphad has the socket")?;
    // A scan of all processes finds who has it now.
    Tcpw::wait_listener(&world.sandbox, port, |row| row["names"].to_string().contains("alphad"))?;
    stays_out(world, port)
}
