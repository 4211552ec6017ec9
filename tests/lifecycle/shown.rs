//! `tcpw status` shows what the kernel applies, not what user space wrote.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData};
use tcpw_common::{ABI_VERSION, key::NamesId, outcome::Outcome};
use tcpw_tests::{Sandbox, Tcpw, Testd, wait_until};

use super::{PORT, SOON, ready};

#[test]
fn status_shows_the_policy_that_the_kernel_applies() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("shown")?;
    sandbox.write_tables("alphad: ALL\n", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", &format!("[::]:{PORT}"))?;
    let tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    let shown = || -> Result<String> {
        let row = Tcpw::wait_listener(&sandbox, PORT, |_| true)?;
        Ok(row["policy"].as_str().context("no policy")?.to_owned())
    };
    assert_eq!(shown()?, "allows all");
    // Its names have no entry any more: it is judged as any daemon.
    sandbox.mounts().run(forget_names)?;
    assert_eq!(shown()?, "refuses all; by its names: allows all");
    sandbox.mounts().run(allow_everything)?;
    let difference = shown()?;
    ensure!(
        difference.starts_with("the kernel decides Allow for ")
            && difference.contains(", the policy says Refuse"),
        "{difference}"
    );
    let silent = Tcpw::status(&sandbox)?["kernel_not_asked"].clone();
    ensure!(silent.is_null(), "{silent}");
    drop(tcpw);
    Ok(())
}

fn pinned(name: &str) -> Result<MapData> {
    let pin = format!("/sys/fs/bpf/tcpw/v{ABI_VERSION}/{name}");
    MapData::from_pin(&pin).with_context(|| format!("open {pin}"))
}

fn live_slot() -> Result<u32> {
    let active: Array<MapData, u32> = Map::Array(pinned("ACTIVE")?).try_into()?;
    Ok(active.get(&0, 0)?)
}

/// Removes every names-set of the policy in force.
fn forget_names() -> Result<()> {
    let all: ArrayOfMaps<MapData, HashMap<MapData, NamesId, u32>> =
        Map::ArrayOfMaps(pinned("NAMES")?).try_into()?;
    let mut names = all.get(&live_slot()?, 0)?;
    let known: Vec<NamesId> = names.keys().collect::<Result<_, _>>()?;
    ensure!(!known.is_empty(), "no names-set is known");
    for one in known {
        names.remove(&one)?;
    }
    Ok(())
}

/// Makes every outcome of the policy in force `Allow`.
pub(super) fn allow_everything() -> Result<()> {
    let all: ArrayOfMaps<MapData, Array<MapData, u8>> = Map::ArrayOfMaps(pinned("OUTCOMES")?).try_into()?;
    let mut outcomes = all.get(&live_slot()?, 0)?;
    for index in 0..outcomes.len() {
        outcomes.set(index, Outcome::Allow as u8, 0)?;
    }
    Ok(())
}

/// For monitoring: 0 the files are enforced, 1 something needs the administrator, 2 nothing is enforced.
#[test]
fn exit_code_of_status_says_whether_the_files_are_enforced() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("code")?;
    sandbox.write_tables("alphad: ALL\n", "ALL: ALL\n")?;
    let schema = serde_json::from_str(include_str!("../../docs/status.schema.json"))?;
    let schema = jsonschema::validator_for(&schema)?;
    let code = || -> Result<_> {
        let (status, code) = Tcpw::status_and_code(&sandbox)?;
        let wrong: Vec<String> = schema.iter_errors(&status).map(|error| error.to_string()).collect();
        ensure!(wrong.is_empty(), "not as the schema says: {wrong:?}: {status}");
        Ok((code, status["running"].clone()))
    };
    assert_eq!(code()?, (2, false.into()), "nothing was ever started");

    let tcpw = Tcpw::start(&sandbox, &["--pin"])?;
    assert_eq!(code()?, (0, true.into()));
    let status = Tcpw::status(&sandbox)?;
    assert_eq!(status["schema"], 1);
    for (table, path) in [("allow", sandbox.hosts_allow()), ("deny", sandbox.hosts_deny())] {
        let printed = std::process::Command::new("sha256sum").arg(path).output()?.stdout;
        let printed = String::from_utf8(printed)?;
        let hash = status["tables"][table]["sha256"].as_str().context("no hash")?;
        ensure!(hash.len() == 64 && printed.starts_with(hash), "{hash}, sha256sum: {printed}");
    }

    sandbox.write_tables("alphad ALL\n", "ALL: ALL\n")?;
    wait_until("the bad edit is a problem", SOON, || Ok(code()? == (1, true.into())))?;
    sandbox.write_tables("alphad: ALL\n", "ALL: ALL\n")?;
    wait_until("the files are in force again", SOON, || Ok(code()? == (0, true.into())))?;

    drop(tcpw);
    assert_eq!(code()?, (1, false.into()), "the policy is enforced, without lines and reloads");
    Tcpw::command(&sandbox, &["detach"])?;
    assert_eq!(code()?, (2, false.into()));

    let audit = sandbox.write_settings("mode = \"audit\"\n")?;
    let _tcpw = Tcpw::start(&sandbox, &["--config", &audit])?;
    assert_eq!(code()?, (2, true.into()), "nothing is refused");
    Ok(())
}
