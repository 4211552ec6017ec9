//! Tables as administrators' tools leave them, and as they stand in manuals.

use std::net::Ipv4Addr;

use super::Author;

/// A whole table.
pub(super) fn table(author: &mut Author<'_>, deny: bool) -> String {
    let mut text = String::from(if deny {
        "# /etc/hosts.deny: list of hosts that are _not_ allowed to access the system.\n#                  See the manual pages hosts_access(5)\n\n"
    } else {
        "# /etc/hosts.allow: list of hosts that are allowed to access the system.\n#\n"
    });
    let blocks = author.random.between(1, 3);
    for _ in 0..blocks {
        let addresses: Vec<String> = (0..author.random.between(1, 4)).map(|_| client(author)).collect();
        let block: String = match author.random.below(if deny { 7 } else { 4 }) {
            0 => manual(author),
            1 | 2 => (0..author.random.between(1, 4)).map(|_| author.rule() + "\n").collect(),
            // Cockpit's and BlockHosts' kind: everything in hosts.allow.
            3 => addresses.iter().map(|address| format!("ALL: {address} : deny\n")).collect(),
            // fail2ban
            4 => addresses.iter().map(|address| format!("ALL: {address}\n")).collect(),
            // DenyHosts
            5 => addresses
                .iter()
                .map(|address| {
                    format!("# DenyHosts: Tue May  5 10:11:12 2026 | sshd: {address}\nsshd: {address}\n")
                })
                .collect(),
            // sshguard; Wazuh
            _ if author.random.chance(50) => {
                format!("###sshguard###\nALL : {} : DENY\n###sshguard###\n", addresses.join(" "))
            }
            _ => addresses.iter().map(|address| format!("ALL:{address}\n")).collect(),
        };
        text += &block;
    }
    if deny && author.random.chance(20) {
        text += "ALL: ALL\n";
    }
    text
}

/// A client's address, as a tool has got it from a log.
fn client(author: &mut Author<'_>) -> String {
    if author.random.chance(70) {
        let address = author.world.v4(author.random);
        author.world.borders_v4(author.random, address, u32::MAX);
        return Ipv4Addr::from(address).to_string();
    }
    let address = author.world.v6(author.random);
    author.world.borders_v6(author.random, address, u128::MAX);
    let text = author.v6_text(address);
    // Not every tool knows that it takes brackets.
    if author.random.chance(60) { format!("[{text}]") } else { text }
}

/// Rules of the manual pages.
fn manual(author: &mut Author<'_>) -> String {
    const RULES: &[&str] = &[
        "ALL: LOCAL @some_netgroup\nALL: .foobar.edu EXCEPT terminalserver.foobar.edu\n",
        "ALL: some.host.name, .some.domain\nALL EXCEPT in.fingerd: other.host.name, .other.domain\n",
        "in.tftpd: LOCAL, .my.domain\n",
        "in.tftpd: ALL: (/usr/sbin/safe_finger -l @%h | /usr/bin/mail -s %d-%h root) &\n",
        "in.tftpd: ALL: spawn (/usr/sbin/safe_finger -l @%h | /usr/bin/mail -s %d-%h root) &\n",
        "ALL: PARANOID\n",
        "ALL : .bad.domain: DENY\nALL : ALL : ALLOW\n",
        "ALL: .friendly.domain: ALLOW\nALL: ALL: DENY\n",
        "sshd: ALL: spawn /bin/echo `date` access from %h >> /var/log/sshd.log\n",
        "in.ftpd : ... : twist /bin/echo 421 Some bounce message\n",
        "ALL : ALL : rfc931 3 : setenv HOME /tmp : umask 022\n",
        "sshd, in.telnetd : 10.0.0.0/255.255.255.0 EXCEPT 10.0.0.13\n",
        "rpcbind mountd nfsd statd lockd rquotad: 127.0.0.1 192.168.1.\n",
        "ALL: 127.0.0.1 [::1] LOCAL\nsshd: 10. 192.168. 172.16.0.0/12\n",
        "sshd: ALL EXCEPT /tmp/lwc/p0\n",
        "sshd : ALL : aclexec /usr/local/bin/geo %a\n",
        "vsftpd: ALL: banners /tmp/lwc/banners: deny\n",
        "ALL: UNKNOWN: severity auth.info: deny\n",
        "ALL : KNOWN EXCEPT .evil.test\n",
    ];
    let rules = *author.random.pick(RULES);
    for name in [
        "host.foobar.edu",
        "terminalserver.foobar.edu",
        "x.bad.domain",
        "a.friendly.domain",
        "some.host.name",
    ] {
        let domain = name.split_once('.').map_or(name, |(_, domain)| domain);
        if rules.contains(domain) {
            author.world.names.push(name.into());
        }
    }
    for address in ["10.0.0.13", "127.0.0.1", "192.168.1.9", "::1", "10.0.0.1"] {
        author.world.addresses.push(address.into());
    }
    rules.into()
}
