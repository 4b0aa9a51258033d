//! Connects that fail, each in its own way.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tracer::event::{Event, SignalKind};

use super::net::{Net, gives_reasons, of, tells_icmp};
use super::observer::{PATIENCE, observer};

/// A port at which nobody listens, in a namespace of the test's own.
fn closed_port(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 7400)
}

#[test]
fn a_closed_port_refuses() {
    for address in ["127.0.0.1", "::1"] {
        let net = Net::new();
        let target = closed_port(address);
        let error = net.try_connect(target, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let connect = net.wait_connect();
        assert_eq!((connect.remote, connect.error, connect.reset), (target, libc::ECONNREFUSED as u32, true));
        assert_eq!((connect.actor.tgid, connect.syn_retransmits, connect.open), (std::process::id(), 0, false));
        // The kernel says why it sent the reset from 6.10 on; before, the drop says it; before 5.17, nobody does.
        let closed = observer().features().reset_for_closed_port();
        let answered = net.wait("the refusal's reason", |event| match event {
            Event::Signal(it) if it.signal == SignalKind::TcpSendReset => {
                assert!(it.no_socket && it.local == target && it.remote == connect.local, "{it:?}");
                Some((true, it.reason.clone()))
            }
            Event::Drop(it) if it.destination == target => {
                assert_eq!(it.source, connect.local, "{it:?}");
                Some((false, it.reason.clone()))
            }
            _ => None,
        });
        assert_eq!(answered, (closed, gives_reasons().then(|| "NO_SOCKET".to_owned())));
        assert_eq!(net.wait_signal(SignalKind::TcpReceiveReset).remote, target);
        let events = net.events();
        assert!(!events.iter().any(|seen| matches!(seen.record.as_ref().unwrap().event, Event::Icmp(_))));
        assert_eq!(of(events, |event| if let Event::Connect(it) = event { Some(it) } else { None }).len(), 1);
    }
}

#[test]
fn a_reject_rule_refuses_with_icmp() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7001 reject with icmpx type port-unreachable"]);
    let target = "127.0.0.1:7001".parse().unwrap();
    let error = net.try_connect(target, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let connect = net.wait_connect();
    assert_eq!((connect.remote, connect.reset), (target, false));
    // Over loopback the error comes while the application holds the socket, and it has taken it by the end.
    assert!([0, libc::ECONNREFUSED as u32].contains(&connect.error.max(connect.error_soft)), "{connect:?}");
    if tells_icmp() {
        let icmp =
            net.wait("the ICMP error", |event| if let Event::Icmp(it) = event { Some(it.clone()) } else { None });
        assert_eq!((icmp.icmp_type, icmp.icmp_code, icmp.ipv6), (3, 3, false));
        assert_eq!((icmp.source, icmp.destination), (connect.local, target));
    } else {
        assert!(!net.events().iter().any(|seen| matches!(seen.record.as_ref().unwrap().event, Event::Icmp(_))));
    }
    assert_eq!(net.wait_filtered().hook.as_deref(), Some("INPUT"));
    let resets = of(net.events(), |event| match event {
        Event::Signal(it) if matches!(it.signal, SignalKind::TcpSendReset | SignalKind::TcpReceiveReset) => Some(it),
        _ => None,
    });
    assert_eq!(resets, []);
}

#[test]
fn a_reject_rule_refuses_with_icmpv6() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7002 reject with icmpx type port-unreachable"]);
    let target = "[::1]:7002".parse().unwrap();
    net.try_connect(target, PATIENCE).unwrap_err();
    let icmp = net.wait("the ICMPv6 error", |event| if let Event::Icmp(it) = event { Some(it.clone()) } else { None });
    // Destination unreachable: port unreachable (RFC 4443 section 3.1).
    assert_eq!((icmp.icmp_type, icmp.icmp_code, icmp.ipv6, icmp.destination), (1, 4, true, target));
    let connect = net.wait_connect();
    assert_eq!((connect.remote, connect.reset, icmp.source), (target, false, connect.local));
}

#[test]
fn no_route_before_a_packet_is_sent() {
    let net = Net::new();
    let target = "192.0.2.1:80".parse().unwrap();
    let error = net.try_connect(target, PATIENCE).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
    let inode = net.inode;
    let attempt = observer().ask(move |kernel| {
        let now = tracer::clock::monotonic_ns();
        let attempts = kernel.tables.sweep_connects(now, Duration::ZERO).unwrap();
        let records = attempts.iter().map(|attempt| tracer::event::decode::connect_attempt(attempt, now));
        records
            .filter_map(|record| if let Event::ConnectAttempt(it) = record.event { Some(it) } else { None })
            .find(|attempt| attempt.netns == inode)
    });
    let attempt = attempt.expect("the connect that died early");
    assert_eq!((attempt.remote, attempt.actor.tgid), (target, std::process::id()));
    assert!(!net.events().iter().any(|seen| matches!(seen.record.as_ref().unwrap().event, Event::Connect(_))));
}

/// A listener whose queue is full answers no SYN: the connect is open until it is given up.
#[test]
fn an_unanswered_connect_is_open_until_given_up() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7003 drop"]);
    let target = "127.0.0.1:7003".parse().unwrap();
    let socket = net.begin_connect(target);
    let inode = net.inode;
    let open = observer().ask(move |kernel| {
        let at = tracer::clock::monotonic_ns();
        let conns = kernel.tables.open_connections(u64::MAX).unwrap();
        let ours = conns.iter().filter(|(_, conn)| conn.tuple.netns == inode);
        ours.flat_map(|(sock, conn)| tracer::event::decode::open(*sock, conn, at, |_| None)).collect::<Vec<_>>()
    });
    assert_eq!(open.len(), 1);
    let Event::Connect(waiting) = &open[0].as_ref().unwrap().event else { panic!("{open:?}") };
    assert!(waiting.open && waiting.remote == target && waiting.local.port() != 0, "{waiting:?}");
    drop(socket);
    let connect = net.wait_connect();
    assert_eq!((connect.conn, connect.open, connect.error), (waiting.conn, false, 0));
}

/// Of destination NAT in the client's own namespace both addresses are known.
#[test]
fn translation_is_seen() {
    let net = Net::new();
    let listener: TcpListener = net.listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    net.sh(&format!(
        "nft 'table ip nat {{ chain o {{ type nat hook output priority -100; ip daddr 127.9.9.9 tcp dport 80 dnat to 127.0.0.1:{port}; }}; }}'"
    ));
    let client = net.run(|| std::net::TcpStream::connect("127.9.9.9:80").unwrap());
    let (server, _) = listener.accept().unwrap();
    let mut pair = super::net::Pair { client, server, port };
    pair.request(&super::net::get("/nat"));
    pair.respond(&super::net::answer("500 No", "no"));
    drop(pair);
    let exchanges = net.exchanges();
    let client = exchanges.iter().find(|it| it.role == tracer::event::Role::Client).unwrap();
    assert_eq!(client.remote, "127.9.9.9:80".parse().unwrap());
    assert_eq!(client.nat_remote, Some(SocketAddr::from(([127, 0, 0, 1], port))));
}
