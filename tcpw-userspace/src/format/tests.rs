use super::*;

macro_rules! becomes {
    ($($name:ident: $text:expr => $want:expr;)*) => { $(#[test] fn $name() {
        let formatted = format($text);
        assert_eq!(formatted.text.escape_ascii().to_string(), $want[..].escape_ascii().to_string());
        assert_eq!(formatted.kept, []);
        assert_eq!(format(&formatted.text), formatted);
    })* };
}

macro_rules! stays {
    ($($name:ident: $text:expr => $why:ident;)*) => { $(#[test] fn $name() {
        let formatted = format($text);
        assert_eq!(formatted.text.escape_ascii().to_string(), $text[..].escape_ascii().to_string());
        assert_eq!(formatted.kept, [Kept { line: 1, why: Why::$why }]);
    })* };
}

becomes! {
    nothing: b"" => b"";
    many_lines_alike: b"all:1.2.3.4\nALL:10.0.0.0/8\nall:5.6.7.8\nsshd:\t1.2.3.4\nall :1.2.3.4\n"
        => b"ALL: 1.2.3.4\nALL: 10.0.0.0/8\nALL: 5.6.7.8\nsshd: 1.2.3.4\nALL: 1.2.3.4\n";
    lists_and_options: b"sshd  ,in.telnetd:10.0.0.0/8\t.example.com:ALLOW\n"
        => b"sshd, in.telnetd: 10.0.0.0/8, .example.com: allow\n";
    keywords: b"all except Known@local : known@All local EXCEPT paranoid unknown@unknown\n"
        => b"ALL EXCEPT KNOWN@LOCAL: KNOWN@ALL, LOCAL EXCEPT PARANOID, UNKNOWN@UNKNOWN\n";
    names_keep_their_case: b"local unknown SSHD : @Group /etc/All alL.example.com\n"
        => b"local, unknown, SSHD: @Group, /etc/All, alL.example.com\n";
    empty_lists: b":\n" => b":\n";
    empty_clients: b"sshd::allow\n" => b"sshd: : allow\n";
    addresses: b"ALL:[::1],[2001:db8::]/32 :deny\n" => b"ALL: [::1], [2001:db8::]/32: deny\n";
    commands_are_not_touched: b"ALL: ALL : Spawn = (echo  a\\:b | mail)  & : setenv A  b c \n"
        => b"ALL: ALL: spawn = (echo  a\\:b | mail)  &: setenv A  b c\n";
    comments_and_blank_lines_stay: b"#  A : b \n\n \t\r\n#\n" => b"#  A : b \n\n\n#\n";
    carriage_returns: b"# a\r\nsshd: ALL\r\n\r\n" => b"# a\nsshd: ALL\n\n";
    comment_that_swallows_a_line: b"# a \\\nsshd: ALL\nALL:ALL\n" => b"# a \\\nsshd: ALL\nALL: ALL\n";
    comment_that_swallows_an_empty_line: b"#\\\n\na:b\n" => b"#\\\n\na: b\n";
    short_rules_are_joined: b"sshd: 1.2.\\\n3.4 \\\n  LOCAL\n" => b"sshd: 1.2.3.4, LOCAL\n";
    lone_continuations_stay: b"ALL:ALL\n\\\n\\\n" => b"ALL: ALL\n\\\n\\\n";
    lone_nul_stays_behind: b"ALL: ALL \n" => b"ALL: ALL\n";
    tabs: b"sshd\t:\tALL\t:\tseverity\tauth.info : spawn\t(echo\ta \"b\tc\")\t&\n"
        => b"sshd: ALL: severity auth.info: spawn (echo a \"b\tc\") &\n";
    continued_commands_keep_their_lines: b"ALL : ALL \\\n\t: spawn (echo x | \\\n\t mail root) & \\\n\t: deny\n"
        => b"ALL: ALL: \\\n    spawn (echo x | \\\n    mail root) &: \\\n    deny\n";
    a_break_in_quotes_stays_where_it_is: b"ALL: ALL: spawn echo \"a \\\n b\" \\\n c\n"
        => b"ALL: ALL: spawn echo \"a \\\n b\" \\\n    c\n";
    excepts_in_a_row: b"a except,except b: c EXCEPT\n" => b"a EXCEPT EXCEPT b: c EXCEPT\n";
    inner_backslashes: b"a\\b \\c: d\\ e: spawn a\\b\n" => b"a\\b, \\c: d\\, e: spawn a\\b\n";
}

stays! {
    no_newline: b"ALL :ALL" => NoNewline;
    ends_in_continuation: b"ALL :ALL\\\n" => NoNewline;
    nul: b"ALL :ALL\0x\n a\n" => Nul;
    no_separator: b"ALL  ALL\n" => NoSeparator;
    unbalanced: b"ALL  : [::1 :allow\n" => Brackets;
    inner_comment: b"ALL  : 10. # mine\n" => InnerComment;
    indented_comment: b" #foo : bar\n" => InnerComment;
    empty_option: b"ALL :ALL:\n" => WrongOption;
    wrong_option: b"ALL :ALL:bogus\n" => WrongOption;
    backslash_before_blank: b"ALL :ALL \\ \n" => Backslash;
    backslash_before_carriage_return: b"ALL :ALL\\\r\n" => Backslash;
    backslash_before_colon: b"ALL :ALL: spawn a\\ : allow\n" => Backslash;
    comment_with_backslash_and_carriage_return: b"# a\\\r\n" => Backslash;
}

/// One rule with a list of so many clients.
fn long(count: usize, separator: &str) -> Vec<u8> {
    let clients: Vec<_> = (0..count).map(|index| format!("10.0.{index}.1")).collect();
    format!("sshd: {}\n", clients.join(separator)).into_bytes()
}

#[test]
fn long_rules_are_broken_between_patterns() {
    let formatted = format(&long(30, " "));
    let text = String::from_utf8(formatted.text.clone()).unwrap();
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.starts_with("sshd: 10.0.0.1, 10.0.1.1, "), "{text}");
    assert!(text.contains(", \\\n    10.0."), "{text}");
    assert_eq!(format(&formatted.text), formatted);
}

#[test]
fn rules_that_only_fit_on_one_line_stay_on_one() {
    let formatted = format(&long(176, ","));
    assert_eq!((formatted.kept.len(), formatted.text.iter().filter(|byte| **byte == b'\n').count()), (0, 1));
    assert_eq!(format(&formatted.text), formatted);
}

#[test]
fn rules_that_fit_no_more_stay_as_they_are() {
    let text = long(195, ",");
    let formatted = format(&text);
    assert_eq!(formatted.kept, [Kept { line: 1, why: Why::WouldBeTooLong }]);
    assert_eq!(formatted.text, text);
}

#[test]
fn nothing_behind_a_broken_line_is_touched() {
    let text = [b"a:b\n".to_vec(), vec![b'x'; 3000], b"\nc:d\n".to_vec()].concat();
    let formatted = format(&text);
    assert_eq!(formatted.text, [b"a: b\n", &text[4..]].concat());
    assert_eq!(formatted.kept, [Kept { line: 2, why: Why::TooLong }]);
}

#[test]
fn options_may_begin_a_line() {
    let text = format!("sshd: ALL: spawn {}: allow\n", "x".repeat(100));
    let formatted = format(text.as_bytes());
    let want = format!("sshd: ALL: \\\n    spawn {}: \\\n    allow\n", "x".repeat(100));
    assert_eq!(String::from_utf8(formatted.text).unwrap(), want);
}
