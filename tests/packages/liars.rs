//! Liars below a real system manager: a user's own unit, and units whose account was taken over. Each wants to be
//! alphad or sshd, which serve all; no other daemon serves any client.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::{
    CLIENT_V4, DENY, Requirement, SERVER_V4, Sandbox, Systemd, Tcpw, Testd, can_run, client::connect,
    wait_until,
};

const NOBODY: u32 = 65534;
const SOON: Duration = Duration::from_secs(20);
/// What is refused gets no answer.
const PATIENCE_OUT: Duration = Duration::from_millis(250);

/// A system with systemd, and a directory of the user.
struct World {
    sandbox: Sandbox,
    systemd: Systemd,
    own: PathBuf,
    liard: PathBuf,
}

impl World {
    fn start(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        sandbox.write_tables("alphad sshd job: ALL\n", DENY)?;
        let systemd = Systemd::start(&sandbox)?;
        let own = sandbox.scratch().join("own");
        fs::create_dir(&own)?;
        chown(&own, Some(NOBODY), Some(NOBODY))?;
        let liard = Testd::program(&sandbox, "liard")?;
        Ok(Self { sandbox, systemd, own, liard })
    }

    /// A copy of the liar in the user's directory.
    fn copy(&self, name: &str) -> Result<PathBuf> {
        let copy = self.own.join(name);
        fs::copy(&self.liard, &copy)?;
        chown(&copy, Some(NOBODY), Some(NOBODY))?;
        Ok(copy)
    }

    fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let script = self.sandbox.scratch().join(name);
        fs::write(&script, format!("#!/bin/bash\n{text}\n"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }

    /// Starts a unit that runs as the user.
    fn unit(&self, name: &str, start: &str) -> Result<()> {
        self.unit_with(name, &format!("User={NOBODY}\nExecStart={start}\n"))
    }

    fn unit_with(&self, name: &str, text: &str) -> Result<()> {
        let text = format!("[Service]\n{text}");
        fs::write(self.sandbox.etc().join("systemd/system").join(name), text)?;
        self.systemd.run(&self.sandbox, &["systemctl", "daemon-reload"])?;
        self.systemd.start_unit(&self.sandbox, name)?;
        Ok(())
    }

    /// Before it is known, and after, the listener at a port is not opened. Its name, and the one that is proven.
    fn stays_out(&self, port: u16, name: &str, proven: Option<&str>) -> Result<()> {
        wait_until(&format!("port {port}"), SOON, || {
            Ok(self.sandbox.server().listening()?.iter().any(|it| it.port == port))
        })?;
        let server = SocketAddr::new(SERVER_V4, port);
        let is_in = || -> Result<bool> {
            Ok(connect(self.sandbox.client(), CLIENT_V4, server, PATIENCE_OUT)?.is_connected())
        };
        ensure!(!is_in()?, "{name} gets in at once");
        let row = Tcpw::wait_listener(&self.sandbox, port, |row| row["unproven"].get(name).is_some())
            .with_context(|| format!("{name} is not proven"))?;
        ensure!(!is_in()?, "{name} gets in: {row}");
        if let Some(proven) = proven {
            ensure!(
                row["names"].as_array().is_some_and(|names| names.iter().any(|it| it == proven)),
                "{row}"
            );
            ensure!(row["unproven"].get(proven).is_none(), "{proven}: {row}");
        }
        Ok(())
    }
}

fn ready() -> bool {
    let programs = [Systemd::PROGRAM, "/usr/bin/setpriv", "/usr/bin/unshare", "/usr/sbin/nginx"];
    can_run("packages", &[Requirement::Root]) && can_run("packages", &programs.map(Requirement::Program))
}

/// The account of `taken.service` has that name, and no other.
#[test]
fn account_of_a_unit_that_was_taken_over_is_its_unit_alone() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::start("taken")?;
    let _tcpw = Tcpw::start_with(&world.systemd.tcpw(&world.sandbox)?, &world.sandbox, &[])?;
    let (own, liard) = (world.own.display(), world.liard.display());

    let alphad = world.copy("alphad")?;
    let other = world.script("other", &format!("exec {} 0.0.0.0:7001", alphad.display()))?;
    world.unit("taken.service", &other.display().to_string())?;
    world.stays_out(7001, "alphad", Some("taken"))?;

    // The unit's own program under another name.
    let mounted = format!(
        "exec unshare --map-root-user --mount bash -c \
         'touch {own}/mounted/alphad && mount --bind {liard} {own}/mounted/alphad && exec {own}/mounted/alphad \"$@\"' x \"$@\""
    );
    fs::create_dir(world.own.join("mounted"))?;
    chown(world.own.join("mounted"), Some(NOBODY), Some(NOBODY))?;
    let mounted = world.script("mount", &mounted)?;
    world.unit("mounted.service", &format!("{liard} --exec {} 0.0.0.0:7002", mounted.display()))?;
    world.stays_out(7002, "alphad", Some("mounted"))?;

    let copy = world.copy("served")?;
    let linked = world.script(
        "link",
        &format!(
            "mkdir {own}/linked && ln {own}/served {own}/linked/alphad && exec {own}/linked/alphad \"$@\""
        ),
    )?;
    world.unit("linked.service", &format!("{} --exec {} 0.0.0.0:7003", copy.display(), linked.display()))?;
    world.stays_out(7003, "alphad", Some("linked"))?;

