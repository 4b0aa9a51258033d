//! Outbound calls: the URL, what may go wrong, and the blocking client.

use std::{
    collections::HashMap,
    fmt,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{http, route::Call, tls::Stream};

/// A parsed call target.
#[derive(Clone, Debug)]
pub struct Target {
    pub http: bool,
    pub tls: bool,
    /// It is sent to and never answers, as what collects metrics.
    pub one_way: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").with_context(|| format!("{url} is not a URL"))?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse()?),
            _ => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let [tls, one_way] = ["https", "line"].map(|name| name == scheme);
        Ok(Self { http: scheme.starts_with("http"), tls, one_way, host, port, path: path.to_owned() })
    }

    /// By the C library's resolver, so that search domains, ndots and retries act as they do for any program.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect).map_err(|error| {
            // The C library's words for EAI_AGAIN: no answer or SERVFAIL.
            if error.to_string().contains("Temporary failure") { Failure::DnsAgain } else { Failure::Dns }
        })
    }

    #[must_use]
    pub fn bytes(&self, headers: &[(String, String)], keep_alive: bool) -> Vec<u8> {
        match self.path.as_str() {
            path if self.http => http::request_bytes(&self.host, path, headers, keep_alive),
            _ if self.one_way => format!("{:0>100}\n", "shop.checkouts:1|c").into(),
            "/" => b"PING\r\n".to_vec(),
            command => format!("{}\r\n", &command[1..]).into(),
        }
    }

    /// The status once the answer is complete; 200 for any answer of a TCP target, or for none where none is waited for.
    pub fn status(&self, bytes: &[u8], ended: bool) -> Result<Option<http::Response>, Failure> {
        if self.one_way {
            return Ok(Some(http::Response { status: 200, keep_alive: false }));
        }
        if self.http {
            return http::parse_response(bytes, ended).or(Err(Failure::Malformed));
        }
        Ok(bytes.ends_with(b"\n").then_some(http::Response { status: 200, keep_alive: true }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name doesn't exist.
    Dns,
    /// The name server didn't answer or failed.
    DnsAgain,
    Refused,
    ConnectTimeout,
    Unreachable,
    ReadTimeout,
    Reset,
    Closed,
    Malformed,
    /// The handshake failed, or what came is no TLS.
    Tls,
    Status(u16),
}

impl Failure {
    #[must_use]
    pub fn connecting(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }

    #[must_use]
    pub fn exchanging(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::ReadTimeout,
            ErrorKind::InvalidData => Self::Tls,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Dns => "dns",
            Self::DnsAgain => "dns-again",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Unreachable => "unreachable",
            Self::ReadTimeout => "read-timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Tls => "tls",
            Self::Status(status) => return write!(f, "{status}"),
        };
        f.write_str(name)
    }
}

/// Idle connections of one thread.
pub type Pool = HashMap<String, Stream>;

/// Makes the call once, on a pooled connection if there is one; a stale one is replaced as any client does.
pub fn once(call: &Call, ids: &[(String, String)], pool: &mut Pool) -> Result<u16, Failure> {
    let target = Target::parse(&call.url).or(Err(Failure::Malformed))?;
    let key = format!("{}:{}", target.host, target.port);
    if let Some(stream) = pool.remove(&key) {
        let result = exchange(call, &target, ids, stream, pool, &key);
        if result.is_ok() || !call.replace_stale {
            return result;
        }
    }
    exchange(call, &target, ids, connect(&target, call.connect_timeout_ms)?, pool, &key)
}

/// Sends the call's request; dropping the connection cancels it.
pub fn begin(call: &Call, ids: &[(String, String)]) -> Result<Stream, Failure> {
    let target = Target::parse(&call.url).or(Err(Failure::Malformed))?;
    let mut stream = connect(&target, call.connect_timeout_ms)?;
    stream.write_all(&target.bytes(ids, false)).map_err(|e| Failure::exchanging(&e))?;
    Ok(stream)
}

pub fn connect(target: &Target, timeout_ms: u64) -> Result<Stream, Failure> {
    let mut failure = Failure::Dns;
    for address in target.resolve()? {
        match TcpStream::connect_timeout(&address, Duration::from_millis(timeout_ms)) {
            Ok(stream) => return Stream::new(stream, target),
            Err(error) => failure = Failure::connecting(&error),
        }
    }
    Err(failure)
}

fn exchange(
    call: &Call,
    target: &Target,
    ids: &[(String, String)],
    mut stream: Stream,
    pool: &mut Pool,
    key: &str,
) -> Result<u16, Failure> {
    let response = match send(&mut stream, target, ids, call.keep_alive, call.read_timeout_ms) {
        Ok(response) => response,
        Err(failure) => {
            close_later(stream, Duration::from_millis(call.linger_ms));
            return Err(failure);
        }
    };
    if call.keep_alive && response.keep_alive {
        pool.insert(key.to_owned(), stream);
    }
    Ok(response.status)
}

fn close_later(stream: Stream, linger: Duration) {
    if !linger.is_zero() {
        thread::spawn(move || {
            thread::sleep(linger);
            drop(stream);
        });
    }
}

/// Sends the request on the connection and reads the whole answer.
pub fn send(
    stream: &mut Stream,
    target: &Target,
    headers: &[(String, String)],
    keep_alive: bool,
    timeout_ms: u64,
) -> Result<http::Response, Failure> {
    stream
        .tcp()
        .set_read_timeout(Some(Duration::from_millis(timeout_ms.max(1))))
        .map_err(|e| Failure::exchanging(&e))?;
    stream.write_all(&target.bytes(headers, keep_alive)).map_err(|e| Failure::exchanging(&e))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut ended = false;
    loop {
        if let Some(response) = target.status(&bytes, ended)? {
            return Ok(response);
        }
        if ended {
            return Err(Failure::Closed);
        }
        let read = stream.read(&mut chunk).map_err(|e| Failure::exchanging(&e))?;
        bytes.extend_from_slice(&chunk[..read]);
        ended = read == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_port_and_with_ipv6() {
        let target = Target::parse("http://cart/items").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("cart", 80, "/items"));
        let target = Target::parse("tcp://[fd00::1]:6379").unwrap();
        assert_eq!((target.http, target.host.as_str(), target.port), (false, "fd00::1", 6379));
        assert_eq!(Target::parse("http://[fd00::1]/").unwrap().port, 80);
    }
}
