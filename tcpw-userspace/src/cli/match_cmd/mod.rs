//! `tcpw match`: what the tables say to a client, and why; or to the cases of a file.

mod answers;
mod ask;
mod explain;
mod explain_in_force;
mod live;
mod options;
mod place;
mod show;
mod tell;

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{Failure, Outcome, PlaceArgs, in_use::tables_in_use, must_exist};
use crate::{
    cases::{self, TablesCache},
    config::TableArgs,
    control::AskError,
    parse::{Parsed, parse, pattern_files, tables, text::Texts},
    source::Source,
};
use ask::AskedConnection;
use explain::Explanation;
pub use explain_in_force::{ExplainArgs, run as explain_in_force};
use place::TablesAndTexts;

/// Bytes read and written at once.
const BUFFER: usize = 1 << 16;

const AFTER_HELP: &str = "\
Exit code: 0 allowed, 1 refused (of several addresses: any of them), 2 error.

Takes the arguments of tcpdmatch, and prints its lines: client:, server:, matched:, option:, access:.
No command of a rule is run, and no client is asked for its user: USER@ names one.

Keep tests for your policy: one JSON object a line, in a file such as policy.jsonl

  {\"daemon\":\"sshd\",\"client_addr\":\"192.0.2.1\",\"expect\":\"allow\"}
  {\"id\":\"no telnet\",\"daemon\":\"in.telnetd\",\"client_addr\":\"192.0.2.1\",\"expect\":\"deny\"}
  {\"daemon\":\"sshd\",\"client_addr\":\"198.51.100.7\",\"client_name\":\"www.example.com\",\"expect\":\"allow\"}

and before an edit goes live

  tcpw match --hosts-allow new.allow --hosts-deny new.deny --cases policy.jsonl

Each case is answered by a line of JSON (id, verdict, matched, via, warnings). Cases with another verdict
than expected are printed on standard error, with the rule that decided. Exit code: 0 all as expected,
1 some differ, 2 a line is not a case.

Fields: daemon, client_addr, client_name (\"paranoid\": name and address disagree), client_user,
client_port, server_addr, server_name, server_port, resident; allow, deny (a table's text, null for
none; without them: the tables of the command line) and files (texts of pattern files and banners by
path); expect, matched, via, warnings, severity, spawned, banner (what is expected). Nothing is looked
up and nothing is run: true, false, exit N and kill -9 $$ have their result, any other command succeeds.";

/// Flags of `tcpw match`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP, after_help = "More, and how to keep tests for a policy: --help")]
pub struct MatchArgs {
    /// The daemon, by name or, in digits, by port; the local address or name that the client connects to
    #[arg(value_name = "DAEMON[@SERVER]", required_unless_present = "cases")]
    pub daemon: Option<String>,
    /// An address, a host name (all its addresses are judged), "unknown" or "paranoid"; and its user
    #[arg(value_name = "[USER@]CLIENT", required_unless_present = "cases")]
    pub client: Option<String>,
    /// The port the daemon listens on
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Look up the name of an address where a rule depends on it
    #[arg(long)]
    pub resolve: bool,
    /// Ask the running daemon: the policy in force, and the names it remembers
    #[arg(long, conflicts_with_all = ["cases", "resolve", "trace", "here", "hosts_allow", "hosts_deny"])]
    pub live: bool,
    /// With --live: directory of the daemon's control socket [default: /run/tcpw]
    #[arg(long, value_name = "DIR", requires = "live")]
    pub run_dir: Option<PathBuf>,
    /// Tell why each rule before did not match, and what is wrong with it
    #[arg(long)]
    pub trace: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Judge the cases of a file, one JSON object a line; "-" is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["daemon", "client", "port", "resolve", "trace", "json"])]
    pub cases: Option<PathBuf>,
    /// Read hosts.allow and hosts.deny of the current directory
    #[arg(short = 'd', conflicts_with_all = ["hosts_allow", "hosts_deny", "config"])]
    pub here: bool,
    /// Accepted as in tcpdmatch, and not read: rules name a daemon by its name, not by inetd.conf
    #[arg(short = 'i', value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Settings that name the tables in use [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl MatchArgs {
    /// Where the daemon is.
    fn place(&self) -> PlaceArgs {
        PlaceArgs { config: self.config.clone(), run_dir: self.run_dir.clone(), pin_dir: None }
    }
}

/// Judges. Exit code 1 for a refusal or a difference, 2 for an error.
///
/// # Errors
/// A file or host that was named is not there.
pub fn run(arguments: &MatchArgs) -> Result<Outcome, Failure> {
    // Exit code 1 would be a verdict.
    run_all(arguments).map_err(|failure| match failure {
        Failure::Runtime(error) if error.is::<AskError>() => Failure::Usage(format!(
            "--live: {error:#}: see \"tcpw status\", or leave --live out to judge by the tables"
        )),
        Failure::Runtime(error) => Failure::Usage(format!("{error:#}")),
        Failure::Usage(message) => Failure::Usage(message),
    })
}

fn run_all(arguments: &MatchArgs) -> Result<Outcome, Failure> {
    must_exist("-i", arguments.inetd.as_deref())?;
    let [allow, deny] = if arguments.here {
        ["hosts.allow", "hosts.deny"].map(PathBuf::from)
    } else {
        tables_in_use(&arguments.tables, arguments.config.as_deref())?
    };
    let source = Source::new(allow, deny);
    match (&arguments.cases, &arguments.daemon, &arguments.client) {
        (Some(file), _, _) => run_cases(file, source),
        (None, Some(daemon), Some(client)) => {
            let questions = ask::questions(daemon, client, arguments.port, arguments.resolve)?;
            if arguments.live {
                return live::run(arguments, &questions);
            }
            answer(arguments, &source, &questions)
        }
        (None, _, _) => Err(Failure::usage("no DAEMON and CLIENT: name both, or --cases FILE")),
    }
}

/// All answers as JSON.
#[derive(Serialize)]
struct JsonAnswers<'a> {
    /// `allow`, or `deny` if any address is refused.
    verdict: &'static str,
    daemon: &'a str,
    answers: &'a [Explanation],
}

fn answer(arguments: &MatchArgs, source: &Source, questions: &[AskedConnection]) -> Result<Outcome, Failure> {
    let places = places(source, arguments.trace);
    let answers: Vec<Explanation> =
        questions.iter().map(|question| explain::explain(question, &places, arguments.trace)).collect();
    let refused = answers.iter().filter(|answer| answer.verdict == "deny").count();
    let verdict = if refused == 0 { "allow" } else { "deny" };
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if arguments.json {
        let daemon = questions.first().map_or("", |question| question.daemon.as_str());
        let report = JsonAnswers { verdict, daemon, answers: &answers };
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        show_all(questions, &answers, refused, &mut out)
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads no further still gets the exit code.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    Ok(if refused == 0 { Outcome::Fine } else { Outcome::Finding })
}

/// Reads the tables.
fn places(source: &Source, trace: bool) -> TablesAndTexts {
    // Only a trace tells what is wrong with the rules.
    let read = |texts: &Texts| match trace {
        true => parse(texts),
        false => Parsed { tables: tables(texts), diagnostics: Vec::new() },
    };
    let (texts, parsed) = source.read_as(read, |parsed| pattern_files(&parsed.tables));
    TablesAndTexts::new(parsed, texts)
}

fn show_all(
    questions: &[AskedConnection],
    answers: &[Explanation],
    refused: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    for (number, (question, answer)) in questions.iter().zip(answers).enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        show::show(question, answer, out)?;
    }
    if answers.len() > 1 {
        writeln!(out, "\n{refused} of {} addresses are refused", answers.len())?;
    }
    Ok(())
}

fn run_cases(file: &Path, source: Source) -> Result<Outcome, Failure> {
    let (name, input): (_, Box<dyn Read>) = if file == Path::new("-") {
        ("stdin".into(), Box::new(io::stdin()))
    } else {
        let open = |error| {
            let reason = crate::host::reason(&error);
            Failure::Usage(format!("--cases {}: {reason}: name a file of cases", file.display()))
        };
        (file.display().to_string(), Box::new(File::open(file).map_err(open)?))
    };
    let input = BufReader::with_capacity(BUFFER, input);
    let answers = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut remarks = io::stderr().lock();
    let count = cases::run(&name, input, answers, &mut remarks, &mut TablesCache::new(source))?;
    if count.compared > 0 || count.bad > 0 {
        writeln!(remarks, "{count}")?;
    }
    Ok(match count {
        cases::CaseCounts { bad: 1.., .. } => Outcome::Wrong,
        cases::CaseCounts { differing: 1.., .. } => Outcome::Finding,
        cases::CaseCounts { .. } => Outcome::Fine,
    })
}
