//! JSON lines, of real attempts: each is as the schema says, and each field of the schema is in one of them.

use std::{collections::BTreeSet, net::UdpSocket, process::Command};

use anyhow::ensure;
use tcpw_tests::{
    CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, FORGEABLE, Place, Testd,
    client::{connect, knock, knock_from, lose_answers},
    daemons::{Unbound, Xinetd, Zones, oidentd},
};

use super::{
    schema::{Schema, fields_of},
    *,
};

/// Names, a user, a netgroup, a command, a service, a listener whose name is not proven, UDP, forged sources.
#[test]
fn every_line_is_as_the_schema_says_and_every_field_occurs() -> Result<()> {
    let programs = ["/usr/sbin/unbound", "/usr/sbin/oidentd", "/usr/sbin/xinetd", "/usr/sbin/nft"];
    if !ready() || !can_run("sinks", &programs.map(Requirement::Program)) {
        return Ok(());
    }
    let sandbox = Sandbox::new("json")?;
    sandbox.write_tables(
        "gammad: @trusted\n",
        "betad: ALL: twist /bin/echo \\: n\u{e4}\n\
         alphad: other.example.test: rfc931 5\n\
         gammad: ALL\n\
         ALL: .example.test\n\
         ALL: ALL\n",
    )?;
    let mut zones = Zones::default();
    zones.host("good", CLIENT_V4);
    zones.host("other", CLIENT_V4_OTHER);
    zones.host("good6", CLIENT_V6);
    let _unbound = Unbound::start(&sandbox, &zones)?;
    fs::write(sandbox.etc().join("netgroup"), "trusted (good.example.test,,)\n")?;
    let _identd = oidentd(&sandbox, Place::Client)?;
    let xinetd = Xinetd::start(&sandbox, 1301)?;
    let _daemons = [("alphad", "[::]:7001"), ("betad", "0.0.0.0:7002"), ("gammad", "0.0.0.0:7003")]
        .map(|(name, place)| Testd::start(&sandbox, name, place));
    let _udp = Testd::start(&sandbox, "deltad", "--udp 0.0.0.0:7004")?;
    let mut of_user = Command::new("setpriv");
    of_user.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    of_user.arg(Testd::program(&sandbox, "epsilond")?).arg("0.0.0.0:7005");
    let _of_user = Testd::run(&sandbox, Place::Guarded, of_user)?;
    let file = sandbox.scratch().join("log/tcpw.json");
    let text = sandbox.scratch().join("log/secure");
    let mut tcpw = Tcpw::start(
        &sandbox,
        &[
            "--log",
            "file:/var/log/secure",
            "--log",
            "json:/var/log/tcpw.json",
            "--log-allowed",
            "--on-deny",
            "close",
            FORGEABLE,
        ],
    )?;
    let attempts = [
        (CLIENT_V4_OTHER, 7001),
        (CLIENT_V6, 7001),
        (CLIENT_V6_OTHER, 7001),
        (CLIENT_V4_OTHER, 7002),
        (CLIENT_V4, 7003),
        (CLIENT_V4_OTHER, 7003),
        (CLIENT_V4, 7005),
        (CLIENT_V4, xinetd.port),
    ];
    for (count, (client, port)) in (1..).zip(attempts) {
        let attempt = connect(
            sandbox.client(),
            client,
            SocketAddr::new(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 }, port),
            SOON,
        )?;
        wait_for_lines(&file, count)
            .with_context(|| format!("{client} at port {port}: {}", tcpw.process.tail()))?;
        drop(attempt);
    }
    let ban = ["ban", "1.2.3.4", "--daemon", "gammad", "--for", "1h", "--reason", "a test"];
    Tcpw::command(&sandbox, &ban)?;
    let banned = connect(sandbox.client(), CLIENT_V4, SocketAddr::new(SERVER_V4, 7003), SOON)?;
    wait_for_lines(&file, attempts.len() + 1)?;
    drop(banned);
    sandbox.client().run(|| {
        UdpSocket::bind((CLIENT_V4, 0))?.send_to(b"x", (SERVER_V4, 7004))?;
        Ok(())
    })?;
    // More of a network than have a line of their own: the others are counted, at the end.
    lose_answers(sandbox.client(), true)?;
    let forged =
        |number: u16| knock_from((CLIENT_V4_OTHER, 40_000 + number).into(), (SERVER_V4, 7003).into());
    sandbox.client().run(|| (0..15).try_for_each(forged))?;
    let lines_of_their_own = attempts.len() + 1 + 1 + 10;
    wait_for_lines(&file, lines_of_their_own)?;
    Tcpw::wait_counter(&sandbox, "unproven_counted", 5, SOON)?;
    for target in ["file:/var/log/secure", "json:/var/log/tcpw.json"] {
        assert_eq!(counts(&sandbox, target)?, [lines_of_their_own as u64, 0, 0], "{target}");
    }
    tcpw.process.terminate(SOON)?;

    let objects = objects(&file)?;
    assert_eq!(objects.len(), lines_of_their_own + 1);
    assert_eq!(lines(&text).len(), objects.len(), "a line in each sink for each record");
    let schema = Schema::read()?;
    schema.check(&objects)?;
    let mut seen = BTreeSet::new();
    objects.iter().for_each(|object| fields_of(object, &mut seen));
    let missing: Vec<_> = schema.fields().into_iter().filter(|field| !seen.contains(field)).collect();
    ensure!(missing.is_empty(), "no line has {missing:?}: {objects:#?}");

    // Fields say what the lines of libwrap say.
    let of = |port: u16, client: IpAddr| {
        let is_it =
            |it: &&Value| it["server"]["port"] == port && it["client"]["address"] == client.to_string();
        objects.iter().find(is_it).with_context(|| format!("{client} at {port}: {objects:#?}"))
    };
    let asked = of(7001, CLIENT_V4_OTHER)?;
    assert_eq!(asked["client"]["name"], "other.example.test", "{asked:#}");
    assert_eq!(asked["client"]["user"], "root", "{asked:#}");
    assert_eq!(asked["client"]["as_seen"], "::ffff:1.2.4.4", "{asked:#}");
    assert_eq!((&asked["fate"], &asked["verdict"]), (&"refused".into(), &"refuse".into()), "{asked:#}");
    assert_eq!(asked["rule"]["line"], 2, "{asked:#}");
    assert_eq!(asked["rule"]["table"], "hosts.deny", "{asked:#}");
    let twisted = of(7002, CLIENT_V4_OTHER)?;
    assert_eq!(twisted["twist"], "/bin/echo : n\u{e4}", "{twisted:#}");
    assert_eq!(twisted["rule"]["text"], "betad: ALL: twist /bin/echo \\\\: n\u{e4}", "{twisted:#}");
    let allowed = of(7003, CLIENT_V4)?;
    assert_eq!(
        (&allowed["fate"], &allowed["source"]),
        (&"accepted".into(), &"handshake".into()),
        "{allowed:#}"
    );
    ensure!(
        allowed["lookups"].as_array().is_some_and(|all| all.iter().any(|it| {
            (&it["kind"], &it["asked"], &it["result"])
                == (&"netgroup".into(), &"trusted".into(), &"member".into())
        })),
        "{allowed:#}"
    );
    assert_eq!(of(7005, CLIENT_V4)?["listener"]["unproven_names"], serde_json::json!(["epsilond"]));
    assert_eq!(of(xinetd.port, CLIENT_V4)?["listener"]["service"], "daytime-stream");
    assert_eq!(of(7004, CLIENT_V4)?["protocol"], "udp");
    let counted = objects.last().context("a last line")?;
    assert_eq!(
        (&counted["kind"], &counted["network"], &counted["attempts"]),
        (&"unproven-count".into(), &"1.2.4.0/24".into(), &5.into()),
        "{counted:#}"
    );
    Ok(())
}

