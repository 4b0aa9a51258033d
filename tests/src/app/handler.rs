//! What a request does, once for every threading model.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    call::{self, Failure, Pool},
    http::Request,
    route::{Call, Misbehave, Route, Routes},
};

/// What happens to the connection.
#[derive(Debug)]
pub enum Answer {
    Respond(Box<Route>),
    Close,
    Reset,
    /// A 500 once the caller has left.
    WhenLeft,
}

/// How a threading model waits and calls.
pub trait Io {
    fn call(&mut self, call: &Call, ids: &[(String, String)]) -> impl Future<Output = Result<u16, Failure>>;
    fn sleep(&mut self, time: Duration) -> impl Future<Output = ()>;
}

pub async fn answer(routes: &Routes, request: &Request, io: &mut impl Io) -> Answer {
    let Some(route) = routes.get(&request.path) else {
        return Answer::Respond(Box::new(Route { status: 404, body: "not found\n".into(), ..Route::default() }));
    };
    for call in route.calls.iter().filter(|call| call.applies(&request.query)) {
        if let Err(failure) = with_retries(call, request, io).await
            && call.on_failure != 0
        {
            println!("error: {} failed: {failure}", call.url);
            let body = format!("{} failed\n", call.url);
            return Answer::Respond(Box::new(Route { status: call.on_failure, body, ..Route::default() }));
        }
    }
    io.sleep(Duration::from_millis(route.delay_ms)).await;
    match route.misbehave {
        None => Answer::Respond(Box::new(route.clone())),
        Some(Misbehave::Abort) => std::process::abort(),
        Some(Misbehave::Exit) => std::process::exit(3),
        Some(Misbehave::Oom) => exhaust_memory(),
        Some(Misbehave::Close) => Answer::Close,
        Some(Misbehave::Reset) => Answer::Reset,
        Some(Misbehave::Cancelled) => Answer::WhenLeft,
        Some(Misbehave::Hang) => {
            io.sleep(Duration::from_secs(600)).await;
            Answer::Close
        }
    }
}

async fn with_retries(call: &Call, request: &Request, io: &mut impl Io) -> Result<u16, Failure> {
    let ids = if call.forward_ids { request.ids.as_slice() } else { &[] };
    let mut result = Err(Failure::Closed);
    for _ in 0..=call.retries {
        result = match io.call(call, ids).await {
            Ok(status) if status >= 500 => Err(Failure::Status(status)),
            other => other,
        };
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Touches memory until the limit kills the process; bounded, so that a forgotten limit harms nobody.
fn exhaust_memory() -> ! {
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(vec![1_u8; 8 << 20]);
    }
    eprintln!("no memory limit after {} MiB", held.len() * 8);
    std::process::abort()
}

/// Blocking calls on the calling thread.
#[derive(Default)]
pub struct Blocking {
    pool: Pool,
}

impl Io for Blocking {
    async fn call(&mut self, call: &Call, ids: &[(String, String)]) -> Result<u16, Failure> {
        call::once(call, ids, &mut self.pool)
    }

    async fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Runs a future that blocks instead of waiting, as everything on [`Blocking`] does.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("blocking calls never wait"),
    }
}
