//! What sinks show of clients: everything, their networks, or keyed hashes.
//!
//! In: a record as it was made. Out: the same, with what is to be shown in the place of the client's address, name and
//! user. Invariant: where not everything is shown, no form of the record has the client's address, its name or its user,
//! nor what may hold them: the ban, the text of the rule, of a look-up, the command of `twist`.
//! Source: Aumasson and Bernstein, SipHash: a fast short-input PRF; SipHash-2-4, 64 bits.

use std::{
    hash::Hasher as _,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use siphasher::sip::SipHasher24;

use super::{CountedClients, Outcome, Record};
use crate::config::ShownAddresses;

/// Length of a shown network's prefix, bits: the same as those that unproven attempts are counted by.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 48;

/// The command of `twist` where it is not shown.
const HIDDEN_COMMAND: &[u8] = b"a command that is not shown";

/// Hides what is not to be shown.
#[derive(Debug)]
pub struct Privacy {
    how: ShownAddresses,
    key: [u8; 16],
}

impl Privacy {
    /// `key` is that of hashes.
    pub fn new(how: ShownAddresses, key: [u8; 16]) -> Self {
        Self { how, key }
    }

    /// Puts what is to be shown in the place of what is not.
    pub fn hide(&self, outcome: &mut Outcome) {
        match (self.how, outcome) {
            (ShownAddresses::Full, _) => {}
            (_, Outcome::Attempt(record)) => self.hide_client(record),
            (ShownAddresses::Truncated, Outcome::Count { .. }) => {}
            (ShownAddresses::Hashed, Outcome::Count { count, hidden }) => {
                if let CountedClients::Network(network) = &count.clients {
                    *hidden = Some(self.hash("network", network.to_string().as_bytes()));
                }
            }
        }
    }

    fn hide_client(&self, record: &mut Record) {
        let address = record.client.ip().to_canonical();
        let (shown, name, user) = match self.how {
            ShownAddresses::Full => return,
            ShownAddresses::Truncated => (network(address), None, None),
            ShownAddresses::Hashed => {
                let hash = |kind: &str, text: &[u8]| self.hash(kind, text);
                let name = record.client_name.as_ref().map(|name| hash("name", &name.to_ascii_lowercase()));
                let user = record.client_user.as_ref().map(|user| hash("user", user));
                (self.hash("address", address.to_string().as_bytes()), name, user)
            }
        };
        let host = name.as_ref().unwrap_or(&shown);
        record.client_text = user.as_ref().map_or_else(|| host.clone(), |user| format!("{user}@{host}"));
        record.client_name = name.map(|name| name.into_bytes().into());
        record.client_user = user.map(|user| user.into_bytes().into());
        record.client_address.clone_from(&shown);
        record.hidden_client = Some(shown);
        // Nothing behind this point has it.
        record.client = SocketAddr::new(IpAddr::from([0; 4]), record.client.port());
        record.ban = None;
        record.twist = record.twist.take().map(|_| HIDDEN_COMMAND.into());
    }

    /// `#` begins no address and no name: no tool takes a hash for one.
    fn hash(&self, kind: &str, text: &[u8]) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(kind.as_bytes());
        hasher.write(&[0]);
        hasher.write(text);
        format!("#{:016x}", hasher.finish())
    }
}

