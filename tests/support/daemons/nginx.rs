//! nginx, which never knew libwrap.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::both_families;
use crate::{
    process::Process,
    sandbox::{Place, Sandbox},
};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Its master process.
    pub process: Process,
    /// The port of its IPv4 and its IPv6 socket.
    pub port: u16,
    log: PathBuf,
}

impl Nginx {
    /// Starts it; it answers every request with a line.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub fn start(sandbox: &Sandbox, port: u16) -> Result<Self> {
        let directory = sandbox.scratch().join(format!("nginx-{port}"));
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        let configuration = directory.join("nginx.conf");
        let place = directory.display();
        let text = format!(
            "daemon off;\n\
             worker_processes 1;\n\
             pid {place}/nginx.pid;\n\
             error_log stderr notice;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n\
             \taccess_log {place}/access.log;\n\
             \tclient_body_temp_path {place}/body;\n\
             \tproxy_temp_path {place}/proxy;\n\
             \tfastcgi_temp_path {place}/fastcgi;\n\
             \tuwsgi_temp_path {place}/uwsgi;\n\
             \tscgi_temp_path {place}/scgi;\n\
             \tserver {{\n\
             \t\tlisten {port} default_server;\n\
             \t\tlisten [::]:{port} default_server;\n\
             \t\treturn 200 \"hello\\n\";\n\
             \t}}\n\
             }}\n"
        );
        fs::write(&configuration, text).context("write nginx.conf")?;
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-c").arg(&configuration).args(["-e", "stderr"]);
        let mut process = sandbox.spawn(Place::Guarded, nginx)?;
        sandbox.wait_listening(&mut process, &both_families(port)).context("nginx")?;
        Ok(Self { process, port, log: directory.join("access.log") })
    }

    /// Its log of requests.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn accesses(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))
    }
}
