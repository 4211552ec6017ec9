//! The user at the other end of a connection: ident.
//!
//! In: both ends of a TCP connection, and a socket in its network namespace. Out: the reply; from that the user, as the
//! client's host names it, if libwrap would accept that reply; else nothing.
//! Invariant: whatever the other side sends or does not send, a look-up takes no longer than its time limit
//! and no more memory than one line. The process that receives a reply does not parse it: see
//! [`resolver`](crate::resolver).
//! Source: RFC 1413; tcp_wrappers 7.6.q (Debian) `rfc931.c`.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::parse::rule::Text;

/// Port of the ident service.
const PORT: u16 = 113;

/// libwrap reads that much of the reply's first line, with its newline.
const LINE: usize = 511;

/// libwrap keeps that much of the user.
const WORD: usize = 255;

/// Both ends of a connection whose user is to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentConnection {
    /// The client's end.
    pub client: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    /// Interface of the client: needed for link-local addresses.
    pub ifindex: u32,
}

/// A look-up that has not begun.
#[derive(Debug)]
pub struct IdentLookup {
    socket: TcpSocket,
    connection: IdentConnection,
    own: SocketAddr,
}

impl IdentLookup {
    /// Prepares a look-up: `socket` is a fresh TCP socket of the family of the server's address.
    ///
    /// # Errors
    /// The server's address is not one of its network namespace any more.
    pub fn new(socket: TcpSocket, connection: IdentConnection) -> std::io::Result<Self> {
        socket.bind(at(connection.server.ip(), 0, connection.ifindex))?;
        let own = socket.local_addr()?;
        Ok(Self { socket, connection, own })
    }

    /// The look-up's own end: if this connection is judged itself, its user must not be looked up.
    pub fn own(&self) -> SocketAddr {
        self.own
    }

    /// Asks; `None`: there is no reply in time.
    pub async fn ask(self, limit: Duration) -> Option<IdentReply> {
        let IdentConnection { client, server, ifindex } = self.connection;
        let ask = async {
            let stream = self.socket.connect(at(client.ip(), PORT, ifindex)).await?;
            reply(stream, client.port(), server.port()).await
        };
        let line = timeout(limit, ask).await.ok()?.ok()?;
        Some(IdentReply { line, client_port: client.port(), server_port: server.port() })
    }
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentReply {
    /// Its first line, with its newline.
    line: Vec<u8>,
    /// The port that was asked about, at the client.
    client_port: u16,
    /// The same, at the server.
    server_port: u16,
}

impl IdentReply {
    /// The user; `None`: libwrap would not accept the reply.
    pub fn user(&self) -> Option<Text> {
        user_of(&self.line, self.client_port, self.server_port)
    }
}

/// The first line of the reply, with its newline; cut where libwrap cuts it.
async fn reply(mut stream: TcpStream, client: u16, server: u16) -> std::io::Result<Vec<u8>> {
    stream.write_all(format!("{client},{server}\r\n").as_bytes()).await?;
    let mut line = Vec::with_capacity(LINE);
    while line.len() < LINE {
        let room = LINE - line.len();
        let seen = line.len();
        if (&mut stream).take(room as u64).read_buf(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = line[seen..].iter().position(|byte| *byte == b'\n') {
            line.truncate(seen + end + 1);
            break;
        }
    }
    Ok(line)
}

/// `%u , %u : USERID :%*[^:]:%255s`, as scanf(3) reads it.
fn user_of(line: &[u8], client: u16, server: u16) -> Option<Text> {
    // A NUL ends a C string.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut rest = ReplyScan(line);
    let ports = (rest.number()?, rest.word(b",").and_then(|()| rest.number())?);
    if ports != (client.into(), server.into()) {
        return None;
    }
    rest.word(b":")?;
    rest.word(b"USERID")?;
    rest.word(b":")?;
    // Operating system and character set: must not be empty.
    let length = rest.0.iter().position(|byte| *byte == b':').filter(|length| *length > 0)?;
    let user = rest.0.get(length + 1..)?.trim_start_c();
    let length = user.iter().position(|byte| is_space(*byte)).unwrap_or(user.len());
    let user = &user[..length.min(WORD)];
    (!user.is_empty()).then(|| user.into())
}

/// The rest of the reply.
struct ReplyScan<'a>(&'a [u8]);

impl ReplyScan<'_> {
    fn skip(&mut self) {
        self.0 = self.0.trim_start_c();
    }

