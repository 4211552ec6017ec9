//! A SYN of the same port and sequence number, long after the first.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use tcpw_common::{
    ABI_VERSION,
    limits::ONE_SYN_NS,
    seen::{SeenBucket, older},
};
use tcpw_tests::{Sandbox, Tcpw, Testd};

use super::{SOON, cookies::Client, ready};

/// Before: it was taken for a retransmit as long as there was room for the first, and never logged.
#[test]
fn syn_is_an_attempt_of_its_own_after_its_time() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("again")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin", "--on-deny", "drop"])?;
    let client = Client::new(&sandbox)?;
    client.knock(40_001, 7001)?;
    Tcpw::wait_counter(&sandbox, "refused", 1, SOON)?;
    client.knock(40_001, 7001)?;
    Tcpw::wait_counter(&sandbox, "retransmits", 1, SOON)?;
    sandbox.mounts().run(|| age(ONE_SYN_NS))?;
    let mark = tcpw.process.mark();
    client.knock(40_001, 7001)?;
    tcpw.process.wait_for_line_after(mark, "refused connect from", SOON)?;
    Tcpw::wait_counter(&sandbox, "refused", 2, SOON)?;
    client.knock(40_001, 7001)?;
    Tcpw::wait_counter(&sandbox, "retransmits", 2, SOON)
}

/// As a client that is refused and tries again from the same port.
#[test]
fn syn_with_another_sequence_number_is_an_attempt_of_its_own() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("again-other")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let _tcpw = Tcpw::start(&sandbox, &["--on-deny", "drop"])?;
    let client = Client::new(&sandbox)?;
    for isn in [1000, 1001, 1000, 1001, 2000] {
        client.knock_from(40_001, 7001, isn)?;
    }
    Tcpw::wait_counter(&sandbox, "refused", 3, SOON)?;
    Tcpw::wait_counter(&sandbox, "retransmits", 2, SOON)
}

/// The numbers by which attempts are found stay with the pinned maps.
#[test]
fn retransmit_after_a_restart_is_of_the_attempt_before_it() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("again-later")?;
    sandbox.write_tables("", "ALL: ALL\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "[::]:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &["--pin", "--on-deny", "drop"])?;
    let client = Client::new(&sandbox)?;
    for port in [40_001, 40_002] {
        client.knock(port, 7001)?;
    }
    Tcpw::wait_counter(&sandbox, "refused", 2, SOON)?;
    tcpw.process.kill_9()?;
    let _next = Tcpw::start(&sandbox, &["--pin", "--on-deny", "drop"])?;
    for port in [40_001, 40_002, 40_003] {
        client.knock(port, 7001)?;
    }
    Tcpw::wait_counter(&sandbox, "retransmits", 2, SOON)?;
    Tcpw::wait_counter(&sandbox, "refused", 3, SOON)
}

/// Makes every remembered attempt older.
fn age(by_ns: u64) -> Result<()> {
    let pin = format!("/sys/fs/bpf/tcpw/v{ABI_VERSION}/ATTEMPTS");
    let map = MapData::from_pin(&pin).with_context(|| format!("open {pin}"))?;
    let mut map: Array<MapData, SeenBucket> = Map::Array(map).try_into()?;
    let mut count = 0;
    for index in 0..map.len() {
        let before = map.get(&index, 0)?;
        let older = before.map(|cell| if cell == 0 { 0 } else { older(cell, by_ns) });
        if older != before {
            map.set(index, older, 0)?;
            count += 1;
        }
    }
    ensure!(count > 0, "no attempt is remembered");
    Ok(())
}
