//! The language of xinetd.conf(5), as far as names depend on it.
//!
//! In: the text of one file. Out: its entries in order, and what is wrong in it.
//! [`services`] turns the entries of all files into the services that run. No I/O.
//! Source: xinetd.conf(5); xinetd 2.3.15 `parse.c`, `confparse.c`.

use std::path::PathBuf;

/// One entry of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XinetdEntry {
    /// `service NAME { .. }`, unless `disable = yes` stands in it.
    Service(Box<XinetdServiceEntry>),
    /// The part of `defaults { .. }` that selects the services to run.
    Defaults(Defaults),
    /// `include FILE`.
    Include(PathBuf),
    /// `includedir DIRECTORY`.
    IncludeDir(PathBuf),
}

/// A service entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XinetdServiceEntry {
    /// Its name.
    pub name: String,
    /// `id`: the name, if none is given.
    pub id: String,
    /// `type`: INTERNAL, UNLISTED, RPC, TCPMUX, TCPMUXPLUS.
    pub types: Vec<String>,
    /// `flags`: NAMEINARGS, IPv4, IPv6 and others.
    pub flags: Vec<String>,
    /// `socket_type`.
    pub socket_type: Option<String>,
    /// `protocol`.
    pub protocol: Option<String>,
    /// `port`.
    pub port: Option<u16>,
    /// `bind` or `interface`: an address or a host name.
    pub bind: Option<String>,
    /// `server`: a path.
    pub server: Option<String>,
    /// `server_args`.
    pub server_args: Vec<String>,
    /// `libwrap`: the name xinetd gives to libwrap.
    pub libwrap: Option<String>,
    /// Whether `redirect` is given, which makes `server` meaningless.
    pub is_redirected: bool,
}

/// The part of a defaults entry that selects the services to run. Both are lists of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `enabled`: these alone run, if there is such a line.
    pub enabled: Option<Vec<String>>,
    /// `disabled`: these do not run.
    pub disabled: Vec<String>,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XinetdDiagnostic {
    /// Physical line, from 1.
    pub line: usize,
    /// What is wrong, and its consequence.
    pub message: String,
}

/// Reads one file.
pub fn parse(text: &str) -> (Vec<XinetdEntry>, Vec<XinetdDiagnostic>) {
    let mut parser = XinetdParser { lines: Lines::new(text), entries: Vec::new(), diagnostics: Vec::new() };
    while let Some((number, line)) = parser.lines.next() {
        parser.entry(number, line);
    }
    (parser.entries, parser.diagnostics)
}

/// The services that run, out of the entries of all files in the order xinetd reads them.
pub fn services(entries: impl IntoIterator<Item = XinetdEntry>) -> Vec<XinetdServiceEntry> {
    let mut services = Vec::new();
    let mut defaults = Defaults::default();
    for entry in entries {
        match entry {
            XinetdEntry::Service(service) => services.push(*service),
            XinetdEntry::Defaults(more) => {
                if let Some(ids) = more.enabled {
                    defaults.enabled.get_or_insert_default().extend(ids);
                }
                defaults.disabled.extend(more.disabled);
            }
            XinetdEntry::Include(_) | XinetdEntry::IncludeDir(_) => {}
        }
    }
    services.retain(|service| {
        let is_enabled = defaults.enabled.as_ref().is_none_or(|ids| ids.contains(&service.id));
        is_enabled && !defaults.disabled.contains(&service.id)
    });
    services
}

/// Whether `includedir` reads a file of this name.
pub fn is_included(file_name: &[u8]) -> bool {
    !file_name.is_empty() && !file_name.contains(&b'.') && !file_name.ends_with(b"~")
}

impl XinetdServiceEntry {
    /// Whether `type` has this value.
    pub fn is_of_type(&self, value: &str) -> bool {
        self.types.iter().any(|have| have.eq_ignore_ascii_case(value))
    }

    /// Whether `flags` has this value.
    pub fn has_flag(&self, value: &str) -> bool {
        self.flags.iter().any(|have| have.eq_ignore_ascii_case(value))
    }

    /// Whether it is served over TCP.
    pub fn is_tcp(&self) -> bool {
        match (&self.protocol, &self.socket_type) {
            (Some(protocol), _) => matches!(protocol.as_str(), "tcp" | "tcp6"),
            (None, Some(socket_type)) => socket_type == "stream",
            (None, None) => false,
        }
    }

    /// Whether it is served over UDP.
    pub fn is_udp(&self) -> bool {
        match (&self.protocol, &self.socket_type) {
            (Some(protocol), _) => matches!(protocol.as_str(), "udp" | "udp6"),
            (None, Some(socket_type)) => socket_type == "dgram",
            (None, None) => false,
        }
    }

    /// The names that daemon lists may use for it: id, name, `libwrap`, and the server's.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![self.id.as_str(), self.name.as_str()];
        names.extend(self.libwrap.as_deref());
        if !self.is_of_type("INTERNAL") && !self.is_redirected {
            let program = self.server.as_deref().map(base_name);
            // With NAMEINARGS the arguments begin with argv[0]: `server = /usr/sbin/tcpd`.
            let argument = self.server_args.first().filter(|_| self.has_flag("NAMEINARGS"));
            names.extend(argument.map(|argument| base_name(argument)));
            names.extend(program.filter(|&name| argument.is_none() || name != "tcpd"));
        }
        names
    }
}

/// The lines that are neither empty nor comments, numbered.
struct Lines<'a>(std::iter::Enumerate<std::str::Lines<'a>>);

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self(text.lines().enumerate())
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .by_ref()
            .map(|(index, line)| (index + 1, line.trim()))
            .find(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }
}

