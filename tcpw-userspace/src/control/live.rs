//! The running daemon's verdict on a client.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tcpw_common::{outcome::Outcome, probe::ProbeAnswer};

/// A client, and the daemon it would connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveQuestion {
    /// A name of the daemon, or its port in digits.
    pub daemon: String,
    /// Client address.
    pub client: IpAddr,
    /// Local address, if it matters.
    pub server: Option<IpAddr>,
    /// Local port, if the daemon has several.
    pub port: Option<u16>,
}

/// The daemon's verdict, and the reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// `allow` or `deny`.
    pub verdict: String,
    /// What decided: `rule`, `option`, `error`, `table-error`, `default`, `ban` or `exempt`.
    pub via: String,
    /// The rule: `allow:LINE`, `deny:LINE` or `none`.
    pub matched: String,
    /// The ban, if one decided.
    #[serde(default)]
    pub ban: Option<String>,
    /// The file it stands in.
    pub file: Option<String>,
    /// The line it begins at.
    pub line: Option<u32>,
    /// The client as its log line would name it.
    pub client: String,
    /// The listener: `sshd[123] 0.0.0.0:22`; none listens under that name.
    pub listener: Option<String>,
    /// The names that daemon lists may use for it.
    pub names: Vec<String>,
    /// Number of the policy in force.
    pub generation: u32,
    /// The look-ups that were needed, in order.
    pub lookups: Vec<LiveLookup>,
    /// The time limit passed: a name that is not among the look-ups was taken as unknown.
    pub gave_up: bool,
    /// No name is looked up at this port: it is a name server's.
    pub unnamed: bool,
    /// The kernel's decision about the same question.
    #[serde(default)]
    pub kernel: Option<LiveKernel>,
    /// Why the kernel was not asked.
    #[serde(default)]
    pub kernel_not_asked: Option<String>,
}

/// The kernel's decision, by the tables that are loaded and the code of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveKernel {
    /// `allow` or `deny`; `ask`: it leaves the client to the daemon.
    pub verdict: String,
    /// Number of the policy that decided.
    pub generation: u32,
    /// Whether this is the daemon's own verdict, or leaves the verdict to it.
    pub agrees: bool,
}

impl LiveAnswer {
    /// With the kernel's decision, or why there is none.
    pub(crate) fn with_kernel(mut self, asked: Result<(u32, ProbeAnswer), String>) -> Self {
        match asked {
            Ok((generation, _)) if generation != self.generation => {
                self.kernel_not_asked = Some("the policy changed meanwhile: ask again".into());
            }
            Ok((generation, ProbeAnswer { outcome, .. })) => {
                let verdict = match outcome {
                    Outcome::Exempt | Outcome::Allow => "allow",
                    Outcome::Refuse => "deny",
                    Outcome::Ask => "ask",
                };
                let is_exempt = self.via == "exempt";
                let agrees = match outcome {
                    Outcome::Ask => !is_exempt,
                    Outcome::Exempt => is_exempt,
                    Outcome::Allow | Outcome::Refuse => verdict == self.verdict && !is_exempt,
                };
                self.kernel = Some(LiveKernel { verdict: verdict.into(), generation, agrees });
            }
            Err(reason) => self.kernel_not_asked = Some(reason),
        }
        self
    }
}

/// A look-up behind a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveLookup {
    /// `name of ADDRESS`, or `netgroup NAME of HOST`.
    pub what: String,
    /// The name, `unknown` or `paranoid`; `member` or `no member`.
    pub answer: String,
    /// Whether the name was verified, or why it was not.
    pub confirmation: Option<String>,
    /// Milliseconds since it was looked up.
    pub age_ms: u64,
    /// Milliseconds for which it is kept.
    pub holds_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: &str, via: &str) -> LiveAnswer {
        serde_json::from_value(serde_json::json!({
            "verdict": verdict, "via": via, "matched": "none", "file": null, "line": null, "client": "192.0.2.1",
            "listener": null, "names": [], "generation": 7, "lookups": [], "gave_up": false, "unnamed": false,
        }))
        .unwrap()
    }

    #[test]
    fn kernel_agrees_if_it_decides_the_same_or_leaves_it_to_the_daemon() {
        let daemon = [("allow", "rule"), ("deny", "default"), ("allow", "exempt")];
        let agrees = |outcome| {
            daemon.map(|(verdict, via)| {
                let asked = Ok((7, ProbeAnswer { outcome, policy: 1 }));
                answer(verdict, via).with_kernel(asked).kernel.unwrap().agrees
            })
        };
        assert_eq!(agrees(Outcome::Allow), [true, false, false]);
        assert_eq!(agrees(Outcome::Refuse), [false, true, false]);
        assert_eq!(agrees(Outcome::Ask), [true, true, false]);
        assert_eq!(agrees(Outcome::Exempt), [false, false, true]);
        let later =
            answer("allow", "rule").with_kernel(Ok((8, ProbeAnswer { outcome: Outcome::Refuse, policy: 1 })));
        assert!(
            later.kernel.is_none() && later.kernel_not_asked.is_some(),
            "another policy is no disagreement"
        );
    }
}