    /// Blanks, and a text.
    fn word(&mut self, text: &[u8]) -> Option<()> {
        self.skip();
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// `%u`: blanks, a sign, digits; the value wraps around.
    fn number(&mut self) -> Option<u32> {
        self.skip();
        let is_negative = self.0.first() == Some(&b'-');
        if let [b'-' | b'+', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let length = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        if length == 0 {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let add = |sum: Option<u64>, digit: &u8| sum?.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        let value = digits.iter().fold(Some(0), add);
        let value = match value {
            Some(value) if is_negative => value.wrapping_neg(),
            Some(value) => value,
            None => u64::MAX,
        };
        #[expect(clippy::cast_possible_truncation, reason = "scanf stores the lower half")]
        let value = value as u32;
        Some(value)
    }
}

/// isspace(3) in the C locale.
fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

trait TrimC {
    fn trim_start_c(&self) -> &[u8];
}

impl TrimC for [u8] {
    fn trim_start_c(&self) -> &[u8] {
        let blanks = self.iter().take_while(|byte| is_space(**byte)).count();
        &self[blanks..]
    }
}

/// A socket address; a link-local one needs its interface.
fn at(address: IpAddr, port: u16, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, ifindex).into(),
        other @ (IpAddr::V4(_) | IpAddr::V6(_)) => SocketAddr::new(other, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(reply: &str) -> Option<String> {
        user_of(reply.as_bytes(), 6191, 23).map(|user| String::from_utf8_lossy(&user).into_owned())
    }

    macro_rules! replies {
        ($($name:ident: $reply:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(user($reply).as_deref(), $want); })*
        };
    }

    replies! {
        plain: "6191,23:USERID:UNIX:stjohns\r\n" => Some("stjohns");
        blanks: " 6191 , 23 : USERID : UNIX , US-ASCII : root\r\n" => Some("root");
        first_word: "6191,23:USERID:OTHER:two words\r\n" => Some("two");
        error: "6191,23:ERROR:NO-USER\r\n" => None;
        wrong_ports: "6191,24:USERID:UNIX:root\r\n" => None;
        ports_exchanged: "23,6191:USERID:UNIX:root\r\n" => None;
        ports_wrap_around: "4294973487,+23:USERID:UNIX:root\n" => Some("root");
        lower_case: "6191,23:userid:UNIX:root\r\n" => None;
        no_system: "6191,23:USERID::root\r\n" => None;
        no_user: "6191,23:USERID:UNIX:\r\n" => None;
        colon_in_the_user: "6191,23:USERID:UNIX:a:b\r\n" => Some("a:b");
        empty: "\r\n" => None;
        nul_ends_it: "6191,23:USERID:UNIX:ro\0ot\r\n" => Some("ro");
        nul_before_it: "6191,23:USERID:\0UNIX:root\r\n" => None;
        shell: "6191,23:USERID:UNIX:`id>/x`;$(a)\r\n" => Some("`id>/x`;$(a)");
    }

    #[test]
    fn user_is_cut() {
        let long = "a".repeat(400);
        assert_eq!(user(&format!("6191,23:USERID:UNIX:{long}\r\n")).map(|user| user.len()), Some(255));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let user = user_of(b"6191,23:USERID:UNIX:\xff\xc3\xb6\r\n", 6191, 23);
        assert_eq!(user.as_deref(), Some(&b"\xff\xc3\xb6"[..]));
    }

    #[tokio::test]
    async fn reply_ends_in_a_newline_or_is_long() -> std::io::Result<()> {
        for (sent, want) in [
            ("1,2:USERID:U:x\n1,2:USERID:U:y\n", Some("1,2:USERID:U:x\n".to_owned())),
            ("1,2:USERID:U:x", None),
            ("", None),
            (&"x".repeat(600), Some("x".repeat(LINE))),
        ] {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let client = TcpStream::connect(server.local_addr()?).await?;
            let (mut peer, _) = server.accept().await?;
            let answer = async {
                let mut query = [0; 5];
                peer.read_exact(&mut query).await?;
                assert_eq!(&query, b"1,2\r\n");
                peer.write_all(sent.as_bytes()).await?;
                drop(peer);
                Ok::<_, std::io::Error>(())
            };
            let (line, answered) = tokio::join!(reply(client, 1, 2), answer);
            answered?;
            assert_eq!(line.ok(), want.map(String::into_bytes));
        }
        Ok(())
    }
}
