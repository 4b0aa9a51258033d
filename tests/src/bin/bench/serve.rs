//! Servers of what no HTTP server speaks.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::exchange::{MISSING, SILENT};

#[derive(Args)]
pub(crate) struct Serve {
    kind: Kind,
    #[arg(long)]
    at: SocketAddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Sends back what comes
    Echo,
    /// Reads, and says nothing
    Sink,
    /// Answers questions with a name server's "no such record", or as they ask
    Dns,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<()> {
        match self.kind {
            Kind::Dns => answer(&UdpSocket::bind(self.at)?),
            kind => TcpListener::bind(self.at)?.incoming().try_for_each(|stream| {
                // One after the other; an end is not a failure.
                let _ = serve(stream?, matches!(kind, Kind::Echo));
                Ok(())
            }),
        }
    }
}

fn serve(mut stream: TcpStream, echo: bool) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n if echo => stream.write_all(&buffer[..n])?,
            _ => {}
        }
    }
}

fn answer(socket: &UdpSocket) -> Result<()> {
    let mut message = [0; 512];
    loop {
        let (n, from) = socket.recv_from(&mut message)?;
        // The first label of the question (RFC 1035 section 4.1.2).
        let asks = |name: &str| message[13..].starts_with(name.as_bytes());
        if asks(SILENT) {
            continue;
        }
        // The question with the bit of an answer: no error, or no such name, and no record (section 4.1.1).
        message[3] = if asks(MISSING) { 3 } else { 0 };
        message[2] |= 0x80;
        socket.send_to(&message[..n], from)?;
    }
}
