//! The strings of one request, as libwrap keeps them while it looks for a rule.
//!
//! Invariant: a string that an expansion has used stays sanitised, for later rules and log lines too.
//! Source: tcp_wrappers 7.6.q `eval.c`, `hosts_access.c` `client_match`.

use std::{borrow::Cow, cell::OnceCell};

use super::{
    host::{Host, cut},
    request::{AccessRequest, Lookup, RFC931_TIMEOUT_S},
    text::UNKNOWN,
};
use crate::parse::rule::{Text, TextPattern};

/// The request that is judged.
pub(super) struct Subject<'a> {
    pub(super) request: &'a AccessRequest<'a>,
    pub(super) lookup: &'a dyn Lookup,
    pub(super) client: Host<'a>,
    pub(super) server: Host<'a>,
    daemons: Cow<'a, [Text]>,
    user: OnceCell<Cow<'a, [u8]>>,
    /// Time limit of a user look-up, in seconds.
    pub(super) user_timeout_s: u32,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a AccessRequest<'a>, lookup: &'a dyn Lookup) -> Self {
        let known = request.known.client_user.filter(|user| !user.is_empty());
        let is_short = |name: &Text| cut(name).len() == name.len();
        Self {
            request,
            lookup,
            client: Host::client(request, lookup),
            server: Host::server(request, lookup),
            daemons: if request.daemons.iter().all(is_short) {
                Cow::Borrowed(request.daemons)
            } else {
                request.daemons.iter().map(|name| cut(name).into()).collect()
            },
            user: known.map_or_else(OnceCell::new, |user| Cow::Borrowed(cut(user)).into()),
            user_timeout_s: RFC931_TIMEOUT_S,
        }
    }

    /// Names of the daemon.
    pub(super) fn daemons(&self) -> &[Text] {
        &self.daemons
    }

    /// The name that `%d` expands to.
    pub(super) fn daemon(&self) -> &[u8] {
        self.daemons.first().map_or(UNKNOWN, |name| name)
    }

    /// Whether the user, looked up if need be, matches.
    pub(super) fn user_matches(&self, pattern: &TextPattern) -> bool {
        pattern.matches(self.user())
    }

    /// The user of the client, looked up if need be.
    pub(super) fn user(&self) -> &[u8] {
        self.user.get_or_init(|| {
            self.lookup
                .client_user(self.user_timeout_s)
                .map_or(Cow::Borrowed(UNKNOWN), |user| cut(&user).to_vec().into())
        })
    }

    /// `[user@]host` from what is already known.
    pub(super) fn client_text(&self) -> Vec<u8> {
        let host = self.client.info();
        match self.user.get() {
            Some(user) if !user.eq_ignore_ascii_case(UNKNOWN) => [user, &b"@"[..], host].concat(),
            Some(_) | None => host.to_vec(),
        }
    }

    /// `daemon@host`, or the daemon alone where the server's end is unknown.
    pub(super) fn server_text(&self) -> Vec<u8> {
        let host = self.server.info();
        if host.eq_ignore_ascii_case(UNKNOWN) {
            self.daemon().to_vec()
        } else {
            [self.daemon(), b"@", host].concat()
        }
    }

    /// The daemon's name, sanitised from now on.
    pub(super) fn sanitised_daemon(&mut self) -> &[u8] {
        let mut name = Cow::Borrowed(self.daemon());
        sanitise(&mut name);
        if let Cow::Owned(name) = name
            && let Some(first) = self.daemons.to_mut().first_mut()
        {
            *first = name.into();
        }
        self.daemon()
    }

    /// The user, looked up if need be, sanitised from now on.
    pub(super) fn sanitised_user(&mut self) -> &[u8] {
        self.user();
        if let Some(user) = self.user.get_mut() {
            sanitise(user);
        }
        self.user()
    }

    /// `client_text`; only the strings it consists of are sanitised from now on.
    pub(super) fn sanitised_client(&mut self) -> Vec<u8> {
        let mut text: Cow<'_, [u8]> = Cow::Owned(self.client_text());
        if text.len() == self.client.info().len() {
            return self.client.sanitised_info().to_vec();
        }
        sanitise(&mut text);
        text.into_owned()
    }

    /// `server_text`, likewise.
    pub(super) fn sanitised_server(&mut self) -> Vec<u8> {
        let mut text: Cow<'_, [u8]> = Cow::Owned(self.server_text());
        if text.len() == self.daemon().len() {
            return self.sanitised_daemon().to_vec();
        }
        sanitise(&mut text);
        text.into_owned()
    }
}

/// Replaces every byte that a shell could interpret.
///
/// Source: `percent_x.c`: letters, digits and `!@%-_=+:,./` stay, any other byte becomes `_`.
pub(super) fn sanitise(text: &mut Cow<'_, [u8]>) {
    let is_harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"!@%-_=+:,./".contains(byte);
    if !text.iter().all(is_harmless) {
        for byte in text.to_mut() {
            if !is_harmless(byte) {
                *byte = b'_';
            }
        }
    }
}
