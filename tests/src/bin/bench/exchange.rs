//! One request at a time on one socket, without waiting.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

/// Names of what the DNS server has no record of, but the name; of what it doesn't know; and of what it says nothing to.
const ANSWERED: &str = "here";
pub(crate) const MISSING: &str = "missing";
pub(crate) const SILENT: &str = "silent";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// HTTP on connections that stay open
    Http,
    /// HTTP, each request on a connection of its own
    Connect,
    /// Connections that are refused
    Refused,
    /// DNS over UDP; the path names what is asked for
    Dns,
}

/// One who asks, and waits for one answer at a time.
pub(crate) struct Exchange {
    kind: Kind,
    to: SocketAddr,
    request: Vec<u8>,
    socket: Option<Socket>,
    answer: Vec<u8>,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Exchange {
    pub(crate) fn new(kind: Kind, to: SocketAddr, path: &str) -> Result<Self> {
        let close = if kind == Kind::Connect { "Connection: close\r\n" } else { "" };
        let request = match kind {
            Kind::Http | Kind::Connect | Kind::Refused => {
                format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{close}\r\n").into_bytes()
            }
            Kind::Dns => query(path.trim_start_matches('/')),
        };
        let mut exchange = Self { kind, to, request, socket: None, answer: Vec::with_capacity(4096) };
        if matches!(kind, Kind::Http | Kind::Dns) {
            exchange.open()?;
        }
        Ok(exchange)
    }

    fn open(&mut self) -> Result<()> {
        self.socket = Some(match self.kind {
            Kind::Http | Kind::Connect | Kind::Refused => {
                // The handshake over a veth is done within the call.
                let stream = TcpStream::connect(self.to).with_context(|| format!("cannot connect to {}", self.to))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Socket::Tcp(stream)
            }
            Kind::Dns => {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                socket.connect(self.to)?;
                socket.set_nonblocking(true)?;
                Socket::Udp(socket)
            }
        });
        Ok(())
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| match socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        })
    }

    /// Asks.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.socket.is_none() {
            self.open()?;
        }
        self.answer.clear();
        match &mut self.socket {
            Some(Socket::Tcp(stream)) => stream.write_all(&self.request)?,
            Some(Socket::Udp(socket)) => drop(socket.send(&self.request)?),
            None => bail!("no socket"),
        }
        Ok(())
    }

    /// Reads what is there; whether the answer is complete.
    pub(crate) fn progress(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let read = match &mut self.socket {
                Some(Socket::Tcp(stream)) => stream.read(&mut buffer),
                Some(Socket::Udp(socket)) => socket.recv(&mut buffer),
                None => bail!("no socket"),
            };
            match read {
                Ok(0) => {
                    self.socket = None;
                    let whole = self.kind == Kind::Connect && is_whole(&self.answer)?;
                    return if whole { Ok(true) } else { bail!("the server closed the connection") };
                }
                Ok(n) => self.answer.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            // A connection of its own ends with the server's close, so that no port of this side stays used.
            let done = match self.kind {
                Kind::Http => is_whole(&self.answer)?,
                Kind::Connect | Kind::Refused => false,
                Kind::Dns => true,
            };
            if done {
                return Ok(true);
            }
        }
    }
}

/// Whether a response is there with its whole body.
fn is_whole(bytes: &[u8]) -> Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(false) };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body: usize = length.map_or(Ok(0), |header| str::from_utf8(header.value)?.parse().context("Content-Length"))?;
    Ok(bytes.len() >= head + body)
}

/// A question for the address of a name (RFC 1035 section 4).
fn query(label: &str) -> Vec<u8> {
    let label = if label.is_empty() { ANSWERED } else { label };
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let length = [label.len() as u8];
    [&header[..], &length, label.as_bytes(), b"\x05bench\x07example\0\0\x01\0\x01"].concat()
}
