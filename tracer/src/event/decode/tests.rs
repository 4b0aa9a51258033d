//! Wire structs made by hand, and bytes made by nobody.

use std::collections::BTreeMap;

use tracer_common::conn::{Conn, Request, conn_flag, protocol, req_flag, role, tls_flag};
use tracer_common::event::{
    Cgroup, Connect, ConnectAttempt, Dns, DnsKey, DnsPending, Exchange, FlightRecord, Heads, IcmpError, Process,
    Signal, SkbDrop, process_kind,
};
use tracer_common::{Actor as WireActor, Tuple};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::*;
use crate::event::{Event, Outcome, Seen, SignalKind};

const POD: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 7];
const PEER: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Names as a kernel of the tests' own has them.
#[derive(Default)]
struct Table(BTreeMap<u64, &'static str>);

impl Names for Table {
    fn drop_reason(&mut self, reason: u32) -> Option<String> {
        match reason {
            12 => Some("NETFILTER_DROP".to_owned()),
            62 => Some("TC_EGRESS".to_owned()),
            _ => None,
        }
    }

    fn reset_reason(&mut self, reason: u32) -> Option<String> {
        (reason == 1).then(|| "NO_SOCKET".to_owned())
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.0.get(&address).map(|name| (*name).to_owned())
    }
}

fn tuple() -> Tuple {
    Tuple { local: POD, remote: PEER, local_port: 4000, remote_port: 80, netns: 99 }
}

fn header(kind: u16, len: usize) -> Header {
    Header { at_ns: 1000, kind, cpu: 0, len: len as u32 }
}

fn wire<T: FromZeros + IntoBytes + Immutable>(kind: u16, fill: impl FnOnce(&mut T, Header)) -> Vec<u8> {
    let mut value = T::new_zeroed();
    fill(&mut value, header(kind, size_of::<T>()));
    value.as_bytes().to_vec()
}

fn exchange(head: &[u8], fill: impl FnOnce(&mut Exchange)) -> Vec<u8> {
    wire::<Exchange>(kind::EXCHANGE, |it, header| {
        it.header = header;
        it.sock = 0xdead;
        it.conn.born_ns = 5;
        it.conn.role = role::CLIENT;
        it.conn.tuple = tuple();
        it.conn.comm[..3].copy_from_slice(b"web");
        it.request.response_ns = 900;
        it.request.status = 503;
        it.request.head_len = head.len() as u16;
        it.heads.request[..head.len()].copy_from_slice(head);
        fill(it);
    })
}

fn decoded(bytes: &[u8]) -> Event {
    decode(bytes, &mut Table::default()).unwrap().event
}

const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn exchanges() {
    let bytes = exchange(HEAD, |it| {
        it.request.actor = WireActor { tgid: 7, tid: 8 };
        it.conn.connector = WireActor { tgid: 7, tid: 7 };
        it.conn.nat_remote = POD;
        it.conn.nat_remote_port = 8080;
        it.conn.flags = conn_flag::RST_RECEIVED | conn_flag::REMOTE_CLOSED_FIRST;
        it.request.flags = req_flag::FIRST | req_flag::TRUNCATED;
    });
    // Not aligned, and followed by other bytes.
    let shifted = [&[0][..], &bytes, &[1, 2, 3]].concat();
    let Event::Exchange(it) = decoded(&shifted[1..]) else { panic!() };
    assert_eq!((it.seen, it.role, it.outcome, it.end_ns), (Seen::Event, Role::Client, Outcome::Status(503), 900));
    assert_eq!((it.local, it.remote), ("10.1.2.7:4000".parse().unwrap(), "[fd00::1]:80".parse().unwrap()));
    assert_eq!(it.nat_remote, Some("10.1.2.7:8080".parse().unwrap()));
    assert_eq!((it.actor, it.connector.unwrap().tid), (Some(Actor { tgid: 7, tid: 8 }), 7));
    assert!(it.reset_received && it.remote_closed_first && it.first && !it.reset_sent && !it.local_closed_first);
    assert!(!it.truncated, "the head is whole, the body needn't be");
    assert_eq!((it.comm.as_str(), it.request.unwrap().path.as_str()), ("web", "/a"));

    let unanswered = exchange(HEAD, |it| it.request.status = 0);
    let Event::Exchange(it) = decoded(&unanswered) else { panic!() };
    assert_eq!((it.outcome, it.end_ns, it.response), (Outcome::Unanswered, 1000, None));

    let broken = exchange(HEAD, |it| {
        it.request.status = 200;
        it.request.flags = req_flag::CUT;
        it.conn.flags = conn_flag::CLOSED_IDLE;
    });
    let Event::Exchange(it) = decoded(&broken) else { panic!() };
    assert_eq!((it.outcome, it.cut, it.end_ns, it.closed_idle), (Outcome::Unanswered, Some(200), 1000, false));

    let headless = exchange(b"", |it| it.request.head_len = 0);
    assert!(matches!(decoded(&headless), Event::Exchange(it) if it.request.is_none()));
    let redis = exchange(b"GET key\r\n", |_| {});
    assert_eq!(decode(&redis, &mut NoNames), Err(DecodeError::NotHttp));
    let nobody = exchange(HEAD, |it| it.conn.role = role::UNKNOWN);
    assert_eq!(decode(&nobody, &mut NoNames), Err(DecodeError::Role(0)));
}

#[test]
fn an_actor_of_another_process_is_nobody() {
    let actors = |role, actor, responder, connector| {
        let by = |tgid| WireActor { tgid, tid: tgid };
        let bytes = exchange(HEAD, |it| {
            it.conn.role = role;
            it.conn.connector = by(connector);
            it.request.actor = by(actor);
            it.request.responder = by(responder);
        });
        let Event::Exchange(it) = decoded(&bytes) else { panic!() };
        (it.actor.map(|actor| actor.tgid), it.responder.map(|actor| actor.tgid))
    };
    assert_eq!(actors(role::CLIENT, 7, 0, 7), (Some(7), None));
    assert_eq!(actors(role::CLIENT, 9, 0, 7), (None, None), "sent in softirq");
    assert_eq!(actors(role::CLIENT, 9, 0, 0), (Some(9), None), "nobody was seen connecting");
    assert_eq!(actors(role::CLIENT, 0, 0, 0), (None, None));
    assert_eq!(actors(role::SERVER, 7, 7, 0), (Some(7), Some(7)));
    assert_eq!(actors(role::SERVER, 7, 9, 0), (Some(7), None), "answered in softirq");
    assert_eq!(actors(role::SERVER, 0, 9, 0), (None, None), "nobody was seen reading");
}

#[test]
fn flight_records() {
    let mut record = FlightRecord::new_zeroed();
    record.tuple = tuple();
    record.role = role::SERVER;
    record.status = 200;
    record.response_ns = 77;
    record.line[..HEAD.len()].copy_from_slice(HEAD);
    record.line_len = HEAD.len() as u32;
    let Record { at: 77, event: Event::Exchange(it) } = flight(&record).unwrap() else { panic!() };
    assert_eq!((it.seen, it.outcome, it.truncated), (Seen::Flight, Outcome::Status(200), false));
    assert_eq!(it.request.unwrap().path, "/a");
    record.line.fill(b'a');
    record.line[..5].copy_from_slice(b"GET /");
    record.line_len = u32::MAX;
    let Event::Exchange(it) = flight(&record).unwrap().event else { panic!() };
    assert!(it.truncated && it.request.unwrap().path.starts_with("/aaa"));
}

#[test]
fn open_things() {
    let mut conn = Conn::new_zeroed();
    (conn.role, conn.protocol, conn.tuple) = (role::CLIENT, protocol::HTTP1, tuple());
    (conn.begun, conn.answered) = (6, 4);
    for number in 4..6u32 {
        conn.requests[number as usize % 4] =
            Request { number, slot: number as u8 % 4, start_ns: 1, head_len: HEAD.len() as u16, ..Default::default() };
    }
    let mut heads = Heads::new_zeroed();
    heads.request[..HEAD.len()].copy_from_slice(HEAD);
    let found = open(1, &conn, 50, |slot| (slot == 0).then_some(heads));
    let found: Vec<_> = found
        .into_iter()
        .map(|record| if let Event::Exchange(it) = record.unwrap().event { it } else { panic!() })
        .collect();
    let seen: Vec<_> = found.iter().map(|it| (it.number, it.outcome, it.end_ns, it.request.is_some())).collect();
    assert_eq!(seen, [(4, Outcome::Open, 50, true), (5, Outcome::Open, 50, false)]);
    // Torn: the slot holds another request by now.
    conn.requests[0].number = 8;
    assert_eq!(open(1, &conn, 50, |_| None).len(), 1);
    conn.protocol = protocol::TUNNEL;
    assert_eq!(open(1, &conn, 50, |_| None).len(), 0);

    (conn.state, conn.syn_retransmits) = (2, 3);
    let found = open(1, &conn, 50, |_| None);
    assert!(
        matches!(&found[..], [Ok(Record { at: 50, event: Event::Connect(it) })] if it.open && it.syn_retransmits == 3)
    );
}

#[test]
fn connects() {
    let bytes = wire::<Connect>(kind::CONNECT, |it, header| {
        (it.header, it.sock, it.conn.tuple) = (header, 3, tuple());
        (it.error, it.error_soft, it.conn.flags) = (111, 113, conn_flag::RST_RECEIVED);
    });
    let Event::Connect(it) = decoded(&bytes) else { panic!() };
    assert_eq!((it.error, it.error_soft, it.reset, it.open, it.end_ns), (111, 113, true, false, 1000));
    let mut attempt = ConnectAttempt::new_zeroed();
    (attempt.pending.remote, attempt.pending.remote_port, attempt.pending.at_ns) = (POD, 80, 4);
    let Record { at: 9, event: Event::ConnectAttempt(it) } = connect_attempt(&attempt, 9) else { panic!() };
    assert_eq!((it.remote, it.start_ns), ("10.1.2.7:80".parse().unwrap(), 4));
}

#[test]
fn signals() {
    let signal = |kind, sock, reason| {
        let bytes = wire::<Signal>(kind, |it, header| {
            (it.header, it.sock, it.born_ns, it.tuple, it.reason, it.direction) =
                (header, sock, sock, tuple(), reason, 1);
        });
        let Event::Signal(it) = decoded(&bytes) else { panic!() };
        it
    };
    let reset = signal(kind::TCP_SEND_RESET, 0, 1);
    assert_eq!(
        (reset.signal, reset.reason.as_deref(), reset.no_socket, reset.conn),
        (SignalKind::TcpSendReset, Some("NO_SOCKET"), true, None)
    );
    let received = signal(kind::TCP_RECEIVE_RESET, 4, 1);
    assert!(received.reset_received && received.reason.is_none() && !received.no_socket);
    assert_eq!(received.conn.unwrap().sock, 4);
    assert!(signal(kind::TCP_SEND_RESET, 0, u32::MAX).reason.is_none());
}

/// A server that has closed answers a TLS client's goodbye with a reset; whether its answer came can't be read.
#[test]
fn a_reset_after_a_tls_goodbye_breaks_nothing() {
    let broken = |carries: u8, flags: u32, tls_flags: u8| {
        let bytes = wire::<Signal>(kind::CONNECTION_END, |it, header| {
            (it.header, it.sock, it.tuple, it.bytes_received) = (header, 4, tuple(), 1275);
            (it.carries, it.flags, it.tls.flags) = (carries.into(), flags | conn_flag::RST_RECEIVED, tls_flags);
        });
        let Event::Signal(it) = decoded(&bytes) else { panic!() };
        it.is_broken_end()
    };
    let done = tls_flag::DONE;
    assert!(broken(protocol::TLS, 0, done));
    assert!(!broken(protocol::TLS, 0, done | tls_flag::ALERT_SENT));
    assert!(!broken(protocol::TLS, conn_flag::REMOTE_CLOSED_FIRST, done));
    assert!(broken(protocol::OTHER, conn_flag::REMOTE_CLOSED_FIRST, 0), "no goodbye is known there");
}

#[test]
fn drops() {
    let mut names = Table::default();
    let frames = [
        "nonsense",
        "sk_skb_reason_drop",
        "nft_do_chain",
        "nft_do_chain_inet",
        "nf_hook_slow",
        "ip_local_deliver",
        "ip_rcv",
    ];
    names.0.extend((1..).zip(frames));
    let bytes = |reason, frames: u64, location| {
        wire::<SkbDrop>(kind::KFREE_SKB, |it, header| {
            (it.header, it.reason, it.location) = (header, reason, location);
            (it.packet.source, it.packet.destination, it.packet.destination_port) = (POD, PEER, 6379);
            (it.original_destination, it.original_port) = (PEER, 80);
            it.dev[..4].copy_from_slice(b"eth0");
            (1..=frames).zip(&mut it.stack).for_each(|(address, frame)| *frame = address);
        })
    };
    let drop = |bytes: &[u8], names: &mut Table| match decode(bytes, names).unwrap().event {
        Event::Drop(it) => it,
        other => panic!("{other:?}"),
    };
    let input = drop(&bytes(12, 7, 3), &mut names);
    assert_eq!(
        (input.reason.as_deref(), input.hook.as_deref(), input.mechanism.as_deref()),
        (Some("NETFILTER_DROP"), Some("INPUT"), Some("netfilter"))
    );
    assert_eq!((input.location.as_deref(), input.device.as_deref()), (Some("nft_do_chain"), Some("eth0")));
    assert_eq!(input.original_destination, Some("[fd00::1]:80".parse().unwrap()));
    let by_reason = drop(&bytes(62, 0, 0), &mut names);
    assert_eq!((by_reason.mechanism.as_deref(), by_reason.hook, by_reason.location), (Some("tc"), None, None));
    // Neither reason nor stack: the place that freed it.
    assert_eq!(drop(&bytes(u32::MAX, 0, 3), &mut names).mechanism.as_deref(), Some("netfilter"));
    assert_eq!(drop(&bytes(u32::MAX, 0, 0), &mut names).mechanism, None);
}

#[test]
fn the_rest() {
    let icmp = wire::<IcmpError>(kind::ICMP_SEND, |it, header| {
        (it.header, it.icmp_type, it.icmp_code, it.family) = (header, 1, 4, 6);
    });
    assert!(matches!(decoded(&icmp), Event::Icmp(it) if it.ipv6 && it.icmp_type == 1 && it.icmp_code == 4));
    let process = |kind, exit_code| match decoded(&wire::<Process>(kind, |it, header| {
        (it.header, it.exit_code, it.kind) = (header, exit_code, process_kind::SERVED);
    })) {
        Event::Process(it) => (it.oom_victim, it.signal, it.exit_code, it.served),
        other => panic!("{other:?}"),
    };
    assert_eq!(process(kind::SCHED_PROCESS_EXIT, 0x8b), (false, Some(11), None, true), "with a core dump");
    assert_eq!(process(kind::SCHED_PROCESS_EXIT, 7 << 8), (false, None, Some(7), true));
    assert_eq!(process(kind::MARK_VICTIM, 0), (true, None, None, true));
    let cgroup = wire::<Cgroup>(kind::CGROUP_MKDIR, |it, header| {
        (it.header, it.cgroup_id) = (header, 5);
        it.path[..3].copy_from_slice(b"/a\0");
    });
    assert_eq!(decoded(&cgroup), Event::Cgroup { id: 5, path: "/a".to_owned() });
}

#[test]
fn dns_messages() {
    const QUERY: &[u8] = b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x05Redis\x04shop\0\0\x1c\0\x01";
    let bytes = wire::<Dns>(kind::DNS, |it, header| {
        (it.header, it.tuple, it.key.role, it.len, it.protocol) = (header, tuple(), 1, QUERY.len() as u16, 6);
        it.message[..QUERY.len()].copy_from_slice(QUERY);
    });
    let Event::Dns(it) = decoded(&bytes) else { panic!() };
    assert_eq!((it.name.as_str(), it.query_type.as_str(), it.rcode, it.tcp), ("redis.shop", "AAAA", Some(3), true));
    let mut key = DnsKey::new_zeroed();
    let mut pending = DnsPending::new_zeroed();
    (key.role, pending.protocol, pending.len, pending.transmissions) = (2, 17, u16::MAX, 3);
    pending.message[..QUERY.len()].copy_from_slice(QUERY);
    let Record { at: 60, event: Event::Dns(it) } = unanswered_dns(&key, &pending, 60).unwrap() else { panic!() };
    assert_eq!((it.role, it.rcode, it.tcp, it.transmissions), (Role::Server, None, false, 3));
    pending.message.fill(0xff);
    assert_eq!(unanswered_dns(&key, &pending, 60), Err(DecodeError::NotDns));
}

/// Any bytes of any kind and length: an answer, never a panic.
#[test]
fn total_on_garbage() {
    let mut state = 42u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    };
    for round in 0..3000 {
        let mut bytes: Vec<u8> = (0..next() % 3400).map(|_| next() as u8).collect();
        if let Some(kind) = bytes.get_mut(8..10) {
            kind.copy_from_slice(&((round % 18) as u16).to_ne_bytes());
        }
        let _ = decode(&bytes, &mut Table::default());
    }
    assert_eq!(decode(&[], &mut NoNames), Err(DecodeError::Short { expected: 16, found: 0 }));
    assert_eq!(decode(&wire::<Header>(77, |it, header| *it = header), &mut NoNames), Err(DecodeError::Kind(77)));
    let short = &exchange(HEAD, |_| {})[..1000];
    assert!(matches!(decode(short, &mut NoNames), Err(DecodeError::Short { found: 1000, .. })));
}

#[test]
fn a_flight_record_without_a_status_is_an_opaque_connection() {
    let mut record = FlightRecord::new_zeroed();
    record.cgroup_id = 7;
    record.role = role::CLIENT;
    record.flags = protocol::TLS;
    (record.born_ns, record.start_ns, record.read_ns, record.response_ns) = (1, 2, 9, 8);
    let Record { at: 9, event: Event::OpaqueConnection(it) } = flight(&record).unwrap() else { panic!() };
    assert_eq!((it.cgroup, it.tls, it.start_ns, it.last_ns, it.connector), (7, true, 2, 9, None));
    assert!(it.answered);
    (record.start_ns, record.response_ns) = (0, 0);
    let Event::OpaqueConnection(it) = flight(&record).unwrap().event else { panic!() };
    assert_eq!((it.start_ns, it.answered), (1, false), "older than the tracer, and silent");
}