/// The network of a client.
fn network(address: IpAddr) -> String {
    let prefix = if address.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 };
    IpNet::new_assert(address, prefix).trunc().to_string()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        evaluate::{
            judgement::{Reason, RuleIndex, Verdict},
            request::HostName,
        },
        log::Forms as _,
        parse::{
            parse,
            rule::TableKind,
            text::{FileText, Texts},
        },
        record::{AttemptCount, CountedFor, JudgementRecord, LookupRecord, example},
        resolve::{Found, Question, Verified},
    };

    const RULE: &str = "ALL: root@good.example.test 192.0.2.7: twist echo 192.0.2.7\n";

    fn outcome(address: &str) -> Outcome {
        let client: IpAddr = address.parse().unwrap();
        let file = |text: &str| (Arc::new("/t".into()), FileText::Bytes(text.as_bytes().into()));
        let texts = Texts { allow: file(""), deny: file(RULE), files: [].into() };
        let name = || HostName::Known(b"Good.example.test".as_slice().into());
        let netgroup = Question::Netgroup {
            group: b"g".as_slice().into(),
            host: b"good.example.test".as_slice().into(),
        };
        Outcome::Attempt(Box::new(Record {
            client: (client, 40_000).into(),
            server: "198.51.100.1:22".parse().unwrap(),
            client_address: format!("::ffff:{address}"),
            client_text: "root@Good.example.test".into(),
            client_name: Some(b"Good.example.test".as_slice().into()),
            client_user: Some(b"root".as_slice().into()),
            judged: Some(JudgementRecord {
                verdict: Verdict::Refuse,
                reason: Reason::Twist,
                rule: Some(RuleIndex { table: TableKind::Deny, index: 0 }),
                tables: Arc::new(parse(&texts).tables),
                severity: None,
                effects: vec!["twist"],
            }),
            lookups: vec![
                LookupRecord {
                    question: Question::Name(client),
                    found: Found::Name(Verified { name: name(), warning: None }),
                    took: None,
                },
                LookupRecord { question: netgroup, found: Found::Member(true), took: None },
            ],
            twist: Some(format!("echo {address} root@good.example.test").into_bytes().into()),
            ..example()
        }))
    }

    /// Every form, as text.
    fn shown(outcome: &Outcome) -> String {
        let line = String::from_utf8(outcome.line("gate").line()).unwrap();
        let json = String::from_utf8(outcome.json().bytes().to_vec()).unwrap();
        format!("{line}{json}{:?}", outcome.journal("gate"))
    }

    fn hidden(how: ShownAddresses, key: u8, mut outcome: Outcome) -> String {
        Privacy::new(how, [key; 16]).hide(&mut outcome);
        shown(&outcome)
    }

    #[test]
    fn no_form_has_address_name_or_user_unless_all_is_shown() {
        let secrets = ["192.0.2.7", "example.test", "root"];
        let full = hidden(ShownAddresses::Full, 0, outcome("192.0.2.7"));
        assert!(secrets.iter().all(|secret| full.matches(secret).count() > 5), "{full}");
        for how in [ShownAddresses::Truncated, ShownAddresses::Hashed] {
            let text = hidden(how, 0, outcome("192.0.2.7"));
            for secret in secrets {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
            // Where the rule stands is shown.
            assert!(text.contains("\"line\":1") && text.contains("twist"), "{text}");
        }
    }

    #[test]
    fn truncated_client_is_its_network_in_every_form() {
        for (address, network) in [("192.0.2.7", "192.0.2.0/24"), ("2001:db8:1:2::7", "2001:db8:1::/48")] {
            let text = hidden(ShownAddresses::Truncated, 0, outcome(address));
            assert!(text.contains(&format!("twist {network} to a command that is not shown\n")), "{text}");
            assert!(text.contains(&format!("\"address\":\"{network}\"")), "{text}");
            assert!(text.contains(&format!("(\"TCPW_CLIENT\", \"{network}\")")), "{text}");
        }
    }

    #[test]
    fn hash_is_the_same_for_one_client_and_key_alone() {
        let of = |key, address: &str| {
            let text = hidden(ShownAddresses::Hashed, key, outcome(address));
            text.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
        };
        let first = of(1, "192.0.2.7");
        assert!(first.starts_with('#') && first.len() == 17, "{first}");
        assert_eq!(first, of(1, "::ffff:192.0.2.7"), "the same client");
        assert!(first != of(1, "192.0.2.8") && first != of(2, "192.0.2.7"));
    }

    #[test]
    fn count_shows_a_network_or_its_hash() {
        let count = || Outcome::Count {
            count: AttemptCount {
                time: SystemTime::UNIX_EPOCH,
                within: std::time::Duration::from_secs(60),
                counted_for: CountedFor::Unproven,
                clients: CountedClients::Network("192.0.2.0/24".parse().unwrap()),
                attempts: 3,
            },
            hidden: None,
        };
        assert_eq!(hidden(ShownAddresses::Truncated, 0, count()).matches("192.0.2.0/24").count(), 4);
        let text = hidden(ShownAddresses::Hashed, 0, count());
        assert!(
            !text.contains("192.0.2") && text.contains("refused 3 more unproven attempts from #"),
            "{text}"
        );
    }
}
