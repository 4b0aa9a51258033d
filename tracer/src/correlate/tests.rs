//! Memory stays bounded however many containers, processes, addresses and names come and go.

use std::net::SocketAddr;

use serde_json::json;

use super::*;
use crate::event::{Actor, Dns, Exchange, HostFact, Outcome};
use crate::k8s::cgroup::parse_cgroup_path;

const CONTAINERS: u64 = 100_000;
/// One of so many fails.
const FAILING: u64 = 1000;
/// A container that is there all the time, and heard of after so many others.
const RESIDENT: u64 = 0x00FF_FFFF;
const SELDOM: u64 = 5_000;
const STEP_NS: u64 = 1_000_000;

fn pod_path(id: u64) -> String {
    format!("/kubepods/pod{id:08x}-0000-4000-8000-000000000000/{id:064x}")
}

fn address(id: u64) -> std::net::IpAddr {
    std::net::Ipv4Addr::from(0x0A00_0000 + id as u32).into()
}

fn netns(id: u64) -> u32 {
    0xF000_0000 + id as u32
}

fn tgid(id: u64) -> u32 {
    id as u32 & 0x3F_FFFF
}

/// One that later ones are made of: reading JSON takes a while.
fn exchange() -> Exchange {
    serde_json::from_value(json!({
        "seen": "flight", "role": "server", "conn": {"sock": 0, "born_ns": 0}, "cgroup": 0, "netns": 0,
        "local": "10.0.0.1:80", "remote": "10.0.0.2:1024", "nat_remote": null, "connector": null, "comm": "",
        "established_ns": 0, "start_ns": 0, "read_ns": 0, "end_ns": 0, "actor": null, "responder": {"tgid": 1, "tid": 1},
        "seq": 0, "ack": 1, "number": 0, "first": true, "outcome": {"status": 200}, "truncated": false, "response": null,
        "request": {"method": "GET", "path": "/", "ids": [], "upgrade": false, "line_hash": 0}, "retransmits": 0,
        "reset_received": false, "reset_sent": false, "local_closed_first": false, "remote_closed_first": false,
        "closing_ns": 0
    }))
    .unwrap()
}

fn served(pattern: &Exchange, id: u64, at: Ktime) -> Exchange {
    let failed = id.is_multiple_of(FAILING);
    let mut exchange = pattern.clone();
    (exchange.cgroup, exchange.netns, exchange.seq) = (id, netns(id), id as u32);
    exchange.conn = crate::event::ConnId { sock: id, born_ns: at };
    (exchange.established_ns, exchange.start_ns, exchange.end_ns) = (at, at, at);
    exchange.local = (address(id), 80).into();
    exchange.actor = Some(Actor { tgid: tgid(id), tid: tgid(id) });
    exchange.comm = format!("comm-{id}");
    if failed {
        (exchange.seen, exchange.outcome) = (Seen::Event, Outcome::Status(500));
        exchange.request.as_mut().unwrap().path = format!("/p{id}x");
    }
    exchange
}

fn dns() -> Dns {
    serde_json::from_value(json!({
        "role": "client", "cgroup": 0, "netns": 1, "local": "10.1.0.5:57148", "remote": "10.96.0.10:53",
        "actor": {"tgid": 1, "tid": 1}, "comm": "app", "start_ns": 0, "end_ns": 0, "transmissions": 1, "tcp": false,
        "name": "", "query_type": "A", "rcode": 0, "addresses": []
    }))
    .unwrap()
}

fn resolved(pattern: &Dns, id: u64, at: Ktime) -> Dns {
    let name = format!("name-{id}.example");
    Dns { cgroup: id, start_ns: at, end_ns: at, name, addresses: vec![address(id)], ..pattern.clone() }
}

fn process(id: u64) -> HostFact {
    HostFact::Process {
        tgid: tgid(id),
        comm: format!("comm-{id}"),
        exe: None,
        cgroup: Some(pod_path(id)),
        netns: netns(id),
    }
}

fn logs(id: u64) -> HostFact {
    let uid = parse_cgroup_path(&pod_path(id)).and_then(|container| container.pod_uid).unwrap();
    HostFact::PodLogs { uid, namespace: "shop".to_owned(), name: format!("pod-{id}") }
}

