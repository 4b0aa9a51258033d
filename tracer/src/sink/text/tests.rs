//! Text as it is printed, without the colours.

use serde_json::{Value, json};

use super::*;
use crate::sink::line::{Latency, WorkloadSummary};

fn incident(value: Value) -> Incident {
    serde_json::from_value(value).unwrap()
}

/// The page on which the product is explained.
fn policy_drop(count: u64) -> Incident {
    incident(json!({
        "id": "1f2e", "first_seen": "2026-03-01T14:03:11.204Z", "last_seen": "2026-03-01T14:03:31.204Z",
        "count": count,
        "symptom": {"kind": "http-5xx", "status": 500, "method": "GET", "path": "/checkout", "duration_ms": 1030.2},
        "path": [
            {"namespace": "ingress", "pod": "nginx-7f9", "outcome": "502", "duration_ms": 1030.2, "link": "root"},
            {"namespace": "shop", "pod": "frontend-6b8", "service": "shop/frontend", "outcome": "500",
             "duration_ms": 1020.0, "link": "header"},
            {"namespace": "shop", "pod": "cart-5d4", "service": "shop/cart", "outcome": "500",
             "duration_ms": 1010.0, "link": "header"},
            {"service": "shop/redis", "address": "10.1.3.9:6379",
             "outcome": "connect timed out: SYN sent 3×, no answer", "link": "thread"}
        ],
        "cause": {"id": "network-policy-drop", "confidence": 0.99,
                  "summary": "NetworkPolicies that isolate shop/redis-0 admit no traffic from shop/cart-5d4 to port 6379",
                  "origin": {"namespace": "shop", "pod": "redis-0", "workload": "StatefulSet/redis",
                             "service": "shop/redis", "address": "10.1.3.9:6379"}},
        "evidence": [
            {"kind": "drop", "at": "2026-03-01T14:03:10.204Z", "reason": "NETFILTER_DROP",
             "text": "SYN 10.1.2.7 → 10.1.3.9:6379 dropped in redis-0's network namespace (NETFILTER_DROP, INPUT)"},
            {"kind": "policy", "text": "policies isolating redis-0 for ingress: shop/default-deny, shop/redis-allow-admin"},
            {"kind": "policy", "text": "no rule admits pods labelled app=cart on 6379"},
            {"kind": "link", "text": "header x-request-id"},
            {"kind": "link", "text": "header x-request-id"},
            {"kind": "link", "text": "same thread"}
        ],
        "next": ["kubectl -n shop edit networkpolicy redis-allow-admin"],
        "coverage": {"lost_events": 0, "opaque_tls_processes": 2, "notes": []}
    }))
}

/// Without Kubernetes: processes, addresses, and a path that attacks the terminal.
fn hostile() -> Incident {
    incident(json!({
        "id": "2", "first_seen": "2026-03-01T14:03:11.204Z", "last_seen": "2026-03-01T14:03:11.204Z", "count": 1,
        "node": "worker-1",
        "symptom": {"kind": "http-5xx", "status": 503, "method": "GET", "path": "/a\u{1b}]0;gotcha\u{7}\r\n/b"},
        "path": [
            {"process": "curl", "outcome": "503", "duration_ms": 0.171, "link": "root"},
            {"process": "python3", "address": "127.0.0.1:8080", "outcome": "503", "duration_ms": 0.068, "link": "time"}
        ],
        "cause": {"id": "app-error", "confidence": 0.8, "summary": "python3 answered 503 by itself",
                  "origin": {"process": "python3", "address": "127.0.0.1:8080"}},
        "evidence": [{"kind": "exchange", "text": "503 after 68 µs, without any call of its own"}],
        "next": [],
        "coverage": {"lost_events": 12, "opaque_tls_processes": 1, "notes": ["12 events lost: the verdict is weaker"]}
    }))
}

