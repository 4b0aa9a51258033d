//! Failing exchanges at both ends, successes that are counted only, and what is no HTTP.

use std::io::Read;
use std::net::Shutdown;

use tracer::event::decode::DecodeError;
use tracer::event::{Event, Outcome, Role, SignalKind};

use super::net::{Net, answer, get, path_of};
use super::observer::observer;

#[test]
fn a_failing_status_is_told_at_both_ends() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(
        b"GET /checkout?card=4111 HTTP/1.1\r\nHost: shop\r\nX-Request-Id: r1\r\nCookie: secret\r\nUser-Agent: kube-probe/1.31\r\n\r\n",
    );
    pair.respond(b"HTTP/1.1 503 Busy\r\nServer: test\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n");
    drop(pair);
    let exchanges = net.exchanges();
    assert_eq!(exchanges.len(), 2);
    assert_eq!(exchanges[0].hop_key(), exchanges[1].hop_key());
    for exchange in &exchanges {
        let request = exchange.request.as_ref().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/checkout"));
        assert_eq!(request.ids, [("x-request-id".to_owned(), "r1".to_owned())]);
        let response = exchange.response.as_ref().unwrap();
        assert_eq!((response.server.as_deref(), response.retry_after.as_deref()), (Some("test"), Some("3")));
        assert_eq!(exchange.outcome, Outcome::Status(503));
        assert!(!exchange.truncated && exchange.start_ns <= exchange.end_ns);
        assert_eq!(exchange.actor.unwrap().tgid, std::process::id());
        let everything = format!("{exchange:?}");
        assert!(!everything.contains("4111") && !everything.contains("secret"), "{everything}");
    }
    let client = exchanges.iter().find(|it| it.role == Role::Client).unwrap();
    assert!(client.first && client.connector.is_some());
    let server = exchanges.iter().find(|it| it.role == Role::Server).unwrap();
    assert!(server.read_ns.is_some_and(|read| read >= server.start_ns));
    assert_eq!(server.responder.unwrap().tgid, std::process::id());
}