    // The file of the process id says what the account writes.
    let text =
        format!("mkdir -p {own}/pid && echo $$ > {own}/pid/x.pid && exec {} 0.0.0.0:7004", alphad.display());
    let as_user = world.script("as-user", &text)?;
    let forking =
        format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {} & exit 0", as_user.display());
    let forking = world.script("forking", &forking)?;
    let unit = format!("[Service]\nType=forking\nPIDFile={own}/pid/x.pid\nExecStart={}\n", forking.display());
    fs::write(world.sandbox.etc().join("systemd/system/forked.service"), unit)?;
    world.systemd.run(&world.sandbox, &["systemctl", "daemon-reload"])?;
    world.systemd.run(&world.sandbox, &["systemctl", "start", "--no-block", "forked.service"])?;
    world.stays_out(7004, "alphad", None)?;
    Ok(())
}

/// Of a unit without `User=` the system manager is asked: its main process has the unit's name, a job of a user has not.
#[test]
fn main_process_that_became_a_users_is_its_unit_and_a_job_is_not() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::start("main-process")?;
    let _tcpw = Tcpw::start_with(&world.systemd.tcpw(&world.sandbox)?, &world.sandbox, &[])?;
    let as_user = format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups");
    let alphad = world.copy("alphad")?;
    let main = world.script("main", &format!("exec {as_user} {} 0.0.0.0:7007", alphad.display()))?;
    world.unit_with("main.service", &format!("ExecStart={}\n", main.display()))?;
    world.stays_out(7007, "alphad", Some("main"))?;

    // The job runs the unit's own program, and goes on when its parent has ended.
    let liard = world.liard.display();
    let job = world.script("job", &format!("({as_user} {liard} 0.0.0.0:7008 &)\nexec {liard} \"$@\""))?;
    world.unit_with("job.service", &format!("ExecStart={liard} --exec {} 0.0.0.0:7009\n", job.display()))?;
    world.stays_out(7008, "job", None)?;
    Ok(())
}

/// A user's manager runs `ssh.service`, which the user wrote, and a real daemon with a library of the user's choice.
#[test]
fn unit_of_a_user_and_real_daemon_with_its_library_open_nothing() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let world = World::start("users-unit")?;
    world.sandbox.write_tables("alphad ssh sshd nginx: ALL\n", DENY)?;
    let _tcpw = Tcpw::start_with(&world.systemd.tcpw(&world.sandbox)?, &world.sandbox, &[])?;
    world.copy("sshd")?;
    let own = world.own.display();
    let nginx = format!(
        "daemon off; pid {own}/pid; error_log stderr; events {{ }} http {{ access_log off; \
         client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c; uwsgi_temp_path {own}/d; \
         scgi_temp_path {own}/e; server {{ listen 7006; }} }}"
    );
    fs::write(world.own.join("nginx.conf"), nginx)?;
    // Any library: its code would run before the daemon's.
    let library = fs::read_dir("/usr/lib/x86_64-linux-gnu").into_iter().flatten().flatten();
    let library = library.map(|it| it.path()).find(|path| is_library(path)).context("a library")?;
    fs::copy(library, world.own.join("own.so"))?;
    without_logind(&world)?;
    world.systemd.start_unit(&world.sandbox, &format!("user@{NOBODY}.service"))?;
    let units = format!("/run/user/{NOBODY}/systemd/user");
    for (unit, service) in [
        ("ssh", format!("ExecStart={own}/sshd 0.0.0.0:7005")),
        (
            "nginx",
            format!(
                "Environment=LD_PRELOAD={own}/own.so\nExecStart=/usr/sbin/nginx -e stderr -c {own}/nginx.conf"
            ),
        ),
    ] {
        let write = format!(
            "mkdir -p {units} && printf '[Service]\\n{}\\n' > {units}/{unit}.service",
            service.replace('\n', "\\n")
        );
        as_user(&world, &["sh", "-c", &write])?;
        as_user(&world, &["systemctl", "--user", "daemon-reload"])?;
        as_user(&world, &["systemctl", "--user", "start", &format!("{unit}.service")])?;
    }
    world.stays_out(7005, "sshd", None)?;
    world.stays_out(7006, "nginx", None)?;
    Ok(())
}

/// What the user's manager gets from logind otherwise.
fn without_logind(world: &World) -> Result<()> {
    let units = world.sandbox.etc().join("systemd/system");
    let runtime = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
                   ExecStart=/usr/bin/install -d -m 700 -o %i -g %i /run/user /run/user/%i\n";
    fs::write(units.join("user-runtime-dir@.service"), runtime)?;
    fs::create_dir_all(units.join("user@.service.d"))?;
    let manager = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n";
    fs::write(units.join("user@.service.d/tests.conf"), manager)?;
    world.systemd.run(&world.sandbox, &["systemctl", "daemon-reload"]).map(drop)
}

fn is_library(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libz.so"))
}

fn as_user(world: &World, command: &[&str]) -> Result<String> {
    let (user, runtime) = (format!("{NOBODY}"), format!("XDG_RUNTIME_DIR=/run/user/{NOBODY}"));
    let mut all = vec!["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "env", &runtime];
    all.extend(command);
    world.systemd.run(&world.sandbox, &all)
}