/// No request at all.
fn name_error() -> Incident {
    incident(json!({
        "id": "3", "first_seen": "2026-03-01T14:03:11.204Z", "last_seen": "2026-03-01T14:03:12.704Z", "count": 3,
        "symptom": {"kind": "dns-error"},
        "path": [
            {"namespace": "shop", "pod": "job-x2f", "link": "root"},
            {"service": "kube-system/kube-dns", "name": "paymnts.shop.svc.cluster.local", "address": "10.96.0.10:53",
             "outcome": "NXDOMAIN", "duration_ms": 1.5, "link": "thread"}
        ],
        "cause": {"id": "dns-nxdomain", "confidence": 0.95, "summary": "the name doesn't exist",
                  "origin": {"namespace": "shop", "pod": "job-x2f", "name": "paymnts.shop.svc.cluster.local"}},
        "evidence": [], "next": ["kubectl -n shop get services"],
        "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
    }))
}

fn unknown() -> Incident {
    let mut unknown = hostile();
    unknown.id = "4".to_owned();
    unknown.symptom.path = None;
    unknown.path.clear();
    unknown.cause.id = "unknown".to_owned();
    unknown.cause.origin = None;
    unknown
}

fn print(width: Option<usize>, incidents: &[Incident]) -> String {
    let mut out = Vec::new();
    let mut text = Text::new(anstream::StripStream::new(&mut out), width);
    incidents.iter().for_each(|incident| text.incident(incident).unwrap());
    drop(text);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_policy_drop() {
    insta::assert_snapshot!(print(None, &[policy_drop(37)]));
}

#[test]
fn a_narrow_terminal() {
    insta::assert_snapshot!(print(Some(72), &[policy_drop(37)]));
}

#[test]
fn what_recurs_is_one_line() {
    insta::assert_snapshot!(print(None, &[name_error(), policy_drop(1), policy_drop(2), policy_drop(37)]));
}

#[test]
fn a_changed_verdict_is_told_in_full() {
    let mut changed = name_error();
    changed.cause.id = "dns-unavailable".to_owned();
    let text = print(None, &[name_error(), changed]);
    assert_eq!(text.matches("because").count() + text.matches("coverage").count(), 2, "{text}");
}

#[test]
fn without_kubernetes_and_hostile() {
    let text = print(None, &[hostile(), unknown()]);
    assert!(!text.contains(['\u{1b}', '\u{7}', '\r']), "{text:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_end() {
    let workload = |name: &str, role, errors, latency_ms| WorkloadSummary {
        namespace: Some("shop".to_owned()),
        workload: Some(name.to_owned()),
        role,
        requests: 1234,
        errors,
        latency_ms,
        ..WorkloadSummary::default()
    };
    let latency = Some(Latency { p50: 1.234, p90: 12.34, p99: 1234.5 });
    let bare = WorkloadSummary {
        cgroup: Some("/system.slice/\u{1b}[2J.service".to_owned()),
        role: "client",
        requests: 1,
        ..WorkloadSummary::default()
    };
    let summary = Summary {
        duration_s: 30.004,
        requests: Some(2469),
        failures: 37,
        incidents: [("app-error".to_owned(), 3), ("network-policy-drop".to_owned(), 34)].into(),
        workloads: vec![
            workload("Deployment/cart", "server", 37, latency),
            workload("Deployment/frontend", "client", 0, latency),
            bare,
        ],
    };
    let coverage = CoverageLine {
        lost_events: 5,
        opaque_tls_processes: 2,
        joined_connections: 3,
        lost: [("events".to_owned(), 5)].into(),
        notes: vec!["hook icmp_send is not attached: this kernel has no tracepoint icmp_send".to_owned()],
    };
    let mut out = Vec::new();
    let mut text = Text::new(anstream::StripStream::new(&mut out), None);
    text.summary(&summary).unwrap();
    text.coverage(&coverage).unwrap();
    drop(text);
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}