struct XinetdParser<'a> {
    lines: Lines<'a>,
    entries: Vec<XinetdEntry>,
    diagnostics: Vec<XinetdDiagnostic>,
}

impl XinetdParser<'_> {
    fn entry(&mut self, number: usize, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let name = words.next();
        match (keyword, name) {
            ("include", Some(path)) => self.entries.push(XinetdEntry::Include(path.into())),
            ("includedir", Some(path)) => self.entries.push(XinetdEntry::IncludeDir(path.into())),
            ("defaults", _) => self.body(number).map_or((), |attributes| {
                let defaults = self.defaults(&attributes);
                self.entries.push(XinetdEntry::Defaults(defaults));
            }),
            ("service", Some(name)) => self.body(number).map_or((), |attributes| {
                let service = self.service(name, &attributes);
                self.entries.extend(service.map(Box::new).map(XinetdEntry::Service));
            }),
            ("service" | "include" | "includedir", None) => {
                self.complain(number, format!("\"{keyword}\" without a name: entry skipped"));
                self.skip();
            }
            _ => {
                let expected = "expected service, defaults, include or includedir";
                self.complain(number, format!("\"{keyword}\": {expected}: entry skipped"));
                self.skip();
            }
        }
    }

    /// The attributes between `{` and `}`, each on a line of its own; `None` if the entry is not whole.
    fn body(&mut self, begin: usize) -> Option<Vec<Attribute>> {
        if self.lines.next().is_none_or(|(_, line)| line != "{") {
            self.complain(begin, "expected \"{\" alone on the next line: entry skipped".into());
            self.skip();
            return None;
        }
        let mut attributes = Vec::new();
        let mut is_whole = true;
        while let Some((number, line)) = self.lines.next() {
            if line == "}" {
                return is_whole.then_some(attributes);
            }
            match Attribute::parse(number, line) {
                Some(attribute) => attributes.push(attribute),
                None => {
                    let message = format!("\"{line}\": expected ATTRIBUTE = VALUE: entry skipped");
                    self.complain(number, message);
                    is_whole = false;
                }
            }
        }
        self.complain(begin, "the entry has no closing \"}\": entry skipped".into());
        None
    }

    fn defaults(&mut self, attributes: &[Attribute]) -> Defaults {
        let mut defaults = Defaults::default();
        for attribute in attributes {
            match attribute.name.as_str() {
                "enabled" => attribute.change(defaults.enabled.get_or_insert_default()),
                "disabled" => attribute.change(&mut defaults.disabled),
                _ => {}
            }
        }
        defaults
    }

    /// `None` if the service is disabled or an attribute's error disables it.
    fn service(&mut self, name: &str, attributes: &[Attribute]) -> Option<XinetdServiceEntry> {
        let mut service = XinetdServiceEntry { name: name.into(), ..XinetdServiceEntry::default() };
        let mut id = None;
        for attribute in attributes {
            let one = || attribute.values.first().cloned();
            match attribute.name.as_str() {
                "disable" if one().as_deref() == Some("yes") => return None,
                "id" => first(&mut id, one()),
                "type" => service.types.clone_from(&attribute.values),
                "flags" => service.flags.clone_from(&attribute.values),
                "socket_type" => first(&mut service.socket_type, one()),
                "protocol" => first(&mut service.protocol, one()),
                "bind" | "interface" => first(&mut service.bind, one()),
                "server" => first(&mut service.server, one()),
                "server_args" => service.server_args.clone_from(&attribute.values),
                "libwrap" => first(&mut service.libwrap, one()),
                "redirect" => service.is_redirected = true,
                "port" => match one().and_then(|port| port.parse().ok()) {
                    Some(port) => first(&mut service.port, Some(port)),
                    None => {
                        let message =
                            format!("service {name}: port is no number from 0 to 65535: entry skipped");
                        self.complain(attribute.line, message);
                        return None;
                    }
                },
                _ => {}
            }
        }
        service.id = id.unwrap_or_else(|| name.into());
        Some(service)
    }

    /// Goes on after the next `}`, as xinetd does after a syntax error.
    fn skip(&mut self) {
        self.lines.by_ref().find(|(_, line)| *line == "}");
    }

    fn complain(&mut self, line: usize, message: String) {
        self.diagnostics.push(XinetdDiagnostic { line, message });
    }
}

/// `NAME OPERATOR VALUE...`
struct Attribute {
    line: usize,
    name: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy)]
enum Operator {
    Set,
    Add,
    Remove,
}

impl Attribute {
    fn parse(line: usize, text: &str) -> Option<Self> {
        let end = text.find(|c: char| c.is_ascii_whitespace() || "=+-".contains(c))?;
        let (name, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let (operator, values) = if let Some(values) = rest.strip_prefix("+=") {
            (Operator::Add, values)
        } else if let Some(values) = rest.strip_prefix("-=") {
            (Operator::Remove, values)
        } else {
            (Operator::Set, rest.strip_prefix('=')?)
        };
        let values = values.split_ascii_whitespace().map(str::to_owned).collect();
        (!name.is_empty()).then(|| Self { line, name: name.into(), operator, values })
    }

    /// Applies it to a set of values of `defaults`, where `=` adds as `+=` does.
    fn change(&self, set: &mut Vec<String>) {
        match self.operator {
            Operator::Set | Operator::Add => set.extend(self.values.iter().cloned()),
            Operator::Remove => set.retain(|value| !self.values.contains(value)),
        }
    }
}

/// An attribute that is set already keeps its value.
fn first<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
#[path = "xinetd_tests.rs"]
mod tests;
