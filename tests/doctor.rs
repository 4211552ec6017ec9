//! `tcpw doctor`, on hosts with something wrong.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tcpw_tests::{Requirement, Sandbox, Tcpw, Testd, TinyProgram, can_run, daemons::Xinetd};

fn ready(more: &[Requirement]) -> bool {
    can_run("doctor", &[&[Requirement::Root], more].concat())
}

/// What it found, and its exit code.
fn examine(sandbox: &Sandbox) -> Result<(Vec<Value>, Option<i32>)> {
    let cgroup = sandbox.cgroup().to_str().context("a path")?.to_owned();
    let mut process = Tcpw::spawn_command(sandbox, &["doctor", "--json", "--cgroup", &cgroup])?;
    let code = process.wait(std::time::Duration::from_secs(20))?.code();
    let text: String = process.lines().into_iter().map(|line| line.text).collect();
    Ok((serde_json::from_str(&text).with_context(|| format!("read the findings: {text}"))?, code))
}

/// The one finding of a check that says so.
fn find<'a>(findings: &'a [Value], check: &str, says: &str) -> Result<&'a Value> {
    let is_it = |it: &&Value| it["check"] == check && it["what"].as_str().is_some_and(|it| it.contains(says));
    let mut all = findings.iter().filter(is_it);
    let one = all.next().with_context(|| format!("{check} does not say {says:?}: {findings:#?}"))?;
    ensure!(all.next().is_none(), "{check} says {says:?} twice: {findings:#?}");
    Ok(one)
}

#[test]
fn host_without_a_daemon_has_a_problem() -> Result<()> {
    if !ready(&[]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("doctor")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let (nothing, code) = examine(&sandbox)?;
    assert_eq!(find(&nothing, "daemon", "no daemon runs, and no policy is pinned")?["weight"], "problem");
    assert_eq!(code, Some(2));

    let tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    let (well, code) = examine(&sandbox)?;
    assert_eq!((well.as_slice(), code), (&[][..], Some(0)), "nothing is wrong");

    drop(tcpw);
    let (pinned, code) = examine(&sandbox)?;
    find(&pinned, "daemon", "no daemon runs; a pinned policy is enforced")?;
    assert_eq!(code, Some(2));
    Ok(())
}

#[test]
fn what_else_judges_or_hides_clients_is_said() -> Result<()> {
    if !ready(&[Requirement::Program("/usr/sbin/xinetd")]) {
        return Ok(());
    }
    let sandbox = Sandbox::new("others")?;
    sandbox.write_tables("alphad: 1.2.3.\nghostd: 1.2.3.\n10ghosts, ghostd: 1.2.4.\n", "daytime: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _proxy = Testd::start(&sandbox, "docker-proxy", "0.0.0.0:7002")?;
    let _xinetd = Xinetd::start(&sandbox, 13)?;
    let program = TinyProgram::at_cgroup(sandbox.cgroup())?;
    let _tcpw = Tcpw::start(&sandbox, &[])?;
    Tcpw::wait_listener(&sandbox, 7001, |_| true)?;
    Tcpw::wait_listener(&sandbox, 7002, |_| true)?;
    Tcpw::wait_listener(&sandbox, 13, |_| true)?;

    let (found, code) = examine(&sandbox)?;
    assert_eq!(code, Some(1), "{found:#?}");
    let weight = |check, says| Ok::<_, anyhow::Error>(find(&found, check, says)?["weight"].clone());
    assert_eq!(weight("programs", "has the program empty (id ")?, "note");
    assert_eq!(weight("judged-twice", "has libwrap loaded (/")?, "note");
    assert_eq!(weight("proxies", "docker-proxy at 0.0.0.0:7002 passes connections on")?, "warning");
    assert_eq!(weight("rules", "nothing that listens is called ghostd (")?, "note");
    let ghostd = find(&found, "rules", "nothing that listens is called ghostd (")?;
    let what = ghostd["what"].as_str().context("no text")?;
    ensure!(what.ends_with("hosts.allow:2, and 1 more rules)"), "{what}");
    find(&found, "rules", "nothing that listens is called 10ghosts (")?;
    let open = find(&found, "rules", "no rule refuses any client of ")?["what"].to_string();
    ensure!(open.contains("alphad at [::]:7001") && !open.contains("xinetd"), "{open}");
    find(&found, "daemon", "the policy is not pinned")?;

    drop(program);
    let (found, _) = examine(&sandbox)?;
    ensure!(find(&found, "programs", "").is_err(), "{found:#?}");
    Ok(())
}