#[test]
fn over_ipv6() {
    let net = Net::new();
    let mut pair = net.connect(&net.listen("::1"));
    pair.request(&get("/six"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[("/six", Outcome::Status(500))], &[]);
    assert!(net.exchanges().iter().all(|it| it.remote.is_ipv6() && it.local.is_ipv6()));
}

#[test]
fn ipv4_over_an_ipv6_socket_is_ipv4() {
    let net = Net::new();
    let listener = net.listen("::");
    let port = listener.local_addr().unwrap().port();
    let client = net.run(|| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let (server, _) = listener.accept().unwrap();
    let mut pair = super::net::Pair { client, server, port };
    pair.request(&get("/mapped"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    let exchanges = net.exchanges();
    assert_eq!(exchanges.len(), 2);
    assert!(exchanges.iter().all(|it| it.remote.is_ipv4() && it.local.is_ipv4()));
}

#[test]
fn successes_are_counted_and_recorded_not_streamed() {
    let net = Net::new();
    let mut pair = net.pair();
    for n in 0..5 {
        pair.request(&get(&format!("/good-{n}")));
        pair.respond(&answer("200 OK", "fine"));
    }
    let port = pair.port;
    drop(pair);
    let good = |n: u32| format!("/good-{n}");
    let paths: Vec<_> = (0..5).map(good).collect();
    net.assert_http(&[], &paths.iter().map(|path| (path.as_str(), 200)).collect::<Vec<_>>());
    let counters = observer().ask(|kernel| kernel.tables.counters().unwrap());
    // Fences of other namespaces may listen on the same port.
    let ours: Vec<_> = counters.iter().filter(|(key, _)| key.port == port && key.status != 599).collect();
    for end in [1, 2] {
        let counted: u64 = ours
            .iter()
            .filter(|(key, _)| key.role == end)
            .map(|(_, counter)| counter.latency.iter().sum::<u64>())
            .sum();
        assert!(counted >= 5, "role {end}: {counted}");
        assert!(ours.iter().all(|(key, _)| key.status == 200 && key.method == *b"GE"), "{ours:?}");
    }
}

#[test]
fn a_client_that_gives_up() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(&get("/slow"));
    let open = observer().ask({
        let inode = net.inode;
        move |kernel| {
            let at = tracer::clock::monotonic_ns();
            let conns = kernel.tables.open_connections(u64::MAX).unwrap();
            let ours = conns.iter().filter(|(_, conn)| conn.tuple.netns == inode);
            ours.flat_map(|(sock, conn)| {
                tracer::event::decode::open(*sock, conn, at, |slot| kernel.tables.heads(*sock, slot).unwrap())
            })
            .collect::<Vec<_>>()
        }
    });
    assert_eq!(open.len(), 2, "both ends wait");
    for record in open {
        let Event::Exchange(exchange) = record.unwrap().event else { panic!("an exchange") };
        assert_eq!((exchange.outcome, path_of(&exchange)), (Outcome::Open, "/slow"));
    }
    drop(pair.client);
    drop(pair.server);
    net.assert_http(&[("/slow", Outcome::Unanswered)], &[]);
    for exchange in net.exchanges() {
        assert_eq!(exchange.local_closed_first, exchange.role == Role::Client, "{exchange:?}");
        assert_eq!(exchange.remote_closed_first, exchange.role == Role::Server);
    }
}

#[test]
fn a_server_that_closes_without_an_answer() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(&get("/cut"));
    drop(pair.server);
    assert_eq!(pair.client.read(&mut [0; 1]).unwrap(), 0);
    drop(pair.client);
    net.assert_http(&[("/cut", Outcome::Unanswered)], &[]);
    for exchange in net.exchanges() {
        assert_eq!(exchange.local_closed_first, exchange.role == Role::Server);
    }
}

#[test]
fn a_server_that_resets() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(&get("/reset"));
    // Unread data at close.
    std::io::Write::write_all(&mut pair.client, b"more").unwrap();
    observer().ask(|_| ());
    drop(pair.server);
    assert!(pair.client.read(&mut [0; 1]).is_err());
    drop(pair.client);
    net.assert_http(&[("/reset", Outcome::Unanswered)], &[]);
    for exchange in net.exchanges() {
        assert_eq!(exchange.reset_received, exchange.role == Role::Client, "{exchange:?}");
    }
    let sent = net.wait_signal(SignalKind::TcpSendReset);
    assert!(!sent.no_socket);
    assert!(sent.reason.as_deref().is_none_or(|reason| reason == "TCP_ABORT_ON_CLOSE"), "{:?}", sent.reason);
    net.wait_signal(SignalKind::TcpReceiveReset);
}

#[test]
fn other_protocols_are_no_events() {
    let net = Net::new();
    // RESP, TLS-like, server first, and a client that says nothing.
    let talks: [(&[u8], &[u8]); 3] = [
        (b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"$1\r\n1\r\n"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x03HTTP/1.1 500 No\r\n\r\n"),
        (b"PING\r\n", b"HTTP/1.1 500 No\r\n\r\n"),
    ];
    for (question, reply) in talks {
        let mut pair = net.pair();
        pair.request(question);
        pair.respond(reply);
    }
    let mut greeting = net.pair();
    greeting.respond(b"220 mail ready\r\n");
    greeting.request(b"GET / HTTP/1.1\r\nHost: no\r\n\r\n");
    greeting.respond(b"HTTP/1.1 500 No\r\n\r\n");
    drop(greeting);
    let silent = net.pair();
    silent.client.shutdown(Shutdown::Both).unwrap();
    drop(silent);
    net.assert_http(&[], &[]);
}

#[test]
fn a_method_without_http_is_a_counted_skip() {
    let net = Net::new();
    let mut pair = net.pair();
    // An inline command of Redis: its first word is a method, the rest isn't HTTP.
    pair.request(b"GET skipped-key\r\n");
    pair.respond(b"$1\r\n1\r\n");
    drop(pair);
    net.assert_http(&[], &[]);
    observer().wait("the skip", |seen| seen.iter().find(|seen| seen.record == Err(DecodeError::NotHttp)).map(|_| ()));
}
