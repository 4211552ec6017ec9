//! The report of `cargo xtask bench report`; `tcpw-bench report DIRECTORY`.
//!
//! In: on standard input one JSON object with the measurements. Out: DIRECTORY/benchmarks.md, and its diagrams and the
//! measurements in DIRECTORY/benchmarks.
//! Invariant: every figure is of the measurements; what is compared was measured in turn, in one run.

use std::{fmt::Write as _, fs, io, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::plot::{Line, draw};

/// Writes the report.
pub(crate) fn run(directory: &str) -> Result<String> {
    let measured: Value = serde_json::from_reader(io::stdin()).context("read the measurements")?;
    let directory = Path::new(directory);
    let diagrams = directory.join("benchmarks");
    fs::create_dir_all(&diagrams).with_context(|| format!("make {}", diagrams.display()))?;
    let mut text = head(&measured)?;
    decisions(&measured, &diagrams, &mut text)?;
    reloads(&measured, &diagrams, &mut text)?;
    connections(&measured, &mut text)?;
    dropped(&measured, &mut text)?;
    under_load(&measured, &mut text)?;
    commands(&measured, &diagrams, &mut text)?;
    services(&measured, &mut text)?;
    hostile(&measured, &mut text)?;
    programs(&measured, &mut text)?;
    let all = diagrams.join("measured.json");
    fs::write(&all, format!("{measured:#}\n")).with_context(|| format!("write {}", all.display()))?;
    let path = directory.join("benchmarks.md");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn head(measured: &Value) -> Result<String> {
    let of = |key: &str| measured[key].as_str().with_context(|| format!("no {key}"));
    Ok(format!(
        "# Benchmarks\n\n{} on {}, release build of commit {}, by `{}`.\n\n\
         Compare figures of one row: those of different rows were measured at different times, and the machine is shared. \
         Ratios are medians of the ratios of rounds in which every way had its turn. Every figure: \
         [measured.json](benchmarks/measured.json).\n\n",
        of("date")?,
        of("system")?,
        of("commit")?,
        of("command")?,
    ))
}

fn list<'a>(measured: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    measured[key].as_array().with_context(|| format!("no {key}"))
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("no number: {value}"))
}

fn decisions(measured: &Value, diagrams: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "## A decision\n\nNanoseconds of a decision in the kernel about a client in a network, and in none; the loop around \
         it is subtracted. The flat table is compared with the kernel's LPM trie; `table = \"auto\"` takes the faster one.\n\n\
         ![](benchmarks/decision.svg)\n\n\
         | family | networks | in a network: trie | flat | ratio | in none: trie | flat | loaded: trie | flat | flat, bytes a network |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut lines: Vec<Line> = Vec::new();
    for run in list(measured, "decisions")? {
        let (family, networks) = (run["family"].as_str().context("no family")?, number(&run["networks"])?);
        let of = |form: &str, key: &str| number(&run[form][key]);
        for (form, name) in [("lpm", "trie"), ("flat", "flat")] {
            let name = format!("{family}, {name}");
            let figure = (networks, of(form, "hit_ns")?);
            match lines.iter_mut().find(|(known, _)| *known == name) {
                Some((_, figures)) => figures.push(figure),
                None => lines.push((name, vec![figure])),
            }
        }
        writeln!(
            text,
            "| {family} | {networks} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} ms | {:.1} ms | {:.1} |",
            of("lpm", "hit_ns")?,
            of("flat", "hit_ns")?,
            of("flat", "hit_ns")? / of("lpm", "hit_ns")?,
            of("lpm", "miss_ns")?,
            of("flat", "miss_ns")?,
            of("lpm", "load_ms")?,
            of("flat", "load_ms")?,
            of("flat", "bytes")? / networks,
        )?;
    }
    draw(&diagrams.join("decision.svg"), "A decision about a client in a network", "nanoseconds", &lines)
}

const LOADERS: [&str; 4] = ["tcpw", "tcpw, one line", "nftables", "ipset"];

