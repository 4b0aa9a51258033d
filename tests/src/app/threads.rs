//! The blocking servers: a thread per connection, and an acceptor that reads and hands over to a pool of workers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};

use super::{
    handler::{Answer, Blocking, answer, run},
    http::{self, Request},
    route::Routes,
};

const WORKERS: usize = 64;
/// The acceptor reads the request itself, so a silent client may not hold it for long.
const ACCEPTOR_PATIENCE: Duration = Duration::from_secs(2);

pub fn thread_per_request(listener: &TcpListener, routes: Routes, keep_alive: Option<Duration>) -> Result<()> {
    let routes = Arc::new(routes);
    loop {
        let stream = accept(listener);
        stream.set_read_timeout(keep_alive)?;
        let routes = Arc::clone(&routes);
        std::thread::spawn(move || {
            let mut io = Blocking::default();
            let mut connection = Connection::new(stream);
            while let Ok(Some(request)) = connection.read() {
                if !connection.write(run(answer(&routes, &request, &mut io)), request.keep_alive) {
                    break;
                }
            }
        });
    }
}

/// Answers every request with `Connection: close`, because a connection belongs to the acceptor while it is read.
pub fn thread_pool(listener: &TcpListener, routes: Routes) -> Result<()> {
    let routes = Arc::new(routes);
    let (hand_over, work) = mpsc::sync_channel::<(Connection, Request)>(WORKERS * 4);
    let work = Arc::new(Mutex::new(work));
    for _ in 0..WORKERS {
        let (routes, work) = (Arc::clone(&routes), Arc::clone(&work));
        std::thread::spawn(move || {
            let mut io = Blocking::default();
            loop {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((mut connection, request)) = next else { break };
                connection.write(run(answer(&routes, &request, &mut io)), false);
            }
        });
    }
    loop {
        let stream = accept(listener);
        stream.set_read_timeout(Some(ACCEPTOR_PATIENCE))?;
        let mut connection = Connection::new(stream);
        if let Ok(Some(request)) = connection.read() {
            hand_over.send((connection, request))?;
        }
    }
}

/// The next connection. Without a free descriptor the kernel keeps it waiting, and so do we, as servers do.
fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => {
                println!("error: cannot accept: {error}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

/// The accepting end of a connection.
struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    fn read(&mut self) -> Result<Option<Request>> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((request, length)) = http::parse_request(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(Some(request));
            }
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// Whether the connection goes on.
    fn write(&mut self, answer: Answer, keep_alive: bool) -> bool {
        match answer {
            Answer::Respond(route) => {
                let bytes = http::response_bytes(route.status, &route.body, &route.headers, keep_alive);
                self.stream.write_all(&bytes).is_ok() && keep_alive
            }
            Answer::Close => false,
            Answer::Half(route, then) => {
                let bytes = http::response_bytes(route.status, &route.body, &route.headers, keep_alive);
                let half = bytes.len() - route.body.len() / 2;
                self.stream.write_all(&bytes[..half]).is_ok() && self.write(*then, false)
            }
            Answer::Hang => {
                std::thread::sleep(Duration::from_secs(600));
                false
            }
            Answer::WhenLeft => {
                if !matches!(self.stream.peek(&mut [0]), Ok(1..)) {
                    let bytes = http::response_bytes(500, "cancelled\n", &BTreeMap::new(), false);
                    let _ = self.stream.write_all(&bytes);
                }
                false
            }
            Answer::Reset => {
                reset_on_close(&self.stream);
                false
            }
        }
    }
}

pub(super) fn reset_on_close(stream: &impl std::os::fd::AsFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    if let Err(error) = setsockopt(stream, sockopt::Linger, &linger) {
        eprintln!("cannot set SO_LINGER: {error}");
    }
}
