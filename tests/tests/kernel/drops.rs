//! Dropped packets: which hook, which device, whose.

use std::time::Duration;

use tracer::event::Event;

use super::net::{Net, of, tells_icmp};

#[test]
fn input_and_output_chains() {
    for (hook, name) in
        [("input", "INPUT"), ("output", "OUTPUT"), ("prerouting", "PREROUTING"), ("postrouting", "POSTROUTING")]
    {
        for address in ["127.0.0.1:7100", "[::1]:7100"] {
            let net = Net::new();
            net.nft(hook, &["tcp dport 7100 drop"]);
            net.try_connect(address.parse().unwrap(), Duration::from_millis(300)).unwrap_err();
            let dropped = net.wait_filtered();
            assert_eq!(
                (dropped.hook.as_deref(), dropped.mechanism.as_deref()),
                (Some(name), Some("netfilter")),
                "{dropped:?}"
            );
            assert_eq!(
                (dropped.destination, dropped.protocol, dropped.tcp_flags & 2),
                (address.parse().unwrap(), 6, 2)
            );
            assert!(dropped.location.is_some(), "{dropped:?}");
            let connect = net.wait_connect();
            assert_eq!(dropped.source, connect.local);
            let refused = net
                .events()
                .into_iter()
                .any(|seen| matches!(seen.record.unwrap().event, Event::Signal(_) | Event::Icmp(_)));
            assert!(!refused, "nothing answered");
        }
    }
}

/// Two namespaces and a router between them, whose FORWARD chain drops.
#[test]
fn forward_chain() {
    let (a, node, b) = (Net::new(), Net::new(), Net::new());
    node.sh("sysctl -qw net.ipv4.ip_forward=1 || echo 1 > /proc/sys/net/ipv4/ip_forward");
    for (net, name, subnet) in [(&a, "va", 1), (&b, "vb", 2)] {
        node.sh(&format!("ip link add {name} type veth peer name eth0 netns {}", net.path()));
        node.sh(&format!("ip addr add 10.99.{subnet}.1/24 dev {name} && ip link set {name} up"));
        net.sh(&format!("ip addr add 10.99.{subnet}.2/24 dev eth0 && ip link set eth0 up && ip route add default via 10.99.{subnet}.1"));
    }
    node.nft("forward", &["tcp dport 7200 drop"]);
    a.try_connect("10.99.2.2:7200".parse().unwrap(), Duration::from_millis(500)).unwrap_err();
    let dropped = node.wait_filtered();
    assert_eq!((dropped.hook.as_deref(), dropped.device.as_deref()), (Some("FORWARD"), Some("va")));
    assert_eq!(dropped.destination, "10.99.2.2:7200".parse().unwrap());
    assert_eq!(a.wait_connect().local, dropped.source);
    assert!(!b.events().iter().any(|seen| matches!(seen.record.as_ref().unwrap().event, Event::Drop(_))));

    // The same two ends are one hop, also through the router.
    let listener = b.listen("10.99.2.2");
    let mut pair = a.connect(&listener);
    pair.request(&super::net::get("/hop"));
    pair.respond(&super::net::answer("500 No", "no"));
    drop(pair);
    let (client, server) = (a.exchanges(), b.exchanges());
    assert_eq!((client.len(), server.len()), (1, 1));
    assert_eq!(client[0].hop_key(), server[0].hop_key());
    assert_eq!((client[0].seq, client[0].ack), (server[0].seq, server[0].ack));
}

#[test]
fn no_route_on_the_router() {
    let (a, node) = (Net::new(), Net::new());
    node.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    node.sh(&format!("ip link add va type veth peer name eth0 netns {}", a.path()));
    node.sh("ip addr add 10.98.1.1/24 dev va && ip link set va up");
    a.sh("ip addr add 10.98.1.2/24 dev eth0 && ip link set eth0 up && ip route add default via 10.98.1.1");
    a.try_connect("192.0.2.9:80".parse().unwrap(), Duration::from_secs(3)).unwrap_err();
    if tells_icmp() {
        let icmp =
            node.wait("the ICMP error", |event| if let Event::Icmp(it) = event { Some(it.clone()) } else { None });
        assert_eq!((icmp.icmp_type, icmp.icmp_code), (3, 0));
    }
    let dropped = node.wait("the drop", |event| if let Event::Drop(it) = event { Some(it.clone()) } else { None });
    assert_eq!(dropped.mechanism.as_deref(), Some("routing"), "{dropped:?}");
    let connect = a.wait_connect();
    assert_eq!((connect.remote, connect.reset), ("192.0.2.9:80".parse().unwrap(), false));
    // The error may have come while the application held the socket.
    assert!([0, libc::ENETUNREACH as u32].contains(&connect.error.max(connect.error_soft)), "{connect:?}");
}

/// A datagram to a closed port comes as often as its sender likes; of those, only DNS queries are waited for here.
#[test]
fn datagrams_that_nobody_takes() {
    for address in ["127.0.0.1", "::1"] {
        let net = Net::new();
        let client = net.udp(address, 0);
        for port in [7800, 53] {
            client.connect((address, port)).unwrap();
            for _ in 0..100 {
                // Every other one is told of the one before.
                let _ = client.send(b"a question of some sort");
            }
        }
        let told = of(net.events(), |event| match event {
            Event::Signal(it) => Some((it.remote, it.protocol)),
            Event::Icmp(it) => Some((it.destination, 0)),
            _ => None,
        });
        let only_dns = told.iter().all(|(to, signalled)| to.port() == 53 && *signalled == 0);
        assert!(only_dns, "{told:?}");
        assert_eq!(told.is_empty(), address == "127.0.0.1" && !tells_icmp());
    }
}
