//! Which rules have the client's user looked up.
//!
//! In: rules. Out: whether libwrap would ask for the user because of a `user@` part or an option.

use crate::{
    evaluate::judgement::RuleIndex,
    parse::rule::{ClientPattern, List, OptionField, RuleEntry, RuleOption, TableKind, Tables},
};

/// Whether any rule has the user looked up: then connections may have to wait for it.
pub fn ask_for_users(tables: &Tables) -> bool {
    [&tables.allow, &tables.deny]
        .into_iter()
        // A plain rule has no user, and no option but `allow` or `deny`.
        .flat_map(|table| table.rules.kept())
        .any(|rule| has_user(&rule.clients) || options_ask(&rule.options))
}

/// Whether another user could have led to another rule than this one.
pub fn users_choose(tables: &Tables, rule: RuleIndex) -> bool {
    let upto = |kind, rules: usize| match (kind == rule.table, rule.table) {
        (true, _) => rules.min(rule.index + 1),
        (false, TableKind::Deny) => rules,
        (false, TableKind::Allow) => 0,
    };
    [&tables.allow, &tables.deny].into_iter().any(|table| {
        let before = table.rules.entries().take(upto(table.kind, table.rules.len()));
        before.into_iter().any(|rule| matches!(rule, RuleEntry::Kept(rule) if has_user(&rule.clients)))
    })
}

fn has_user(list: &List<ClientPattern>) -> bool {
    let lists = std::iter::successors(Some(list), |list| list.except.as_deref());
    lists.flat_map(|list| &list.patterns).any(|pattern| pattern.user.is_some())
}

/// Whether the options of a rule do, once it matches: `rfc931`, and `%u` in a command.
pub(super) fn options_ask(options: &[OptionField]) -> bool {
    options.iter().filter_map(|field| field.option.as_ref().ok()).any(|option| match option {
        RuleOption::Rfc931(_) => true,
        RuleOption::Spawn(template)
        | RuleOption::Twist(template)
        | RuleOption::Aclexec(template)
        | RuleOption::Setenv(template) => expands_user(template),
        RuleOption::Allow
        | RuleOption::Deny
        | RuleOption::Severity(_)
        | RuleOption::Keepalive
        | RuleOption::Linger(_)
        | RuleOption::Nice(_)
        | RuleOption::Umask(_)
        | RuleOption::User(_)
        | RuleOption::Group(_)
        | RuleOption::Banners(_) => false,
    })
}

fn expands_user(template: &[u8]) -> bool {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1) {
            Some(b'u') => return true,
            Some(_) => rest = &rest[at + 2..],
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::expands_user;

    #[test]
    fn only_the_letter_u_behind_a_percent_sign_asks() {
        for (template, asks) in
            [("echo %u", true), ("%%u", false), ("%%%u", true), ("u%", false), ("%c %h", false)]
        {
            assert_eq!(expands_user(template.as_bytes()), asks, "{template}");
        }
    }
}
