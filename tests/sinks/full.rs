//! A disk without room: lines are lost and counted, none is left in half, and room that comes back is used.

use anyhow::ensure;
use nix::mount::{MsFlags, mount};
use tcpw_tests::{CLIENT_V4, Testd, client::knock_from};

use super::*;

/// A disk for each sink: none takes the other's room.
const SMALL: [&str; 2] = ["/var/log/small-file", "/var/log/small-json"];

/// Mounts file systems of that size, or changes their size.
fn resize(sandbox: &Sandbox, size: &str, flags: MsFlags) -> Result<()> {
    let data = format!("size={size},mode=755");
    let one = |place: &&str| mount(Some("tmpfs"), *place, Some("tmpfs"), flags, Some(data.as_str()));
    sandbox.mounts().run(|| SMALL.iter().try_for_each(one).context("mount a small disk"))
}

/// A file as the server sees it.
fn text(sandbox: &Sandbox, file: &str) -> Result<String> {
    sandbox.mounts().run(|| Ok(fs::read_to_string(file)?))
}

#[test]
fn full_disk_leaves_whole_lines_counts_the_others_and_holds_up_no_other_sink() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("full")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    for name in ["small-file", "small-json"] {
        fs::create_dir(sandbox.scratch().join("log").join(name))?;
    }
    resize(&sandbox, "64k", MsFlags::empty())?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let small = ["file:/var/log/small-file/secure", "json:/var/log/small-json/tcpw.json"];
    let other = "file:/var/log/secure";
    let mut tcpw = Tcpw::start(&sandbox, &["--log", small[0], "--log", small[1], "--log", other])?;
    let knock = |ports: std::ops::Range<u16>| {
        sandbox.client().run(|| {
            ports.into_iter().try_for_each(|port| {
                knock_from(SocketAddr::new(CLIENT_V4, port), SocketAddr::new(SERVER_V4, 7001))
            })
        })
    };
    // Lines of 70 bytes and more: they do not fit.
    let attempts = 1_500;
    knock(20_000..20_000 + attempts)?;
    wait_for_lines(&sandbox.scratch().join("log/secure"), usize::from(attempts))?;
    assert_eq!(counts(&sandbox, other)?, [u64::from(attempts), 0, 0]);
    let mut before = Vec::new();
    for target in small {
        let settled = || {
            let [written, lost, waiting] = counts(&sandbox, target)?;
            Ok(waiting == 0 && lost > 0 && written + lost == u64::from(attempts))
        };
        wait_until(&format!("{target} is full"), SOON, settled)?;
        before.push(counts(&sandbox, target)?);
    }
    whole(&sandbox, [before[0][0], before[1][0]])?;

    let mark = tcpw.process.mark();
    resize(&sandbox, "1m", MsFlags::MS_REMOUNT)?;
    knock(30_000..30_020)?;
    for (target, [written, lost, _]) in small.into_iter().zip(&before) {
        let wanted = [written + 20, *lost, 0];
        wait_until(&format!("{target} writes again"), SOON, || Ok(counts(&sandbox, target)? == wanted))
            .with_context(|| format!("{:?}, not {wanted:?}", counts(&sandbox, target)))?;
        let again = format!("{target}: writes again; lines lost: {lost}");
        tcpw.process.wait_for_line_after(mark, &again, SOON)?;
        let said = tcpw.process.lines().into_iter().filter(|line| line.text.contains(&format!("{target}: ")));
        assert_eq!(said.count(), 2, "one message when it begins, one when it ends: {}", tcpw.process.tail());
    }
    whole(&sandbox, [before[0][0] + 20, before[1][0] + 20])
}

/// Both files have so many lines, all of them whole.
fn whole(sandbox: &Sandbox, [of_text, of_json]: [u64; 2]) -> Result<()> {
    let lines = text(sandbox, "/var/log/small-file/secure")?;
    let objects = text(sandbox, "/var/log/small-json/tcpw.json")?;
    ensure!(lines.ends_with('\n') && objects.ends_with('\n'), "{lines}\n{objects}");
    assert_eq!((lines.lines().count() as u64, objects.lines().count() as u64), (of_text, of_json));
    for line in lines.lines() {
        ensure!(line.ends_with("]: refused connect from 1.2.3.4 (1.2.3.4)"), "{line}");
    }
    for line in objects.lines() {
        let object: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        assert_eq!(object["client"]["address"], "1.2.3.4", "{line}");
    }
    Ok(())
}
