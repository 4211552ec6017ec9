//! Where the running kernel keeps the struct members the tracepoint program reads.
//!
//! In: /sys/kernel/btf/vmlinux. Out: byte offsets. rustc emits no CO-RE
//! relocations, so the offsets are looked up here and set as globals.
//! Source: Documentation/bpf/btf.rst. (aya-obj keeps its members private; btf-rs is LGPL.)

use std::{io, path::Path};

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// The offsets, 0 where the kernel has no such member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    /// `struct sock`: local port, u16 in host order.
    pub(super) sock_num: u32,
    /// `struct sock`: pointer to its `struct net`.
    pub(super) sock_net: u32,
    /// `struct net`: cookie, u64.
    pub(super) net_cookie: u32,
    /// `struct task_struct`: pointer to the parent.
    pub(super) task_parent: u32,
    /// `struct task_struct`: thread group id, i32.
    pub(super) task_tgid: u32,
    /// `struct socket`: pointer to its `struct sock`.
    pub(super) socket_sk: u32,
    /// `struct sock`: address family, u16.
    pub(super) sock_family: u32,
    /// `struct sock`: protocol, u16.
    pub(super) sock_protocol: u32,
    /// `struct sock`: type, u16.
    pub(super) sock_type: u32,
    /// `struct sock`: the byte that holds `sk_userlocks`.
    pub(super) sock_userlocks: u32,
    /// Bit of that byte at which the member begins.
    pub(super) sock_userlocks_shift: u32,
}

impl Offsets {
    /// Reads the kernel's BTF.
    ///
    /// # Errors
    /// The file cannot be read or is not BTF.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let data = std::fs::read(path)?;
        let btf = Btf::parse(&data).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: not BTF", path.display()))
        })?;
        let userlocks = btf.bits("sock", &["sk_userlocks"]).unwrap_or(0);
        Ok(Self {
            sock_num: btf.offset("sock", &["__sk_common", "skc_num"]).unwrap_or(0),
            sock_net: btf.offset("sock", &["__sk_common", "skc_net", "net"]).unwrap_or(0),
            net_cookie: btf.offset("net", &["net_cookie"]).unwrap_or(0),
            task_parent: btf.offset("task_struct", &["real_parent"]).unwrap_or(0),
            task_tgid: btf.offset("task_struct", &["tgid"]).unwrap_or(0),
            socket_sk: btf.offset("socket", &["sk"]).unwrap_or(0),
            sock_family: btf.offset("sock", &["__sk_common", "skc_family"]).unwrap_or(0),
            sock_protocol: btf.offset("sock", &["sk_protocol"]).unwrap_or(0),
            sock_type: btf.offset("sock", &["sk_type"]).unwrap_or(0),
            sock_userlocks: userlocks / 8,
            sock_userlocks_shift: userlocks % 8,
        })
    }
}

/// One type: header and what follows it.
struct Type<'a> {
    name: u32,
    info: u32,
    size_or_type: u32,
    rest: &'a [u8],
}

impl Type<'_> {
    fn kind(&self) -> u32 {
        (self.info >> 24) & 31
    }
}

struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let header = word(data, 4)? as usize;
        let section = |offset: usize| -> Option<&'a [u8]> {
            let start = header + word(data, offset)? as usize;
            data.get(start..start + word(data, offset + 4)? as usize)
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        // Type ids count from 1; 0 is void.
        let mut types = vec![Type { name: 0, info: 0, size_or_type: 0, rest: &[] }];
        while !rest.is_empty() {
            let (name, info, size_or_type) = (word(rest, 0)?, word(rest, 4)?, word(rest, 8)?);
            let mut one = Type { name, info, size_or_type, rest: &[] };
            let members = (info & 0xffff) as usize;
            let length = match one.kind() {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * members,
                6 | 13 => 8 * members,
                _ => 0,
            };
            one.rest = rest.get(12..12 + length)?;
            types.push(one);
            rest = rest.get(12 + length..)?;
        }
        Some(Self { types, strings })
    }

    /// Byte offset of a member path in a struct.
    fn offset(&self, name: &str, path: &[&str]) -> Option<u32> {
        self.bits(name, path).map(|bits| bits / 8)
    }

    /// Bit offset of a member path in a struct.
    fn bits(&self, name: &str, path: &[&str]) -> Option<u32> {
        let mut id =
            self.types.iter().position(|one| one.kind() == KIND_STRUCT && self.is_named(one.name, name))?;
        let mut bits = 0;
        for member in path {
            let (at, member_type) = self.member(id, member)?;
            bits += at;
            id = member_type;
        }
        Some(bits)
    }

    /// Bit offset and type of a member, also inside anonymous structs and unions.
    fn member(&self, id: usize, name: &str) -> Option<(u32, usize)> {
        let outer = self.types.get(id)?;
        let has_bitfields = outer.info >> 31 == 1;
        for member in outer.rest.chunks_exact(12) {
            let (member_name, raw_type, raw_offset) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            let at = if has_bitfields { raw_offset & 0x00ff_ffff } else { raw_offset };
            let member_type = self.unqualified(raw_type as usize)?;
            if member_name == 0 {
                if matches!(self.types.get(member_type)?.kind(), KIND_STRUCT | KIND_UNION)
                    && let Some((inner, found)) = self.member(member_type, name)
                {
                    return Some((at + inner, found));
                }
            } else if self.is_named(member_name, name) {
                return Some((at, member_type));
            }
        }
        None
    }

    /// Follows typedef, volatile, const, restrict and type tags.
    fn unqualified(&self, mut id: usize) -> Option<usize> {
        while matches!(self.types.get(id)?.kind(), 8..=11 | 18) {
            id = self.types.get(id)?.size_or_type as usize;
        }
        Some(id)
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        self.strings
            .get(at as usize..)
            .and_then(|text| text.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_short_is_an_error_and_no_panic() {
        for length in [0, 3, 8, 23, 24, 40] {
            assert!(Btf::parse(&vec![1; length]).is_none_or(|btf| btf.offset("sock", &["x"]).is_none()));
        }
    }

    #[test]
    fn running_kernel_has_all_members() {
        let path = Path::new("/sys/kernel/btf/vmlinux");
        let offsets = Offsets::read(path).expect("this kernel has BTF");
        assert_ne!(offsets.sock_num, 0);
        assert_ne!(offsets.sock_net, 0);
        assert_ne!(offsets.net_cookie, 0);
        assert_ne!(offsets.socket_sk, 0);
        assert_ne!(offsets.sock_userlocks, 0);
    }
}