fn reloads(measured: &Value, diagrams: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## From a file to enforced\n\nMilliseconds, medians. tcpw: from the write of hosts.deny to the switch to the new \
         tables, in the running daemon: programs that begin from then on use these. That includes 50 ms in which the file has to \
         stay the same; meanwhile it is parsed and compiled, and the loaded tables are compared with the rules. Settled: until \
         no program uses the tables before any more. nftables: `nft -f` of an interval set; ipset: `ipset restore` of a \
         hash:net.\n\n\
         ![](benchmarks/reload.svg)\n\n\
         | networks | tcpw, the whole file | tcpw, one line appended | settled | nft -f | ipset restore | nft / tcpw | ipset / tcpw | daemon's peak |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let mut lines: Vec<Line> = LOADERS.map(|name| (name.to_owned(), Vec::new())).into();
    for run in list(measured, "reloads")? {
        let networks = number(&run["networks"])?;
        let mut all = Vec::new();
        for (name, figures) in &mut lines {
            let ms = median(&numbers(&run["ms"][name.as_str()])?);
            figures.push((networks, ms));
            all.push(ms);
        }
        let settled = median(&numbers(&run["ms"]["tcpw, settled"])?);
        let [whole, line, nft, ipset] = all[..] else { continue };
        writeln!(
            text,
            "| {networks} | {whole:.0} | {line:.0} | {settled:.0} | {nft:.0} | {ipset:.0} | {:.1} | {:.1} | {:.0} MB |",
            nft / whole,
            ipset / whole,
            number(&run["peak_bytes"])? / 1e6,
        )?;
    }
    draw(&diagrams.join("reload.svg"), "From a file to enforced", "milliseconds", &lines)
}

fn connections(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## Connections a second\n\nOne client that is allowed connects, sends a byte, gets one, and closes, again and \
         again, over a veth pair; divided by what it does without a filter. Median and quartiles.\n\n\
         | networks | rounds | no filter | tcpw | nftables | ipset | no filter once more |\n|---|---|---|---|---|---|---|\n",
    );
    for run in list(measured, "peers")? {
        let none = numbers(&run["rates"]["none"])?;
        write!(text, "| {} | {} | {:.0} a second ", run["networks"], none.len(), median(&none))?;
        for way in ["tcpw", "nftables", "ipset", "none again"] {
            let rates = numbers(&run["rates"][way])?;
            let mut ratios: Vec<f64> = rates.iter().zip(&none).map(|(rate, none)| rate / none).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            let at = |quarter: usize| ratios.get(ratios.len() * quarter / 4).copied().unwrap_or(f64::NAN);
            write!(text, "| {:.3} ({:.3} to {:.3}) ", at(2), at(1), at(3))?;
        }
        text.push_str("|\n");
    }
    Ok(())
}

fn dropped(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## A refused SYN\n\nNanoseconds of a frame with the SYN of a refused client, which the kernel sends through a cable, \
         until it is dropped; medians. \"frame alone\" is dropped by an XDP program of two instructions: it is in every other \
         figure, and is subtracted for the ratios. All work for the frames is done on one CPU, as by a network card's poll, but \
         without a driver; tcpw's daemon has another CPU.\n\n",
    );
    let ways = [
        "frame alone",
        "early drop, XDP",
        "early drop, tcx",
        "gate",
        "iptables raw + ipset",
        "nftables raw",
        "nftables input",
    ];
    writeln!(
        text,
        "| networks | {} | XDP / ipset | tcx / ipset | gate / ipset | gate / nft input |",
        ways.join(" | ")
    )?;
    writeln!(text, "|{}", "---|".repeat(ways.len() + 5))?;
    for run in list(measured, "dropped")? {
        let of = |way: &str| numbers(&run["ns"][way]).map(|times| median(&times));
        write!(text, "| {} ", run["networks"])?;
        for way in ways {
            write!(text, "| {:.0} ", of(way)?)?;
        }
        let frame_alone = of("frame alone")?;
        let ratio = |way: &str, peer: &str| anyhow::Ok((of(way)? - frame_alone) / (of(peer)? - frame_alone));
        writeln!(
            text,
            "| {:.2} | {:.2} | {:.2} | {:.2} |",
            ratio("early drop, XDP", "iptables raw + ipset")?,
            ratio("early drop, tcx", "iptables raw + ipset")?,
            ratio("gate", "iptables raw + ipset")?,
            ratio("gate", "nftables input")?,
        )?;
    }
    Ok(())
}

