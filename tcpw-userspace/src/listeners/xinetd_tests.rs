use super::*;

fn one(text: &str) -> XinetdServiceEntry {
    let (entries, diagnostics) = parse(text);
    assert_eq!(diagnostics, []);
    let mut services = services(entries);
    assert_eq!(services.len(), 1);
    services.remove(0)
}

fn messages(text: &str) -> Vec<(usize, String)> {
    parse(text).1.into_iter().map(|diagnostic| (diagnostic.line, diagnostic.message)).collect()
}

/// Debian's /etc/xinetd.conf.
const DEBIAN: &str = "# Simple configuration file for xinetd
#
# Some defaults, and include /etc/xinetd.d/

defaults
{

# Please note that you need a log_type line to be able to use log_on_success
# log_type = SYSLOG daemon info

}

includedir /etc/xinetd.d
";

/// Debian's /etc/xinetd.d/daytime with its first service turned on.
const DAYTIME: &str = "# default: off
# description: An internal xinetd service which gets the current system time
service daytime
{
\tdisable\t\t= no
\ttype\t\t= INTERNAL
\tid\t\t= daytime-stream
\tsocket_type\t= stream
\tprotocol\t= tcp
\tuser\t\t= root
\twait\t\t= no
}

# This is the udp version.
service daytime
{
\tdisable\t\t= yes
\ttype\t\t= INTERNAL
\tid\t\t= daytime-dgram
\tsocket_type\t= dgram
\tprotocol\t= udp
\tuser\t\t= root
\twait\t\t= yes
}                                                                               
";

#[test]
fn debian_main_file_includes_its_directory() {
    let (entries, diagnostics) = parse(DEBIAN);
    let include = XinetdEntry::IncludeDir("/etc/xinetd.d".into());
    assert_eq!(entries, [XinetdEntry::Defaults(Defaults::default()), include]);
    assert_eq!(diagnostics, []);
}

#[test]
fn debian_daytime_is_known_by_id_and_name() {
    let service = one(DAYTIME);
    assert_eq!(service.names(), ["daytime-stream", "daytime"]);
    assert!(service.is_tcp() && service.is_of_type("internal"));
    assert_eq!(service.port, None);
}

#[test]
fn server_and_libwrap_attribute_are_names() {
    let service = one("service ftp\n{\nsocket_type=stream\nserver = /usr/sbin/in.ftpd\n\
                       server_args = -l -a\nlibwrap = wrapped\nport = 2121\n}\n");
    assert_eq!(service.names(), ["ftp", "ftp", "wrapped", "in.ftpd"]);
    assert_eq!(service.port, Some(2121));
    assert!(service.is_tcp());
}

#[test]
fn tcpd_is_not_the_name_of_what_it_starts() {
    let service = one("service x\n{\nflags = NAMEINARGS IPv6\nserver = /usr/sbin/tcpd\n\
                       server_args = /usr/sbin/in.wrapd -v\n}\n");
    assert_eq!(service.names(), ["x", "x", "in.wrapd"]);
    assert!(service.has_flag("ipv6"));
}

#[test]
fn server_of_a_redirected_service_is_no_name() {
    let service = one("service x\n{\nserver = /bin/true\nredirect = 10.0.0.1 80\n}\n");
    assert_eq!(service.names(), ["x", "x"]);
}

#[test]
fn enabled_and_disabled_are_lists_of_ids() {
    let text = "defaults\n{\nenabled = a b c\nenabled -= c\ndisabled += b\n}\n\
                service a\n{\n}\nservice x\n{\nid = b\n}\nservice c\n{\n}\nservice b\n{\nid = d\n}\n";
    let (entries, diagnostics) = parse(text);
    assert_eq!(diagnostics, []);
    let ids: Vec<_> = services(entries).into_iter().map(|service| service.id).collect();
    assert_eq!(ids, ["a"]);
}

#[test]
fn first_of_two_values_stays() {
    assert_eq!(one("service x\n{\nid = a\nid = b\n}\n").id, "a");
}

#[test]
fn operators_need_no_blanks() {
    assert_eq!(one("service x\n{\nid=a\n\tflags=IPv4\n}\n").flags, ["IPv4"]);
}

#[test]
fn bad_line_skips_its_entry_alone_and_is_reported() {
    let text = "service a\n{\n  nonsense\n}\nservices b\n{\n}\nservice c\n{\n}\n";
    let (entries, _) = parse(text);
    assert_eq!(services(entries)[0].id, "c");
    assert_eq!(
        messages(text),
        [
            (3, "\"nonsense\": expected ATTRIBUTE = VALUE: entry skipped".into()),
            (5, "\"services\": expected service, defaults, include or includedir: entry skipped".into()),
        ]
    );
}

#[test]
fn entry_without_its_braces_is_reported() {
    assert_eq!(messages("service a\nid = b\n")[0].0, 1);
    assert_eq!(
        messages("service a\n{\nid = b\n"),
        [(1, "the entry has no closing \"}\": entry skipped".into())]
    );
    assert_eq!(messages("service\n"), [(1, "\"service\" without a name: entry skipped".into())]);
}

#[test]
fn port_out_of_range_skips_the_entry() {
    let text = "service a\n{\nport = 65536\n}\n";
    assert_eq!(parse(text).0, []);
    assert_eq!(messages(text)[0].0, 3);
}

#[test]
fn names_with_dot_or_tilde_are_not_included() {
    assert!(is_included(b"daytime") && is_included(b"a~b"));
    for name in [&b"."[..], b"..", b"daytime.rpmsave", b"daytime~", b""] {
        assert!(!is_included(name));
    }
}

#[test]
fn no_beginning_of_a_file_panics() {
    let text = format!("{DEBIAN}{DAYTIME}service x\n{{\nport =\nid\n= +\n-=\n}}\n");
    for (end, _) in text.char_indices() {
        services(parse(&text[..end]).0);
        services(parse(&text[end..]).0);
    }
}
