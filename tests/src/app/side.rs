//! The small servers beside the application: a redis that answers PING and nothing else, a listener that never answers a SYN, and the
//! process that holds a pod's namespaces.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{self, Backlog};

pub fn redis(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            let mut chunk = [0; 512];
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                if chunk[..read].starts_with(b"PING") && stream.write_all(b"+PONG\r\n").is_err() {
                    break;
                }
            }
        });
    }
}

/// Listens with a full accept queue: the kernel then ignores SYNs without dropping them through `kfree_skb`, so that to
/// a client on this node it looks like a host far away that is gone.
pub fn blackhole(address: SocketAddr, room: bool) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    if room {
        pause();
    }
    // A second listen() changes the backlog; with 0 one connection fills the queue.
    socket::listen(&listener, Backlog::new(0)?)?;
    let filler = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    let second = TcpStream::connect_timeout(&address, Duration::from_millis(200));
    println!("queue filled: {}, next refused: {}", filler.is_ok(), second.is_err());
    pause()
}

/// Opens files until the limit on descriptors leaves so many.
#[must_use]
pub fn use_up_descriptors(spare: usize) -> Vec<File> {
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    held.truncate(held.len().saturating_sub(spare));
    println!("{} descriptors held", held.len());
    held
}

pub fn pause() -> ! {
    loop {
        nix::unistd::pause();
    }
}
