//! Packets that are sent twice: SYNs, SYN-ACKs, and data that was lost on the way.

use std::io::{Read, Write};
use std::time::Duration;

use tracer::event::{Event, Outcome, Role, SignalKind};

use super::net::{Net, Pair, answer, get, path_of};
use super::observer::observer;

#[test]
fn a_syn_without_answer_is_sent_again() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7300 drop"]);
    let target = "127.0.0.1:7300".parse().unwrap();
    let socket = net.begin_connect(target);
    let signal = net.wait_signal(SignalKind::TcpRetransmitSkb);
    assert_eq!((signal.remote, signal.client), (target, true));
    assert_ne!(signal.local.port(), 0);
    drop(socket);
    let connect = net.wait_connect();
    assert!(connect.syn_retransmits >= 1 && Some(connect.conn) == signal.conn, "{connect:?}");
}

#[test]
fn a_syn_ack_that_is_lost_is_sent_again() {
    let net = Net::new();
    let listener = net.listen("127.0.0.1");
    let target = listener.local_addr().unwrap();
    net.nft("input", &[&format!("tcp sport {} tcp flags & (syn|ack) == (syn|ack) drop", target.port())]);
    let socket = net.begin_connect(target);
    let signal = net.wait_signal(SignalKind::TcpRetransmitSynack);
    assert_eq!(signal.local.port(), target.port());
    assert_ne!(signal.remote.port(), 0, "the client's port");
    drop(socket);
    net.wait_connect();
    // SYN-ACKs go on for a while; they are about a peer that is gone.
    assert!(!net.events().iter().any(|seen| matches!(seen.record.as_ref().unwrap().event, Event::Exchange(_))));
}

/// The first transmission of a request is dropped behind the hook: the retransmit is seen again and counts once.
#[test]
fn lost_segments_count_once() {
    let net = Net::new();
    let mut pair = net.pair();
    // Drops the next two segments with payload to the server; data segments are longer than their headers.
    net.nft(
        "input",
        &[&format!("tcp dport {} meta length > 60 limit rate over 1/hour burst 1 packets drop", pair.port)],
    );
    pair.request(&get("/first"));
    pair.respond(&answer("200 OK", "fine"));
    let rest = [get("/lost"), get("/lost-too")];
    pair.client.write_all(&rest[0]).unwrap();
    net.wait_filtered();
    net.sh("nft flush ruleset");
    let mut read = vec![0; rest[0].len()];
    pair.server.read_exact(&mut read).unwrap();
    pair.respond(&answer("500 No", "no"));
    pair.request(&rest[1]);
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[("/lost", Outcome::Status(500))], &[("/first", 200), ("/lost-too", 200)]);
    assert!(net.exchanges().iter().any(|it| it.retransmits > 0));
}

/// Two segments of which the first is lost: they arrive in the wrong order, or the second one alone first.
#[test]
fn reordered_segments_count_in_their_order() {
    let net = Net::new();
    let mut pair = net.pair();
    let reply = answer("503 Busy", &"x".repeat(3000));
    pair.request(&get("/reordered"));
    // The first 100 bytes are dropped once, what follows passes.
    net.nft("input", &[&format!("tcp sport {} meta length 140-160 drop", pair.port)]);
    pair.server.write_all(&reply[..100]).unwrap();
    net.wait_filtered();
    pair.server.write_all(&reply[100..]).unwrap();
    net.sh("nft flush ruleset");
    let mut read = vec![0; reply.len()];
    pair.client.read_exact(&mut read).unwrap();
    pair.request(&get("/after"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[("/reordered", Outcome::Status(503))], &[("/after", 200)]);
}

/// A peer that vanished: the kernel gives the connection up while a request waits.
#[test]
fn a_vanished_peer_is_no_answer() {
    use std::os::fd::AsRawFd;
    let net = Net::new();
    let mut pair = net.pair();
    let timeout: libc::c_uint = 300;
    // SAFETY: a valid descriptor and option value.
    let set = unsafe {
        libc::setsockopt(
            pair.client.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            (&raw const timeout).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
    net.nft("input", &[&format!("tcp dport {} drop", pair.port)]);
    pair.client.write_all(&get("/vanished")).unwrap();
    pair.client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(pair.client.read(&mut [0; 1]).is_err());
    net.sh("nft flush ruleset");
    drop(pair);
    let exchanges = net.exchanges();
    assert_eq!(exchanges.len(), 1, "the server never saw it: {exchanges:?}");
    assert_eq!(exchanges[0].outcome, Outcome::Unanswered);
    assert!(exchanges[0].retransmits > 0);
}

/// The first segment of a connection's first request comes after the second one.
#[test]
fn an_overtaken_first_segment() {
    let net = Net::new();
    let mut pair = net.pair();
    let head = get("/overtaken");
    let (first, second) = head.split_at(20);
    // The length with headers and timestamps.
    net.nft("input", &[&format!("tcp dport {} meta length {} drop", pair.port, 52 + first.len())]);
    pair.client.write_all(first).unwrap();
    net.wait_filtered();
    pair.client.write_all(second).unwrap();
    net.sh("nft flush ruleset");
    let mut read = vec![0; head.len()];
    pair.server.read_exact(&mut read).unwrap();
    assert_eq!(read, head);
    pair.respond(&answer("500 No", "no"));
    pair.request(&get("/next"));
    pair.respond(&answer("503 Busy", "no"));
    drop(pair);
    net.assert_http(&[("/overtaken", Outcome::Status(500)), ("/next", Outcome::Status(503))], &[]);
}

/// The handshake's last acknowledgement is lost, so the first request ends it: the listener is its socket, and only the
/// client's end can tell of it.
#[test]
fn a_request_that_ends_the_handshake() {
    let net = Net::new();
    let listener = net.listen("127.0.0.1");
    let local = listener.local_addr().unwrap();
    net.nft("input", &[&format!("tcp dport {} tcp flags == ack meta length 52 drop", local.port())]);
    let mut client = net.try_connect(local, Duration::from_secs(5)).unwrap();
    net.wait_filtered();
    client.write_all(&get("/early")).unwrap();
    let (server, _) = listener.accept().unwrap();
    net.sh("nft flush ruleset");
    let mut pair = Pair { client, server, port: local.port() };
    let mut read = vec![0; get("/early").len()];
    pair.server.read_exact(&mut read).unwrap();
    pair.respond(&answer("500 No", "no"));
    pair.request(&get("/next"));
    pair.respond(&answer("503 Busy", "no"));
    drop(pair);
    let told = net.exchanges();
    let of = |role| told.iter().filter(|it| it.role == role).map(|it| path_of(it).to_owned()).collect::<Vec<_>>();
    assert_eq!(of(Role::Client), ["/early", "/next"]);
    assert_eq!(of(Role::Server), ["/next"]);
    let inode = net.inode;
    let left = observer().ask(move |kernel| kernel.tables.connections(|conn| conn.tuple.netns == inode).unwrap());
    assert!(left.is_empty(), "nothing is kept of the listener: {left:?}");
}
