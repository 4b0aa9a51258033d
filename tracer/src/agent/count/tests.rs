use super::*;
use crate::correlate::Options;
use crate::k8s::Snapshot;
use crate::sink::prometheus::{Format, Limits, OptIn};

fn core() -> Correlator {
    Correlator::new(Options::everything(), Snapshot::empty())
}

fn dns(local_port: u16, rcode: Option<u8>, start_ns: Ktime, at: Ktime) -> Record {
    let local = format!("10.0.0.1:{local_port}");
    serde_json::from_value(serde_json::json!({
        "at": at, "event": "dns", "role": "client", "cgroup": 7, "netns": 1, "local": local,
        "remote": "10.96.0.10:53", "actor": {"tgid": 5, "tid": 5}, "comm": "curl", "start_ns": start_ns, "end_ns": at,
        "transmissions": 1, "tcp": false, "name": "cart", "query_type": "A", "rcode": rcode, "addresses": []
    }))
    .unwrap()
}

#[test]
fn a_lookup_counts_once_however_often_it_is_told() {
    let metrics = Metrics::new(Limits { per_metric: 100, opt_in: Vec::new() });
    let mut counting = Counting::new(metrics.clone());
    let second = 1_000_000_000;
    let mut core = core();
    let cgroup = Event::Cgroup { id: 7, path: "/system.slice/curl.service".to_owned() };
    core.push(Record { at: 1, event: cgroup }, &mut Vec::new());
    for record in [
        dns(1, None, second, 2 * second),
        dns(1, None, second, 8 * second),
        dns(1, None, second, 9 * second),
        dns(2, Some(0), second, second + 20_000_000),
        dns(3, Some(3), second, second + 20_000_000),
    ] {
        counting.event(&record, &core);
    }
    let text = metrics.expose(Format::Text);
    for line in [
        "tracer_dns_lookups_total{outcome=\"timeout\",workload=\"Cgroup/curl.service\"} 1.0",
        "tracer_dns_lookups_total{outcome=\"noerror\",workload=\"Cgroup/curl.service\"} 1.0",
        "tracer_dns_lookups_total{outcome=\"nxdomain\",workload=\"Cgroup/curl.service\"} 1.0",
        "tracer_dns_lookup_duration_seconds_bucket{le=\"0.025\",workload=\"Cgroup/curl.service\"} 2",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_root_of_the_cgroups_is_nobody() {
    let mut core = core();
    core.push(Record { at: 1, event: Event::Cgroup { id: 7, path: "/".to_owned() } }, &mut Vec::new());
    assert_eq!(core.owner_of_cgroup(7), Owner::default());
}

#[test]
fn an_origin_has_one_name() {
    let named = |json: serde_json::Value| origin(Some(&serde_json::from_value(json).unwrap()));
    let service = named(serde_json::json!({"service": "shop/cart"}));
    assert_eq!(service, ("shop".into(), "Service/cart".into(), String::new()));
    let outside = named(serde_json::json!({"address": "192.0.2.1:443", "name": "pay.example.com"}));
    assert_eq!(outside.1, "external");
}

const TRAFFIC: u64 = 10_000;

fn exchange(number: u64, role: &str) -> Record {
    let peer = format!("{}.{}.{}.{}:{}", 20 + number % 7, number % 251, number % 241, number % 239, 1024 + number);
    serde_json::from_value(serde_json::json!({
        "at": number, "event": "exchange", "seen": "event", "role": role, "conn": {"sock": number, "born_ns": number},
        "cgroup": 7, "netns": 1, "local": "10.0.0.1:80", "remote": peer, "nat_remote": null, "connector": null,
        "comm": format!("worker-{number}"), "established_ns": 1, "start_ns": number, "read_ns": null,
        "end_ns": number + 1000, "actor": null, "responder": null, "seq": number, "ack": 1, "number": 0, "first": true,
        "outcome": "unanswered", "truncated": false, "reset_received": number.is_multiple_of(2), "reset_sent": false,
        "request": {"method": format!("M{number}"), "path": format!("/item-{number}"), "ids": [], "upgrade": false,
                    "line_hash": number},
        "response": null, "local_closed_first": false, "remote_closed_first": false, "closing_ns": 0, "retransmits": 0
    }))
    .unwrap()
}

fn connect(number: u64) -> Record {
    let peer = format!("{}.{}.{}.{}:{}", 20 + number % 7, number % 251, number % 241, number % 239, 1024 + number);
    serde_json::from_value(serde_json::json!({
        "at": number, "event": "connect", "conn": {"sock": number, "born_ns": number}, "cgroup": 7, "netns": 1,
        "local": "10.0.0.1:40000", "remote": peer, "nat_remote": null, "actor": {"tgid": number, "tid": number},
        "comm": format!("worker-{number}"), "start_ns": number, "end_ns": number + 1000, "error": 111, "error_soft": 0,
        "reset": true, "syn_retransmits": 0, "open": false
    }))
    .unwrap()
}

fn incident(number: u64) -> Incident {
    serde_json::from_value(serde_json::json!({
        "id": format!("{number}"), "first_seen": "2026-03-01T14:00:00.000Z", "last_seen": "2026-03-01T14:00:00.000Z",
        "count": 1, "evidence": [], "next": [],
        "symptom": {"kind": "http-5xx", "path": format!("/item-{number}"), "trace_id": format!("{number:032x}")},
        "path": [{"namespace": "shop", "workload": "Deployment/web", "address": format!("10.0.0.1:{number}")}],
        "cause": {"id": "external-unavailable", "confidence": 0.9, "summary": "no answer",
                  "origin": {"address": format!("192.0.2.1:{number}"), "name": format!("host-{number}.example.com")}},
        "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
    }))
    .unwrap()
}

/// Label sets after so much traffic, each piece with a path, a host, a peer, a process and a method of its own.
fn series(opt_in: Vec<OptIn>) -> Vec<(Metric, usize, u64)> {
    let metrics = Metrics::new(Limits { per_metric: 1000, opt_in });
    let mut counting = Counting::new(metrics.clone());
    let mut core = core();
    let mut out = Vec::new();
    core.push(Record { at: 1, event: Event::Cgroup { id: 7, path: "/curl.service".into() } }, &mut out);
    for number in 1..=TRAFFIC {
        for record in [exchange(number, "server"), exchange(number, "client"), connect(number)] {
            counting.event(&record, &core);
        }
        let port = u16::try_from(1024 + number).unwrap();
        counting.event(&dns(port, Some(3), number, number + 1), &core);
        counting.incident(&incident(number), 1, number, 1);
    }
    let used = [
        Metric::ServerDuration,
        Metric::ClientDuration,
        Metric::ConnectFailures,
        Metric::DnsLookups,
        Metric::DnsDuration,
        Metric::Incidents,
    ];
    metrics
        .with(|store| used.into_iter().map(|metric| (metric, store.usage(metric).0, store.usage(metric).1)).collect())
}

#[test]
fn paths_hosts_peers_processes_and_methods_make_no_series() {
    let sets: Vec<usize> = series(Vec::new()).into_iter().map(|(_, sets, _)| sets).collect();
    // With and without a reset, and one of each of the others.
    assert_eq!(sets, [2, 2, 1, 1, 1, 1]);
}

#[test]
fn labels_that_were_asked_for_stop_at_the_limit() {
    for (metric, sets, overflowed) in series(vec![OptIn::Pod, OptIn::Peer]) {
        let by_peer = [Metric::ClientDuration, Metric::ConnectFailures].contains(&metric);
        // The overflow's own label sets differ in what is bounded only.
        assert!(sets <= 1002 && (sets > 1000) == by_peer, "{metric:?}: {sets}");
        assert_eq!(overflowed > 0, by_peer, "{metric:?}");
    }
}
