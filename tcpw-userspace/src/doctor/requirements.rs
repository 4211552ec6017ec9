//! What this machine lacks for tcpw to run at all.

use super::{Facts, Found, Weight};

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    let found = |missing: &String| {
        // `WHAT: WHAT TO DO`.
        let (what, advice) = missing.rsplit_once(": ").unwrap_or((missing, "see docs/limits.md"));
        Found {
            weight: Weight::Problem,
            what: what.to_owned(),
            consequence: "\"tcpw run\" ends with an error".into(),
            advice: advice.to_owned(),
        }
    };
    facts.missing.iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_what_comes_last() {
        let facts = Facts {
            missing: vec!["cgroup /x: No such file: name a cgroup2 directory".into()],
            ..Facts::default()
        };
        let found = check(&facts);
        assert_eq!(
            (found[0].what.as_str(), found[0].advice.as_str()),
            ("cgroup /x: No such file", "name a cgroup2 directory")
        );
    }
}