/// A name in the tables that is not UTF-8 is written so that it can be found again; a rotation is followed.
#[test]
fn bytes_that_are_no_text_are_escaped_and_a_rotated_file_is_left() -> Result<()> {
    if !ready() {
        return Ok(());
    }
    let sandbox = Sandbox::new("bytes")?;
    fs::write(sandbox.hosts_allow(), "")?;
    fs::write(sandbox.hosts_deny(), b"alphad: ALL, h\xf6st\\x: deny\n")?;
    let _alphad = Testd::start(&sandbox, "alphad", "0.0.0.0:7001")?;
    let (file, old) = (sandbox.scratch().join("log/tcpw.json"), sandbox.scratch().join("log/tcpw.json.1"));
    let tcpw = Tcpw::start(&sandbox, &["--log", "json:/var/log/tcpw.json"])?;
    sandbox.client().run(|| knock(CLIENT_V4, SocketAddr::new(SERVER_V4, 7001)))?;
    wait_for_lines(&file, 1)?;
    fs::rename(&file, &old)?;
    tcpw.process.signal(nix::sys::signal::Signal::SIGHUP)?;
    wait_until("the file is opened anew", SOON, || Ok(file.exists()))?;
    sandbox.client().run(|| knock(CLIENT_V4_OTHER, SocketAddr::new(SERVER_V4, 7001)))?;
    wait_for_lines(&file, 1)?;
    let schema = Schema::read()?;
    for (file, client) in [(&old, CLIENT_V4), (&file, CLIENT_V4_OTHER)] {
        let objects = objects(file)?;
        schema.check(&objects)?;
        assert_eq!(objects.len(), 1, "{objects:#?}");
        assert_eq!(objects[0]["client"]["address"], client.to_string());
        assert_eq!(objects[0]["rule"]["text"], "alphad: ALL, h\\xf6st\\\\x: deny", "{objects:#?}");
    }
    Ok(())
}
