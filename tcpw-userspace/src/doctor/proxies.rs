//! Listeners that pass connections on: what is behind them sees another client than the gate.

use super::{Facts, Found, Weight, judged};

/// Programs whose work is to pass connections on, by the name of their listener.
const PROXIES: [(&str, &str); 14] = [
    ("docker-proxy", "a container of Docker"),
    ("rootlessport", "a container of Podman or Docker without root"),
    ("slirp4netns", "a container without root"),
    ("pasta", "a container without root"),
    ("haproxy", "its servers"),
    ("envoy", "its upstreams"),
    ("traefik", "its services"),
    ("stunnel", "its service"),
    ("stunnel4", "its service"),
    ("sslh", "its services"),
    ("hitch", "its backend"),
    ("socat", "the other address"),
    ("rinetd", "the other address"),
    ("varnishd", "its backends"),
];

pub(super) fn check(facts: &Facts) -> Vec<Found> {
    let mut seen = Vec::new();
    for it in judged(facts) {
        let names = it.names.iter().chain([&it.ident]);
        let proxy = names
            .filter_map(|name| PROXIES.iter().find(|(proxy, _)| name.eq_ignore_ascii_case(proxy)))
            .next();
        if let Some((name, behind)) = proxy
            && !seen.contains(&(name, behind, it.local))
        {
            seen.push((name, behind, it.local));
        }
    }
    seen.into_iter()
        .map(|(name, behind, local)| Found {
            weight: Weight::Warning,
            what: format!("{name} at {local} passes connections on to {behind}"),
            consequence: format!(
                "its clients are judged here, by rules for {name}; what is behind it sees {name} as its client, so rules for that \
                 daemon do not see the real one"
            ),
            advice: format!("write the rules for {name}"),
        })
        .collect()
}
