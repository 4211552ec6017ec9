//! `tcpw ban` and `tcpw unban`: clients that are refused whatever the files say.

use std::{
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;

use super::{DaemonArgs, Failure, Outcome, time_span};
use crate::{
    control::{BANS_PER_REQUEST, BanOrder, BanResult, Banned, LONGEST_REASON, Request, ask_for},
    host::{self, Session},
    log::printable,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Networks that are named one by one in an answer.
const MOST_TOLD: usize = 10;

/// Longest name of a daemon, in bytes: that of libwrap.
const LONGEST_DAEMON: usize = 127;

/// Which bans.
#[derive(Args, Clone, Debug)]
pub struct BannedArgs {
    /// Addresses, or networks as ADDRESS/BITS
    #[arg(value_name = "CLIENT", required_unless_present = "from", value_parser = network)]
    pub clients: Vec<IpNet>,
    /// Read clients from a file, or from standard input (-), one a line
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Only at listeners with this name [default: at all]
    #[arg(long, value_name = "NAME", value_parser = daemon)]
    pub daemon: Option<String>,
}

/// Flags of `tcpw ban`.
#[derive(Args, Clone, Debug)]
pub struct BanArgs {
    /// Which.
    #[command(flatten)]
    pub banned: BannedArgs,
    /// For how long, as 90s, 10m, 1h, 7d [default: until tcpw unban]
    #[arg(long = "for", value_name = "TIME", value_parser = time_span::parse)]
    pub time: Option<Duration>,
    /// Why: tcpw bans and the records show it
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = reason, hide_default_value = true)]
    pub reason: String,
    /// Ban clients, too, that have a session on this host now
    #[arg(long)]
    pub force: bool,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Flags of `tcpw unban`.
#[derive(Args, Clone, Debug)]
pub struct UnbanArgs {
    /// Which.
    #[command(flatten)]
    pub banned: BannedArgs,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Bans. Exit code 1 if some are not banned.
///
/// # Errors
/// What is to be banned is not understood, no daemon runs, or it does not answer.
pub fn run(arguments: &BanArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let networks = arguments.banned.networks()?;
    let mut refused = Vec::new();
    let networks = match arguments.force {
        true => networks,
        false => without_sessions(networks, &host::sessions(), &mut refused),
    };
    let order = |networks: &[IpNet]| {
        Request::Ban(BanOrder {
            of: arguments.banned.of(networks),
            seconds: arguments.time.map(|time| time.as_secs()),
            reason: arguments.reason.clone(),
            by: user(),
        })
    };
    let mut result = give(&run_dir, &networks, order)?;
    refused.append(&mut result.refused);
    let time =
        arguments.time.map_or("until tcpw unban".into(), |time| format!("for {}", time_span::text(time)));
    let mut out = io::stdout().lock();
    match (result.done, networks.first()) {
        (0, _) | (_, None) => {}
        (1, Some(network)) if networks.len() == 1 => writeln!(out, "banned {network} {time}")?,
        (done, _) => writeln!(out, "banned {done} networks {time}")?,
    }
    if result.replaced > 0 {
        writeln!(out, "{} of them had a ban before: this one replaces it", result.replaced)?;
    }
    end(&refused, result.not_stored.as_deref())
}

/// Ends bans. Exit code 1 if there were none.
///
/// # Errors
/// As [`run`].
pub fn end_bans(arguments: &UnbanArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let networks = arguments.banned.networks()?;
    let result = give(&run_dir, &networks, |networks| Request::Unban(arguments.banned.of(networks)))?;
    if result.done > 0 {
        let bans = if result.done == 1 { "ban" } else { "bans" };
        writeln!(io::stdout().lock(), "ended {} {bans}", result.done)?;
    }
    end(&result.refused, result.not_stored.as_deref())
}

impl BannedArgs {
    fn of(&self, networks: &[IpNet]) -> Banned {
        Banned { networks: networks.to_vec(), daemon: self.daemon.clone() }
    }

    /// The clients of the arguments, then those of the file.
    fn networks(&self) -> Result<Vec<IpNet>, Failure> {
        let mut all = self.clients.clone();
        match self.from.as_deref() {
            None => {}
            Some(path) if path == Path::new("-") => read(io::stdin().lock(), "-", &mut all)?,
            Some(path) => {
                let name = path.display().to_string();
                let file = std::fs::File::open(path);
                let file =
                    file.map_err(|error| Failure::Usage(format!("{name}: {}", host::reason(&error))))?;
                read(BufReader::new(file), &name, &mut all)?;
            }
        }
        Ok(all)
    }
}

/// Reads one client a line; empty lines and those that begin with # have none. One wrong line, and nothing is done.
fn read(from: impl io::BufRead, name: &str, all: &mut Vec<IpNet>) -> Result<(), Failure> {
    for (number, line) in from.lines().enumerate() {
        let line = line.map_err(|error| Failure::Usage(format!("{name}: {}", host::reason(&error))))?;
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let parsed = network(line);
            all.push(
                parsed.map_err(|why| Failure::Usage(format!("{name}:{}: \"{line}\": {why}", number + 1)))?,
            );
        }
    }
    Ok(())
}

/// Gives an order in parts, each of which is in force and stored before the next.
fn give(
    run_dir: &Path,
    networks: &[IpNet],
    order: impl Fn(&[IpNet]) -> Request,
) -> Result<BanResult, Failure> {
    let mut all = BanResult::default();
    for part in networks.chunks(BANS_PER_REQUEST) {
        let result: BanResult = ask_for(run_dir, order(part), PATIENCE)?;
        all.done += result.done;
        all.replaced += result.replaced;
        all.refused.extend(result.refused);
        all.not_stored = all.not_stored.or(result.not_stored);
    }
    Ok(all)
}

/// Says what was not done.
fn end(refused: &[(IpNet, String)], not_stored: Option<&str>) -> Result<Outcome, Failure> {
    let mut messages = io::stderr().lock();
    for (network, why) in refused.iter().take(MOST_TOLD) {
        writeln!(messages, "tcpw: error: {network}: {}", printable(why))?;
    }
    if refused.len() > MOST_TOLD {
        writeln!(messages, "tcpw: error: {} more, likewise", refused.len() - MOST_TOLD)?;
    }
    if let Some(why) = not_stored {
        writeln!(
            messages,
            "tcpw: error: done, but not stored: it ends with the daemon, or with its pins: {}",
            printable(why)
        )?;
    }
    Ok(if refused.is_empty() && not_stored.is_none() { Outcome::Fine } else { Outcome::Finding })
}

/// Leaves out networks that have a client of a session.
fn without_sessions(
    networks: Vec<IpNet>,
    sessions: &[Session],
    refused: &mut Vec<(IpNet, String)>,
) -> Vec<IpNet> {
    let mut left = Vec::new();
    for network in networks {
        match sessions.iter().find(|session| network.contains(&session.client)) {
            None => left.push(network),
            Some(Session { client, of }) => refused.push((
                network,
                format!("{client} has a session on this host now ({of}): write --force to ban it"),
            )),
        }
    }
    left
}

/// An address or a network, without host bits.
fn network(text: &str) -> Result<IpNet, String> {
    let network = super::events::network(text)?;
    if network.trunc() != network {
        return Err(format!("it has host bits: perhaps {}", network.trunc()));
    }
    Ok(network)
}

fn daemon(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= LONGEST_DAEMON && !text.contains(char::is_whitespace);
    if is_name { Ok(text.into()) } else { Err("a name without blanks, of at most 127 bytes".into()) }
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() <= LONGEST_REASON {
        Ok(text.into())
    } else {
        Err(format!("at most {LONGEST_REASON} bytes"))
    }
}

/// The user that gives the order: the one that called sudo, if it is known.
fn user() -> String {
    let own = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let by_sudo =
        std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty() && name.len() <= LONGEST_DAEMON);
    by_sudo.or_else(own).unwrap_or_else(|| nix::unistd::getuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_line_of_a_file_is_named() {
        let mut all = Vec::new();
        read(&b"# bad ones\n\n 192.0.2.7 \n2001:db8::/32\n"[..], "list", &mut all).unwrap();
        assert_eq!(all.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["192.0.2.7/32", "2001:db8::/32"]);
        let wrong = |text: &str| match read(text.as_bytes(), "list", &mut Vec::new()) {
            Err(Failure::Usage(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(wrong("192.0.2.7\nnobody\n").starts_with("list:2: \"nobody\": "));
        assert!(wrong("192.0.2.7/24").ends_with("it has host bits: perhaps 192.0.2.0/24"));
    }

    #[test]
    fn clients_of_sessions_are_left_out() {
        let sessions = [Session { client: "192.0.2.7".parse().unwrap(), of: "root".into() }];
        let networks = ["192.0.2.0/24", "192.0.2.7/32", "192.0.3.0/24"].map(|text| text.parse().unwrap());
        let mut refused = Vec::new();
        let left = without_sessions(networks.to_vec(), &sessions, &mut refused);
        assert_eq!((left, refused.len()), (networks[2..].to_vec(), 2));
    }
}