#[test]
fn a_hundred_thousand_containers_come_and_go() {
    let mut core = Correlator::new(Options::everything(), Snapshot::default());
    let (exchange, dns) = (exchange(), dns());
    let mut out = Vec::new();
    for id in [RESIDENT].into_iter().chain(1..=CONTAINERS) {
        let at = (id % RESIDENT) * STEP_NS;
        // One that appears, resolves a name, serves a request well or not, and is gone.
        let mut events = vec![
            Event::Cgroup { id, path: pod_path(id) },
            Event::Host(logs(id)),
            Event::Host(process(id)),
            Event::Exchange(served(&exchange, id, at)),
        ];
        let lookup = Event::Dns(resolved(&dns, id, at));
        // Each is compared with thousands before it, so the window gets fewer.
        if id.is_multiple_of(4) {
            events.push(lookup);
        } else {
            core.identity.learn(&lookup);
        }
        if id.is_multiple_of(SELDOM) {
            events.push(Event::Exchange(served(&exchange, RESIDENT, at)));
        }
        if id.is_multiple_of(1000) {
            events.push(Event::Tick);
        }
        events.into_iter().for_each(|event| core.push(Record { at, event }, &mut out));
        core.wants();
    }
    assert!(out.len() as u64 > CONTAINERS / FAILING / 2, "{} incidents", out.len());
    for (what, held, most) in core.identity.held() {
        assert!(held <= most, "{what}: {held} of at most {most}");
    }
    let Correlator { wanted_processes, undecided, pending, explained, consumed, .. } = &core;
    assert!(wanted_processes.len() <= PROCESSES && pending.len() <= PENDING && undecided.len() <= PENDING);
    assert!(explained.len() <= 2 * window::EXCHANGES && consumed.len() <= 2 * window::EXCHANGES);
    assert!(core.incidents.len() <= 5_000 && core.asked_node.len() <= 1024);

    let forgotten: std::collections::BTreeMap<_, _> = core.forgotten().collect();
    for what in ["cgroups", "pods", "processes", "namespaces", "addresses", "lookups"] {
        assert!(forgotten[what] > 0, "{what}: {forgotten:?}");
    }
    // Told of again and again, if not often: still known.
    let who = core.identity.who(&core.snapshot, RESIDENT, None);
    assert_eq!((who.namespace.as_deref(), who.pod), (Some("shop"), Some(format!("pod-{RESIDENT}"))));
    assert_eq!(core.identity.who(&core.snapshot, 1, None), Who::default(), "long gone");
}

#[test]
fn each_hop_knows_what_it_was_asked() {
    let end = |role: Role, cgroup: u64, path: &str, seq: u32, (start_ns, end_ns): (Ktime, Ktime)| {
        let (client, server) = (SocketAddr::from((address(seq.into()), 4000)), SocketAddr::from((address(9), 80)));
        let (local, remote) = if role == Role::Client { (client, server) } else { (server, client) };
        let mut exchange = Exchange { role, cgroup, local, remote, seq, start_ns, end_ns, ..exchange() };
        (exchange.seen, exchange.outcome) = (Seen::Event, Outcome::Status(500));
        exchange.conn = crate::event::ConnId { sock: cgroup << 8 | u64::from(seq), born_ns: 1 };
        let head = exchange.request.as_mut().unwrap();
        head.path = path.to_owned();
        head.method = if path == "/total" { "POST".to_owned() } else { "GET".to_owned() };
        head.ids = vec![("x-request-id".to_owned(), "a".to_owned())];
        (end_ns, exchange)
    };
    let call = [end(Role::Client, 5, "/total", 2, (20, 30)), end(Role::Server, 6, "/total", 2, (20, 30))];
    for (ends, elsewhere) in [(&call[..], false), (&call[..1], true)] {
        let mut core = Correlator::new(Options::everything(), Snapshot::default());
        let mut out = Vec::new();
        for (at, exchange) in ends.iter().cloned().chain([end(Role::Server, 5, "/checkout", 1, (10, 40))]) {
            core.push(Record { at, event: Event::Exchange(exchange) }, &mut out);
        }
        core.finish(100, &mut out);
        let [incident] = &out[..] else { panic!("{out:?}") };
        let asked: Vec<_> = incident.path.iter().map(|hop| (hop.request.clone().unwrap(), hop.elsewhere)).collect();
        let of = |method: &str, path: &str, elsewhere| ((method.to_owned(), path.to_owned()), elsewhere);
        assert_eq!(asked, [of("GET", "/checkout", false), of("POST", "/total", elsewhere)]);
    }
}
