//! Over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::agent::store::{Store, incident};
use crate::sink::prometheus::{Limits, Metrics};

const T: &str = "2026-03-01T14:00:01.000Z";

async fn start(max_connections: usize) -> (SocketAddr, Arc<Shared>) {
    start_with(max_connections, PATIENCE).await
}

async fn start_with(max_connections: usize, patience: Duration) -> (SocketAddr, Arc<Shared>) {
    let metrics = Metrics::new(Limits { per_metric: 10, opt_in: Vec::new() });
    let shared = Arc::new(Shared::new(metrics, Store::new(10, 100)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::clone(&shared);
    tokio::spawn(async move { serve(listener, served, max_connections, patience).await });
    (address, shared)
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn open_stream(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /v1/incidents HTTP/1.1\r\nhost: agent\r\naccept: text/event-stream\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test]
async fn routes() {
    let (address, shared) = start(8).await;
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = ask(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("starting\n"), "{answer}");
    shared.status().reason = None;
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    shared.status().last_tick = 1;
    assert!(ask(address, "/healthz").await.contains("the pipeline hasn't run for"));
    shared.store().update(incident("a", 3, T));
    let answer = ask(address, "/v1/incidents?namespace=shop").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["incidents"][0]["count"], &body["truncated"]), (&3.into(), &false.into()));
    assert!(ask(address, "/v1/incidents?namespace=web").await.contains("\"incidents\":[]"));
    let answer = ask(address, "/v1/incidents?limit=none").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("`limit`"), "{answer}");
    assert!(ask(address, "/v1/status").await.contains("\"ready\":false"));
    assert!(ask(address, "/v2").await.starts_with("HTTP/1.1 404"));
    assert!(ask(address, "/metrics").await.contains("text/plain; version=0.0.4"));
}

#[tokio::test]
async fn a_stream_tells_what_is_known_and_what_comes() {
    let (address, shared) = start(8).await;
    shared.store().update(incident("a", 1, T));
    let mut stream = open_stream(address).await;
    let mut told = String::new();
    let mut buffer = [0; 4096];
    for (id, revision) in [("a", 101), ("b", 102)] {
        while !(told.contains(&format!("\"id\":\"{id}\"")) && told.contains(&format!("id: {revision}\n"))) {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{told}");
            told.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        if id == "a" {
            shared.store().update(incident("b", 1, T));
            shared.announce();
        }
    }
}

#[tokio::test]
async fn a_stream_that_goes_on_where_nothing_has_been_yet_begins_anew() {
    let (address, shared) = start(8).await;
    shared.store().update(incident("a", 1, T));
    for after in [u64::MAX, 102] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /v1/incidents HTTP/1.1\r\nhost: agent\r\naccept: text/event-stream\r\nlast-event-id: ";
        stream.write_all(format!("{head}{after}\r\n\r\n").as_bytes()).await.unwrap();
        let mut told = String::new();
        let mut buffer = [0; 4096];
        while !told.contains("id: 101\n") {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "{after}: {told}");
            told.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
}

#[tokio::test]
async fn connections_are_bounded_and_counted() {
    let (address, shared) = start(2).await;
    let _silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut refused = TcpStream::connect(address).await.unwrap();
    // Closed, or reset where our side wrote nothing yet.
    assert!(matches!(refused.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    let text = shared.metrics.expose(Format::Text);
    assert!(text.contains("tracer_http_refused_connections_total 1.0"), "{text}");
}

#[tokio::test]
async fn streams_leave_places_to_others() {
    let (address, shared) = start(4).await;
    let mut answer = [0; 16];
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = open_stream(address).await;
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        streams.push(stream);
    }
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let mut refused = String::new();
    open_stream(address).await.read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("streams"), "{refused}");
    assert!(shared.metrics.expose(Format::Text).contains("tracer_http_refused_connections_total 1.0"));
    // Its reader gone, a stream's place is free at the next change.
    drop(streams);
    let free = async {
        loop {
            shared.store().update(incident("a", 1, T));
            shared.announce();
            let mut stream = open_stream(address).await;
            stream.read_exact(&mut answer).await.unwrap();
            if answer.starts_with(b"HTTP/1.1 200") {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn nobody_but_a_stream_keeps_a_place() {
    // Two places, of which a stream has one.
    let (address, shared) = start_with(2, Duration::from_secs(1)).await;
    let mut stream = open_stream(address).await;
    stream.read_exact(&mut [0; 16]).await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    // A reader that doesn't read.
    for number in 0..10 {
        shared.store().update(incident(&format!("{number}{}", "x".repeat(2_000_000)), 1, T));
    }
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /v1/incidents HTTP/1.1\r\nhost: agent\r\n\r\n").await.unwrap();
    // The other place is free again once it had its time.
    let free = async {
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            next.write_all(b"GET /healthz HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").await.unwrap();
            if next.read(&mut [0; 16]).await.is_ok_and(|read| read > 0) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
    let mut answer = Vec::new();
    // Cut: ended or reset, but not whole.
    drop(slow.read_to_end(&mut answer).await);
    assert!(answer.len() < 20_000_000, "{}", answer.len());
    shared.announce();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0, "the stream goes on");
}

#[tokio::test]
async fn large_answers_are_few_at_a_time() {
    let (address, shared) = start_with(64, Duration::from_secs(2)).await;
    for number in 0..10 {
        shared.store().update(incident(&format!("{number}{}", "x".repeat(2_000_000)), 1, T));
    }
    let mut slow = Vec::new();
    for _ in 0..answer::AT_A_TIME {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/incidents HTTP/1.1\r\nhost: agent\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        slow.push(stream);
    }
    // Those who don't read theirs hold up the next one, and nothing else.
    let next = tokio::spawn(async move { ask(address, "/metrics").await });
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(!next.is_finished());
    // One that is gone has made room.
    slow.pop();
    let answer = tokio::time::timeout(Duration::from_secs(1), next).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-length: "), "{answer}");
}
