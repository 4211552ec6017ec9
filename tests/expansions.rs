//! % expansion, byte for byte as libwrap's: 252 templates with hostile names, as the shell and the
//! client got them.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::{Deserialize, Deserializer, de};
use tcpw_tests::policy::tables;
use tcpw_userspace::{
    evaluate::{
        evaluate,
        judgement::{EffectAction, Judgement},
        request::{AccessRequest, Banner, HostName, Known, Lookup},
    },
    parse::{rule::Text, text::FileText},
};

#[derive(Deserialize)]
struct Case {
    daemon: String,
    client_addr: Option<String>,
    client_name: Option<Bytes>,
    client_user: Option<Bytes>,
    client_port: Option<u16>,
    server_addr: Option<String>,
    server_name: Option<Bytes>,
    server_port: Option<u16>,
    template: String,
    command: String,
    banner: Option<String>,
    warnings: Vec<String>,
}

/// A JSON string with any byte in it: those that are no text are written `\udcNN`.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            // serde_json gives a lone surrogate in the three bytes of generalised UTF-8.
            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Bytes, E> {
                let mut out = Vec::new();
                let mut rest = text;
                while let [byte, behind @ ..] = rest {
                    if let [0xed, high @ 0xb2..=0xb3, low, behind @ ..] = rest {
                        out.push((high & 3) << 6 | low & 0x3f);
                        rest = behind;
                    } else {
                        out.push(*byte);
                        rest = behind;
                    }
                }
                Ok(Bytes(out))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// The banner of every daemon is the template.
struct Templates<'a>(&'a Case);

impl Lookup for Templates<'_> {
    fn user_exists(&self, _: &[u8]) -> bool {
        true
    }

    fn group_exists(&self, _: &[u8]) -> bool {
        true
    }

    fn banner(&self, _: &Path, _: &[u8]) -> Banner {
        Banner::Text(self.0.template.clone().into_bytes())
    }
}

fn judge(case: &Case, option: &str) -> Judgement {
    let deny = format!("ALL: ALL: {option}\n");
    let tables = tables(None, Some(&deny), BTreeMap::<_, FileText>::new());
    let name = |name: &Option<Bytes>| match name.as_ref().map(|name| name.0.as_slice()) {
        None => HostName::Unknown,
        Some(b"paranoid") => HostName::Paranoid,
        Some(name) => HostName::Known(name.into()),
    };
    let (client_name, server_name) = (name(&case.client_name), name(&case.server_name));
    let daemons = [Text::from(case.daemon.as_bytes())];
    let request = AccessRequest {
        daemons: &daemons,
        client_address: case.client_addr.as_deref(),
        server_address: case.server_addr.as_deref(),
        client_port: case.client_port,
        server_port: case.server_port,
        pid: 4242,
        resident: false,
        known: Known {
            client_name: Some(&client_name),
            server_name: Some(&server_name),
            client_user: Some(case.client_user.as_ref().map_or(b"unknown", |user| &user.0)),
        },
    };
    evaluate(&tables, &request, &Templates(case))
}

/// Text as the file of cases has it: bytes that are not UTF-8 as `\xNN`.
fn shown(text: &[u8]) -> String {
    let chunks = text.utf8_chunks().map(|chunk| {
        let escaped: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("{}{escaped}", chunk.valid())
    });
    chunks.collect()
}

fn text_of(judgement: &Judgement) -> String {
    match judgement.effects.first().map(|effect| &effect.action) {
        Some(EffectAction::Spawn(text) | EffectAction::Banner(text)) => shown(text),
        other => panic!("unexpected effect: {other:?}"),
    }
}

#[test]
fn every_expansion_is_libwraps_byte_for_byte() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/expansions.jsonl");
    let text = fs::read_to_string(path).expect("read the cases");
    let cases: Vec<Case> = text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect();
    assert_eq!(cases.len(), 252);
    let mut failures = Vec::new();
    for case in &cases {
        let template = &case.template;
        let spawned = judge(case, &format!("spawn /tmp/lwc/rec {template}"));
        let got = (text_of(&spawned), spawned.warnings);
        let want = (case.command.clone(), case.warnings.clone());
        if got != want {
            failures.push(format!("{template:?}\n  libwrap {want:?}\n  ours    {got:?}"));
        }
        if let Some(want) = &case.banner {
            let banner = judge(case, "banners /nowhere");
            let got = text_of(&banner);
            if got != *want {
                failures.push(format!("banner {template:?}\n  libwrap {want:?}\n  ours    {got:?}"));
            }
        }
    }
    println!("expansions: {} cases, {} failures", cases.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn hostile_bytes_never_reach_a_shell() {
    for byte in 0..=255u8 {
        let name = HostName::Known([b'a', byte, b'z'].into());
        let user = [b'u', byte];
        let request = AccessRequest {
            known: Known { client_name: Some(&name), client_user: Some(&user), ..Known::default() },
            ..AccessRequest::default()
        };
        let tables = tables(None, Some("ALL: ALL: spawn %n|%u|%c|%h\n"), BTreeMap::new());
        let judgement = evaluate(&tables, &request, &tcpw_userspace::evaluate::Unknown);
        let Some(EffectAction::Spawn(command)) = judgement.effects.first().map(|effect| &effect.action)
        else {
            panic!("nothing spawned");
        };
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"!@%-_=+:,./|".contains(byte);
        assert!(command.iter().all(harmless), "{byte:#x}: {}", shown(command));
    }
}
