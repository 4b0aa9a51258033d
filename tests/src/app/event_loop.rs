//! The event loop server: one thread, non-blocking sockets.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
    time::timeout,
};

use super::{
    call::{Failure, Target},
    handler::{Answer, Io, answer},
    http,
    route::{Call, Routes},
    threads::reset_on_close,
};

pub fn serve(listener: TcpListener, routes: Routes) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = Rc::new(routes);
    LocalSet::new().block_on(&runtime, async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let routes = Rc::clone(&routes);
            tokio::task::spawn_local(async move {
                if let Err(error) = connection(stream, &routes).await {
                    eprintln!("connection: {error}");
                }
            });
        }
    })
}

async fn connection(mut stream: TcpStream, routes: &Routes) -> Result<()> {
    let mut bytes = Vec::new();
    loop {
        while let Some((request, length)) = http::parse_request(&bytes)? {
            bytes.drain(..length);
            match answer(routes, &request, &mut Async).await {
                Answer::Respond(route) => {
                    let response = http::response_bytes(route.status, &route.body, &route.headers, request.keep_alive);
                    stream.write_all(&response).await?;
                }
                Answer::Close | Answer::Half(..) | Answer::Hang | Answer::WhenLeft => return Ok(()),
                Answer::Reset => {
                    reset_on_close(&stream);
                    return Ok(());
                }
            }
            if !request.keep_alive {
                return Ok(());
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

struct Async;

impl Io for Async {
    async fn call(&mut self, call: &Call, ids: &[(String, String)]) -> Result<u16, Failure> {
        let target = Target::parse(&call.url).or(Err(Failure::Malformed))?;
        let mut failure = Failure::Dns;
        for address in resolve_once(&target)? {
            let connecting = timeout(Duration::from_millis(call.connect_timeout_ms), TcpStream::connect(address));
            match connecting.await {
                Ok(Ok(stream)) => {
                    let exchange = exchange(stream, &target, ids);
                    let limit = Duration::from_millis(call.read_timeout_ms);
                    return timeout(limit, exchange).await.unwrap_or(Err(Failure::ReadTimeout));
                }
                Ok(Err(error)) => failure = Failure::connecting(&error),
                Err(_) => failure = Failure::ConnectTimeout,
            }
        }
        Err(failure)
    }

    async fn sleep(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

async fn exchange(mut stream: TcpStream, target: &Target, ids: &[(String, String)]) -> Result<u16, Failure> {
    let failed = |error: std::io::Error| Failure::exchanging(&error);
    stream.write_all(&target.bytes(ids, false)).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let mut ended = false;
    loop {
        if let Some(response) = target.status(&bytes, ended)? {
            return Ok(response.status);
        }
        if ended {
            return Err(Failure::Closed);
        }
        ended = stream.read_buf(&mut bytes).await.map_err(failed)? == 0;
    }
}

/// The loop's one thread may block in the resolver, so each name is looked up once.
fn resolve_once(target: &Target) -> Result<Vec<SocketAddr>, Failure> {
    type Known = HashMap<(String, u16), Vec<SocketAddr>>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (target.host.clone(), target.port);
    if let Some(addresses) = known.get(&key) {
        return Ok(addresses.clone());
    }
    let addresses = target.resolve()?;
    known.insert(key, addresses.clone());
    Ok(addresses)
}
