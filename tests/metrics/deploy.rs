//! What `deploy/` and the documents say of metrics: every name is one that a running tcpw gives.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tcpw_tests::Scratch;

use super::{LOOPBACK, Scene, prometheus::promtool, ready, scrape::scrape};

/// Counters and gauges that only `tcpw status` has, or that metrics have in a form of their own.
const OF_STATUS: [&str; 6] = [
    "banners_waiting",
    "disagreements",
    "index_disagreements",
    "reset_namespaces",
    "reset_namespaces_without",
    "users_held",
];

fn read(path: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    fs::read_to_string(root.join(path)).with_context(|| path.to_owned())
}

/// Words that begin with `tcpw_`.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with("tcpw_")).collect()
}

/// First cells of the table below a heading, without their back quotes; several in one cell are several.
fn rows<'a>(text: &'a str, heading: &str) -> Result<Vec<&'a str>> {
    let (_, section) = text.split_once(&format!("\n{heading}\n")).with_context(|| heading.to_owned())?;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    Ok(cells.flat_map(|(cell, _)| cell.split(", ").map(|word| word.trim_matches('`'))).collect())
}

#[test]
fn names_of_the_rules_the_dashboard_and_the_documents_exist() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let scene = Scene::start("names", &format!("listen = \"{LOOPBACK}\""))?;
    scene.clients()?;
    // Every series of attempts is there.
    let samples = scene.wait_samples("the clients are counted", super::are_counted)?;
    let real = samples.names();
    for path in ["deploy/prometheus-rules.yml", "deploy/grafana-dashboard.json"] {
        let text = read(path)?;
        let named = names_in(&text);
        ensure!(named.len() > 5, "{path}: {named:?}");
        let missing: Vec<_> = named.difference(&real).collect();
        ensure!(missing.is_empty(), "{path} names what is not there: {missing:?}");
    }

    let text = scrape(&scene.sandbox, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")?.body;
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let families: BTreeSet<String> = kinds
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    let operations = read("docs/operations.md")?;
    let own: BTreeSet<String> = rows(&operations, "## Metrics")?
        .iter()
        .filter(|it| it.starts_with("tcpw_"))
        .map(|it| (*it).to_owned())
        .collect();
    let counters: BTreeSet<&str> = rows(&operations, "## Counters")?.into_iter().collect();
    let of_counters: BTreeSet<String> = counters
        .difference(&OF_STATUS.into())
        .map(|name| {
            let total = format!("tcpw_{name}_total");
            if families.contains(&total) { total } else { format!("tcpw_{name}") }
        })
        .collect();
    let documented: BTreeSet<String> = own.union(&of_counters).cloned().collect();
    let [more, less]: [Vec<_>; 2] =
        [documented.difference(&families).collect(), families.difference(&documented).collect()];
    ensure!(
        more.is_empty() && less.is_empty(),
        "documented and not there: {more:?}; not documented: {less:?}"
    );
    // What the encoder does not escape.
    let helps = text.lines().filter(|line| line.starts_with("# HELP "));
    let faulty: Vec<_> = helps.filter(|line| line.contains(['"', '\\']) || !line.ends_with('.')).collect();
    ensure!(faulty.is_empty(), "{faulty:?}");
    Ok(())
}

#[test]
fn promtool_accepts_the_rules_and_they_fire() -> Result<()> {
    if !ready(&["/usr/bin/promtool"]) {
        return Ok(());
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = tests.join("../deploy/prometheus-rules.yml");
    let said = promtool(&["check", "rules", &rules.display().to_string()], Stdio::null())?;
    ensure!(said.contains("SUCCESS: 9 rules found"), "{said}");
    let said = promtool(
        &["test", "rules", &tests.join("metrics/prometheus-rules-test.yml").display().to_string()],
        Stdio::null(),
    )?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

#[test]
fn dashboard_has_panels_whose_queries_promtool_accepts() -> Result<()> {
    if !ready(&["/usr/bin/promtool"]) {
        return Ok(());
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    ensure!(ids.len() == panels.len() && !panels.is_empty(), "each panel has an id of its own");
    ensure!(dashboard["uid"] == "tcpw" && dashboard["schemaVersion"].is_u64() && dashboard["id"].is_null());
    let mut rules = String::from("groups: [{ name: dashboard, rules: [\n");
    for panel in panels {
        let targets = panel["targets"].as_array().context("no targets")?;
        ensure!(!targets.is_empty() && panel["gridPos"]["w"].is_u64(), "{panel}");
        for target in targets {
            let query = target["expr"].as_str().context("no query")?;
            // What Grafana puts in their places.
            let query =
                query.replace("$__rate_interval", "1m").replace("$__range", "6h").replace("$instance", ".+");
            ensure!(!query.contains('$'), "{query}");
            rules += &format!("{{ record: 'a:b', expr: {} }},\n", serde_json::to_string(&query)?);
        }
        ensure!(panel["datasource"]["uid"] == "${datasource}", "{panel}");
    }
    rules += "]}]\n";
    let scratch = Scratch::new("dashboard");
    let file = scratch.write("rules.yml", &rules);
    promtool(&["check", "rules", "--lint=none", &file], Stdio::null()).context(rules)?;
    Ok(())
}
