//! `tcpw bans`: the bans that there are, with where they come from and how long they last.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use clap::Args;

use super::{DaemonArgs, Failure, Outcome, time_span};
use crate::{
    control::{BanList, ListedBan, Request, ask_for},
    log::{printable, rfc3339},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Flags of `tcpw bans`.
#[derive(Args, Clone, Debug)]
pub struct BansArgs {
    /// Print JSON, one ban a line
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub daemon_place: DaemonArgs,
}

/// Lists them, in the order of their networks.
///
/// # Errors
/// No daemon runs, or it does not answer.
pub fn run(arguments: &BansArgs) -> Result<Outcome, Failure> {
    let run_dir = arguments.daemon_place.run_dir()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut after = None;
    let mut shown = 0;
    loop {
        let list: BanList = ask_for(&run_dir, Request::Bans { after }, PATIENCE)?;
        if list.bans.is_empty() && shown == 0 && !arguments.json {
            writeln!(out, "no bans")?;
        }
        for listed in &list.bans {
            if arguments.json {
                writeln!(out, "{}", json(listed))?;
                continue;
            }
            if shown == 0 {
                line(&mut out, ["CLIENTS", "DAEMON", "LEFT", "SINCE", "BY", "REASON"])?;
            }
            shown += 1;
            show(listed, &mut out)?;
        }
        after = list.bans.last().map(|last| last.ban.of.clone());
        if after.is_none() {
            out.flush()?;
            return Ok(Outcome::Fine);
        }
    }
}

fn show(listed: &ListedBan, out: &mut impl Write) -> io::Result<()> {
    let ListedBan { ban, left_s } = listed;
    let left = left_s.map_or("for good".into(), |left| time_span::text(Duration::from_secs(left)));
    line(
        out,
        [
            &ban.of.network.to_string(),
            &printable(ban.of.daemon.as_deref().unwrap_or("every")),
            &left,
            &time(ban.facts.since),
            &printable(&ban.facts.by),
            &printable(&ban.facts.reason),
        ],
    )
}

fn line(out: &mut impl Write, columns: [&str; 6]) -> io::Result<()> {
    let [clients, daemon, left, since, by, reason] = columns;
    let line = format!("{clients:<22}  {daemon:<12}  {left:<8}  {since:<20}  {by:<8}  {reason}");
    writeln!(out, "{}", line.trim_end())
}

/// To the second.
fn time(milliseconds: u64) -> String {
    let seconds = Duration::from_secs(milliseconds / 1000);
    let time = rfc3339(SystemTime::UNIX_EPOCH.checked_add(seconds).unwrap_or(SystemTime::UNIX_EPOCH));
    time.replace(".000000Z", "Z")
}

fn json(listed: &ListedBan) -> serde_json::Value {
    let ListedBan { ban, left_s } = listed;
    serde_json::json!({
        "network": ban.of.network,
        "daemon": ban.of.daemon,
        "since": time(ban.facts.since),
        "until": ban.facts.until.map(time),
        "left_s": left_s,
        "reason": ban.facts.reason,
        "by": ban.facts.by,
    })
}
