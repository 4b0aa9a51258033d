//! What a request does, once for every threading model.

use std::{
    fs::OpenOptions,
    future::Future,
    io::{self, Write as _},
    path::Path,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
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
    /// Half of an answer, and then what happens to the connection.
    Half(Box<Route>, Box<Answer>),
    /// Nothing, for as long as the process lives.
    Hang,
    /// A 500 once the caller has left.
    WhenLeft,
}

/// How a threading model waits and calls.
pub trait Io {
    fn call(&mut self, call: &Call, ids: &[(String, String)]) -> impl Future<Output = Result<u16, Failure>>;
    fn sleep(&mut self, time: Duration) -> impl Future<Output = ()>;
}

pub async fn answer(routes: &Routes, request: &Request, io: &mut impl Io) -> Answer {
    let Some(route) = routes.get(&request.path).or_else(|| routes.get("*")) else {
        return Answer::Respond(Box::new(Route { status: 404, body: "not found\n".into(), ..Route::default() }));
    };
    let applied = || route.calls.iter().filter(|call| call.applies(&request.query));
    let beside: Vec<_> = applied().filter(|call| call.beside).map(|call| call::begin(call, &request.ids)).collect();
    for call in applied().filter(|call| !call.beside) {
        if let Err(failure) = with_retries(call, request, io).await
            && call.on_failure != 0
        {
            println!("error: {} failed: {failure}", call.url);
            drop(beside);
            io.sleep(Duration::from_millis(call.answer_after_ms)).await;
            let body = format!("{} failed\n", call.url);
            return Answer::Respond(Box::new(Route { status: call.on_failure, body, ..Route::default() }));
        }
    }
    io.sleep(Duration::from_millis(route.delay_ms)).await;
    burn(Duration::from_millis(route.burn_ms));
    if let Some(path) = &route.write
        && let Err(error) = append(path)
    {
        println!("error: cannot write {}: {error}", path.display());
        return Answer::Respond(Box::new(Route { status: 500, body: "not stored\n".into(), ..Route::default() }));
    }
    if let Some(text) = &route.log {
        eprintln!("{text}");
    }
    match route.misbehave {
        None if fails_now(route) => Answer::Respond(Box::new(Route { status: 503, ..route.clone() })),
        None => Answer::Respond(Box::new(route.clone())),
        Some(Misbehave::Abort) => std::process::abort(),
        Some(Misbehave::Exit) => std::process::exit(3),
        Some(Misbehave::Oom) => exhaust_memory(),
        Some(Misbehave::Close) => Answer::Close,
        Some(Misbehave::Reset) => Answer::Reset,
        Some(Misbehave::Cancelled) => Answer::WhenLeft,
        Some(Misbehave::Cut) => half(route, Answer::Close),
        Some(Misbehave::CutReset) => half(route, Answer::Reset),
        Some(Misbehave::Stall) => half(route, Answer::Hang),
        Some(Misbehave::Hang) => {
            io.sleep(Duration::from_secs(600)).await;
            Answer::Close
        }
    }
}

fn half(route: &Route, then: Answer) -> Answer {
    let body = if route.body.is_empty() { "half\n".repeat(100) } else { route.body.clone() };
    Answer::Half(Box::new(Route { body, ..route.clone() }), Box::new(then))
}

fn fails_now(route: &Route) -> bool {
    static ANSWERED: AtomicU32 = AtomicU32::new(0);
    route.fail_every > 0 && ANSWERED.fetch_add(1, Ordering::Relaxed).is_multiple_of(route.fail_every)
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

/// Uses CPU time of this thread, however long that takes.
fn burn(time: Duration) {
    let used = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let Ok(start) = used() else { return };
    while used().is_ok_and(|now| now.saturating_sub(start) < time) {
        std::hint::black_box((0..10_000_u64).fold(0, u64::wrapping_add));
    }
}

fn append(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(&[b'x'; 4096])?;
    file.sync_all()
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
