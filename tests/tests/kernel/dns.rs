//! DNS over UDP and TCP: answered, refused by name, unanswered.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, QCLASS, Question, RCODE, ResourceRecord, TYPE};
use tracer::event::{Dns, Event, Role};

use super::net::{Net, of};
use super::observer::observer;

/// A sweep takes every namespace's queries, so these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(0x4242);
    packet.questions.push(Question::new(Name::new_unchecked(name), TYPE::A.into(), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

fn reply(query: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    match address {
        Some(address) => {
            let rdata = RData::A(A { address: address.into() });
            packet.answers.push(ResourceRecord::new(packet.questions[0].qname.clone(), CLASS::IN, 5, rdata));
        }
        None => *packet.rcode_mut() = RCODE::NameError,
    }
    packet.build_bytes_vec().unwrap()
}

fn told(net: &Net) -> Vec<Dns> {
    of(net.events(), |event| if let Event::Dns(it) = event { Some(it) } else { None })
}

fn udp(address: &str, answer: Option<Ipv4Addr>) {
    let _turn = turn();
    let net = Net::new();
    let server = net.udp(address, 53);
    let client = net.udp(address, 0);
    let query = query("Redis.shop.svc.cluster.local");
    client.send_to(&query, server.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 512];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&reply(&buffer[..len], answer), from).unwrap();
    client.recv_from(&mut buffer).unwrap();
    check(told(&net), answer, false);
}

fn check(told: Vec<Dns>, answer: Option<Ipv4Addr>, tcp: bool) {
    let asking: Vec<_> = told.iter().filter(|it| it.role == Role::Client).collect();
    assert_eq!(asking.len(), 1, "{told:?}");
    let dns = asking[0];
    assert_eq!((dns.name.as_str(), dns.query_type.as_str()), ("redis.shop.svc.cluster.local", "A"));
    assert_eq!((dns.tcp, dns.transmissions, dns.actor.tgid), (tcp, 1, std::process::id()));
    assert_eq!(dns.addresses, answer.map(IpAddr::V4).into_iter().collect::<Vec<_>>());
    assert_eq!(dns.rcode, Some(if answer.is_some() { 0 } else { 3 }));
    assert!(dns.start_ns <= dns.end_ns && dns.remote.port() == 53);
    // The resolver's own view is told only of failures.
    assert_eq!(told.iter().filter(|it| it.role == Role::Server).count(), usize::from(answer.is_none()), "{told:?}");
}

#[test]
fn answered_over_udp() {
    udp("127.0.0.1", Some(Ipv4Addr::new(10, 1, 2, 3)));
}

#[test]
fn answered_over_udp_and_ipv6() {
    udp("::1", Some(Ipv4Addr::new(10, 1, 2, 3)));
}

#[test]
fn no_such_name_over_udp() {
    udp("127.0.0.1", None);
}

#[test]
fn over_tcp() {
    let _turn = turn();
    for answer in [Some(Ipv4Addr::new(10, 1, 2, 4)), None] {
        // RFC 7766 section 8 wants length and message in one segment, and tolerates two.
        for together in [true, false] {
            let net = Net::new();
            let listener = net.run(|| std::net::TcpListener::bind(("127.0.0.1", 53)).unwrap());
            let mut pair = net.connect(&listener);
            let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
            let asked = query("redis.shop.svc.cluster.local");
            let (question, answered) = (framed(&asked), framed(&reply(&asked, answer)));
            if together {
                pair.request(&question);
                pair.respond(&answered);
            } else {
                pair.request(&question[..2]);
                pair.request(&question[2..]);
                pair.respond(&answered[..2]);
                pair.respond(&answered[2..]);
            }
            drop(pair);
            check(told(&net), answer, true);
        }
    }
}

/// What the sweep takes of a namespace.
fn unanswered(net: &Net) -> Vec<Dns> {
    let inode = net.inode;
    observer().ask(move |kernel| {
        let now = tracer::clock::monotonic_ns();
        let keep = |(key, query): &(_, tracer_common::event::DnsPending)| {
            tracer::event::decode::unanswered_dns(key, query, now).ok()
        };
        let due = kernel.tables.sweep_dns(now, Duration::from_millis(0)).unwrap();
        let records = due.iter().filter_map(keep);
        records
            .filter_map(|record| if let Event::Dns(it) = record.event { Some(it) } else { None })
            .filter(|dns| dns.netns == inode)
            .collect()
    })
}

#[test]
fn unanswered_over_udp() {
    let _turn = turn();
    let net = Net::new();
    let server = net.udp("127.0.0.1", 53);
    let client = net.udp("127.0.0.1", 0);
    for _ in 0..2 {
        client.send_to(&query("nobody.example"), server.local_addr().unwrap()).unwrap();
    }
    let swept = unanswered(&net);
    assert_eq!(swept.len(), 2, "both ends: {swept:?}");
    for dns in &swept {
        assert_eq!((dns.name.as_str(), dns.rcode, dns.transmissions, dns.tcp), ("nobody.example", None, 2, false));
    }
    assert_eq!(told(&net), []);
}

#[test]
fn unanswered_over_tcp() {
    let _turn = turn();
    let net = Net::new();
    let listener = net.run(|| std::net::TcpListener::bind(("127.0.0.1", 53)).unwrap());
    let mut pair = net.connect(&listener);
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let (asked, other) = (query("nobody.example"), query("somebody.example"));
    pair.request(&framed(&asked));
    // An answer to another question doesn't count.
    let mut stray = reply(&other, Some(Ipv4Addr::new(10, 1, 2, 5)));
    stray[0] ^= 0xff;
    pair.respond(&framed(&stray));
    let swept = unanswered(&net);
    assert_eq!(swept.len(), 2, "both ends: {swept:?}");
    for dns in &swept {
        assert_eq!((dns.name.as_str(), dns.rcode, dns.transmissions, dns.tcp), ("nobody.example", None, 1, true));
        assert_eq!(dns.local.port() == 53, dns.role == Role::Server);
    }
    drop(pair);
    assert_eq!(told(&net), []);
}

#[test]
fn what_is_no_dns_is_no_event() {
    let _turn = turn();
    let net = Net::new();
    let server = net.udp("127.0.0.1", 53);
    let client = net.udp("127.0.0.1", 0);
    client.send_to(&[0xff; 40], server.local_addr().unwrap()).unwrap();
    client.send_to(b"x", server.local_addr().unwrap()).unwrap();
    let mut tcp = net.connect(&net.run(|| std::net::TcpListener::bind(("127.0.0.1", 53)).unwrap()));
    tcp.client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    tcp.server.read_exact(&mut [0; 18]).unwrap();
    assert_eq!(unanswered(&net), []);
    drop(tcp);
    assert_eq!(told(&net), []);
}

/// What follows in an answer's second segment is no question to the one who asked.
#[test]
fn an_answer_in_two_segments() {
    let _turn = turn();
    let net = Net::new();
    let mut pair = net.connect(&net.run(|| std::net::TcpListener::bind(("127.0.0.1", 53)).unwrap()));
    let framed = |message: &[u8], length: usize| [&(length as u16).to_be_bytes()[..], message].concat();
    let asked = query("redis.shop.svc.cluster.local");
    let answered = reply(&asked, Some(Ipv4Addr::new(10, 1, 2, 6)));
    pair.request(&framed(&asked, asked.len()));
    pair.respond(&framed(&answered, answered.len() + 64));
    pair.respond(&[0; 64]);
    let inode = net.inode;
    let left = observer().ask(move |kernel| {
        let left = kernel.tables.sweep_dns(tracer::clock::monotonic_ns(), Duration::ZERO).unwrap();
        left.into_iter().filter(|(_, query)| query.tuple.netns == inode).map(|(key, _)| key.role).collect::<Vec<_>>()
    });
    assert!(left.is_empty(), "{left:?}");
}