fn under_load(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## Reloads while clients connect\n\nMilliseconds of a connection with one byte each way, counted from when it was \
         due: half of all, and of a hundred the slowest. Lost: an allowed client that was not served. Wrong: a verdict of the \
         rules before, after `applied` was said.\n\n\
         | networks | connections a second | no reload: half, 99th of 100 | reloads | with reloads: half, 99th of 100 | lost | wrong, of |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for run in list(measured, "under_load")? {
        let of = |key: &str, name: &str| number(&run[key][name]);
        writeln!(
            text,
            "| {} | {} | {:.2}, {:.2} | {} | {:.2}, {:.2} | {} | {} of {} |",
            run["networks"],
            run["rate"],
            of("without", "p50_ms")?,
            of("without", "p99_ms")?,
            run["reloads"],
            of("with", "p50_ms")?,
            of("with", "p99_ms")?,
            run["lost"],
            run["wrong"],
            run["certain"],
        )?;
    }
    Ok(())
}

fn commands(measured: &Value, diagrams: &Path, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## Commands\n\nMilliseconds of a command from its start to its end, medians, and the most memory it had, with so \
         many networks in hosts.deny. `match` is of one client, `list` of one service, `diff` of two equal files.\n\n\
         ![](benchmarks/commands.svg)\n\n| command | networks | ms | memory |\n|---|---|---|---|\n",
    );
    let mut lines: Vec<Line> = Vec::new();
    for run in list(measured, "commands")? {
        let (name, networks) = (run["command"].as_str().context("no command")?, number(&run["networks"])?);
        let ms = median(&numbers(&run["ms"])?);
        writeln!(text, "| {name} | {networks} | {ms:.0} | {:.0} MB |", number(&run["peak_bytes"])? / 1e6)?;
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, figures)) => figures.push((networks, ms)),
            None => lines.push((name.to_owned(), vec![(networks, ms)])),
        }
    }
    draw(&diagrams.join("commands.svg"), "Commands", "milliseconds", &lines)
}

fn services(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## Services\n\nEach service has a rule of its own in hosts.allow; all have the networks of hosts.deny. Bytes of a \
         slot: the tables of clients, which all services share, and what grows with the services.\n\n\
         | services | networks | compiled in | tables of clients | the rest |\n|---|---|---|---|---|\n",
    );
    for run in list(measured, "services")? {
        writeln!(
            text,
            "| {} | {} | {:.0} ms | {:.2} MB | {:.3} MB |",
            run["services"],
            run["networks"],
            number(&run["compile_ms"])?,
            number(&run["clients_bytes"])? / 1e6,
            number(&run["services_bytes"])? / 1e6,
        )?;
    }
    Ok(())
}

fn hostile(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## Tables that are made to be slow\n\nSeconds of the processor for parsing, indexing and compiling, divided by \
         those of the first; or the limit that the policy is beyond.\n\n\
         | table | seconds | ratio | memory | beyond |\n|---|---|---|---|---|\n",
    );
    let mut first = None;
    for run in list(measured, "hostile")? {
        let seconds = number(&run["total_s"])?;
        writeln!(
            text,
            "| {} | {seconds:.2} | {:.2} | {:.0} MB | {} |",
            run["shape"].as_str().context("no shape")?,
            seconds / *first.get_or_insert(seconds),
            number(&run["peak_bytes"])? / 1e6,
            run["beyond"].as_str().unwrap_or_default(),
        )?;
    }
    Ok(())
}

fn programs(measured: &Value, text: &mut String) -> Result<()> {
    text.push_str(
        "\n## The programs in the kernel\n\nAs the kernel counts them (BPF_ENABLE_STATS). The program `empty` does \
         nothing, for the same packets as the gate: its figure is the cost of counting, and is in every other one.\n\n| load | program | calls | ns a call |\n|---|---|---|---|\n",
    );
    for row in list(measured, "programs")? {
        let text_of = |key: &str| row[key].as_str().with_context(|| format!("no {key}"));
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            text_of("load")?,
            text_of("program")?,
            row["runs"],
            row["ns"]
        )?;
    }
    Ok(())
}

fn numbers(values: &Value) -> Result<Vec<f64>> {
    values.as_array().context("no figures")?.iter().map(number).collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
