//! Debian's real daemons, configured as Debian does, in a sandbox.
//!
//! None of them knows tcpw. Each listens when its `start` returns.

mod journald;
mod mail;
mod nginx;
mod oidentd;
mod rsyslog;
mod smtpd;
mod sshd;
mod tcpd;
mod unbound;
mod xinetd;

pub use journald::Journald;
pub use mail::Mail;
pub use nginx::Nginx;
pub use oidentd::oidentd;
pub use rsyslog::Rsyslog;
pub use smtpd::Smtpd;
pub use sshd::{SshKey, Sshd, SshdSockets};
pub use tcpd::Tcpd;
pub use unbound::{Unbound, Zones};
pub use xinetd::Xinetd;

use crate::namespace::Listening;

fn both_families(port: u16) -> [Listening; 2] {
    [false, true].map(|v6| Listening { v6, port })
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, SocketAddr},
        time::Duration,
    };

    use super::*;
    use crate::{
        CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER, Requirement, SERVER_V4, SERVER_V6, Sandbox,
        can_run, client::connect,
    };

    const SOON: Duration = Duration::from_secs(2);

    fn greeting(sandbox: &Sandbox, from: IpAddr, port: u16) -> String {
        let server = if from.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
        let server = SocketAddr::new(server, port);
        let mut attempt = connect(sandbox.client(), from, server, SOON).expect("attempt");
        assert!(attempt.is_connected(), "{from} to {server}: {:?}", attempt.ended);
        attempt.greeting(SOON)
    }

    #[test]
    fn every_client_reaches_unguarded_sshd_and_logs_in() {
        if !can_run("sshd", &[Requirement::Root, Requirement::Program("/usr/sbin/sshd")]) {
            return;
        }
        let sandbox = Sandbox::new("sshd").expect("sandbox");
        let key = SshKey::generate(&sandbox).expect("key");
        let mut dual = Sshd::start(&sandbox, &key, 22, SshdSockets::DualStack).expect("sshd");
        let mut per_family = Sshd::start(&sandbox, &key, 2222, SshdSockets::PerFamily).expect("sshd");
        for from in [CLIENT_V4, CLIENT_V4_OTHER, CLIENT_V6, CLIENT_V6_OTHER] {
            for port in [22, 2222] {
                assert!(greeting(&sandbox, from, port).starts_with("SSH-2.0-OpenSSH"));
            }
        }
        for (sshd, address) in [(&mut dual, "1.2.3.4"), (&mut per_family, "1.2.3.4")] {
            let said = key.log_in(&sandbox, CLIENT_V4, SERVER_V4, sshd.port, "echo $SSH_CONNECTION");
            assert!(said.expect("log in").starts_with("1.2.3.4 "));
            sshd.process
                .wait_for_line(&format!("Accepted publickey for root from {address} port"), SOON)
                .expect("sshd's own line");
        }
        assert!(
            !sandbox.server().listening().expect("table").contains(&crate::Listening { v6: false, port: 22 })
        );
    }

    #[test]
    fn nginx_and_xinetd_answer_and_a_closed_port_refuses() {
        let programs =
            ["/usr/sbin/nginx", "/usr/sbin/xinetd", "/usr/sbin/rsyslogd"].map(Requirement::Program);
        if !can_run("nginx, xinetd", &[&[Requirement::Root], programs.as_slice()].concat()) {
            return;
        }
        let sandbox = Sandbox::new("web").expect("sandbox");
        let rsyslog = Rsyslog::start(&sandbox).expect("rsyslog");
        let _nginx = Nginx::start(&sandbox, 80).expect("nginx");
        let _xinetd = Xinetd::start(&sandbox, 13).expect("xinetd");
        for from in [CLIENT_V4, CLIENT_V6] {
            assert!(greeting(&sandbox, from, 13).ends_with("UTC"), "the time of day");
            let server = if from.is_ipv6() { SERVER_V6 } else { SERVER_V4 };
            for (port, open) in [(80, true), (81, false)] {
                let attempt = connect(sandbox.client(), from, SocketAddr::new(server, port), SOON);
                assert_eq!(attempt.expect("attempt").is_connected(), open);
            }
        }
        for line in
            ["START: daytime-stream pid=0 from=::ffff:1.2.3.4", "START: daytime-stream pid=0 from=3ffe:"]
        {
            let line = rsyslog.wait_for_message(line, SOON).expect("xinetd's own line");
            assert!(line.contains(" xinetd-ipv6["), "{line}");
        }
    }
}
