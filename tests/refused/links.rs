//! Links of resets: they outlive the daemon if they are pinned, never their namespace's listeners.

use super::*;

fn links(sandbox: &Sandbox) -> Result<usize> {
    sandbox.mounts().run(|| {
        let mut count = 0;
        for version in fs::read_dir("/sys/fs/bpf/tcpw")? {
            for pin in fs::read_dir(version?.path())? {
                count += usize::from(pin?.file_name().to_string_lossy().starts_with("link_refuse_"));
            }
        }
        Ok(count)
    })
}

#[test]
fn pinned_resets_outlive_the_daemon_and_are_adopted_without_a_gap() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("pinned")?;
    sandbox.write_tables("alphad: 1.2.3.\n", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let with_pin = ["--pin", "--on-deny", "reset"];
    let mut tcpw = Tcpw::start(&sandbox, &with_pin)?;
    let refused = || attempt(&sandbox, CLIENT_V4_OTHER, SERVER_V4, 7001);
    assert_reset(&refused()?);
    tcpw.process.kill_9()?;
    assert_reset(&refused()?);
    assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    let (stop, tries) = (AtomicBool::new(false), Tries::default());
    let tcpw = thread::scope(|scope| -> Result<Tcpw> {
        let watcher = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let attempt = refused()?;
                ensure!(matches!(attempt.ended, Ended::Refused), "while it adopted: {attempt:?}");
                tries.tried();
                // Well below the limit of one source.
                thread::sleep(Duration::from_millis(25));
            }
            Ok(())
        });
        let adopted = Tcpw::start(&sandbox, &with_pin).and_then(|adopted| {
            tries.wait_more(6)?;
            Ok(adopted)
        });
        stop.store(true, Ordering::Relaxed);
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        adopted
    })?;
    assert_reset(&refused()?);
    assert_eq!(links(&sandbox)?, 1);
    drop(tcpw);
    // With other settings: the links of before are none of its.
    let _drops = Tcpw::start(&sandbox, &["--pin"])?;
    assert_dropped(&refused()?);
    assert_eq!(links(&sandbox)?, 0);
    Tcpw::command(&sandbox, &["detach"])?;
    assert_connected(&refused()?);
    assert!(!sandbox.mounts().run(|| Ok(fs::exists("/sys/fs/bpf/tcpw")?))?, "pins are left");
    Ok(())
}

#[test]
fn resets_end_with_a_daemon_that_does_not_pin() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("ends")?;
    sandbox.write_tables("", DENY)?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let mut tcpw = Tcpw::start(&sandbox, &RESET)?;
    assert_reset(&attempt(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    tcpw.process.kill_9()?;
    assert_connected(&patient(&sandbox, CLIENT_V4, SERVER_V4, 7001)?);
    Ok(())
}

#[test]
fn links_follow_the_listeners_of_each_namespace() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("links")?;
    sandbox.write_tables("", DENY)?;
    let _tcpw = Tcpw::start(&sandbox, &["--pin", "--on-deny", "reset"])?;
    assert_eq!(links(&sandbox)?, 0);
    let _here = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    wait_reset(&sandbox, CLIENT_V4, SERVER_V4, 7001)?;
    let there = Testd::start_at(&sandbox, Place::GuardedClient, "alphad", "0.0.0.0:7001")?;
    let wait_links = |wanted: usize| -> Result<()> {
        tcpw_tests::wait_until(&format!("{wanted} links"), SOON, || Ok(links(&sandbox)? == wanted))
    };
    wait_links(2)?;
    let server = SocketAddr::new(CLIENT_V4, 7001);
    assert_reset(&connect(sandbox.server(), SERVER_V4, server, PATIENCE)?);
    drop(there);
    wait_links(1)?;
    Tcpw::command(&sandbox, &["detach"])?;
    Ok(())
}
