//! Lookups out of transactions.

use super::*;

fn query(port: u16, start_ns: Ktime, name: &str, query_type: &str, rcode: Option<u8>) -> Dns {
    Dns {
        role: Role::Client,
        netns: 1,
        cgroup: 7,
        local: SocketAddr::from(([10, 1, 0, 5], port)),
        remote: SocketAddr::from(([10, 96, 0, 10], 53)),
        actor: Actor { tgid: 9, tid: 9 },
        comm: "app".to_owned(),
        start_ns,
        end_ns: start_ns + 10_000_000,
        transmissions: 1,
        tcp: false,
        name: name.to_owned(),
        query_type: query_type.to_owned(),
        rcode,
        addresses: vec![],
    }
}

#[test]
fn expansions_and_retries_are_one_lookup() {
    let mut lookups = Lookups::default();
    for (port, at, name, kind, rcode) in [
        (1, 0, "cartt.shop.svc.cluster.local", "A", None),
        (2, 1_000_000_000, "cartt.shop.svc.cluster.local", "A", Some(3)),
        (2, 1_000_000_000, "cartt.shop.svc.cluster.local", "AAAA", Some(3)),
        (3, 1_020_000_000, "cartt", "A", Some(3)),
    ] {
        lookups.add(query(port, at, name, kind, rcode), Some("shop"));
    }
    let found = lookups.fold(0, Ktime::MAX, |cgroup| cgroup == 7);
    assert_eq!(found.len(), 1);
    let lookup = &found[0];
    assert_eq!((lookup.name.as_str(), lookup.questions.len(), lookup.retries()), ("cartt", 3, 1));
    assert_eq!(lookup.outcome, LookupOutcome::NoSuchName);
    assert_eq!((lookup.wasted_ms(), lookup.clients.len()), (1030, 3));
}

#[test]
fn what_was_answered_and_is_asked_again_is_another_lookup() {
    let mut lookups = Lookups::default();
    let silent = query(2, 1_000_000_000, "cart.shop.svc.cluster.local", "A", None);
    lookups.add(query(1, 0, "cart.shop.svc.cluster.local", "A", Some(0)), Some("shop"));
    lookups.add(query(1, 0, "cart.shop.svc.cluster.local", "AAAA", Some(0)), Some("shop"));
    let sequence = lookups.add(silent.clone(), Some("shop")).unwrap();
    lookups.add(query(2, 1_000_000_000, "cart.shop.svc.cluster.local", "AAAA", None), Some("shop"));
    let outcomes = |lookups: &Lookups| -> Vec<_> {
        lookups.fold(0, Ktime::MAX, |_| true).iter().map(|l| (l.outcome, l.questions.len())).collect()
    };
    assert_eq!(outcomes(&lookups), [(LookupOutcome::Answered, 2), (LookupOutcome::Timeout, 2)]);
    let found = lookups.of(7, sequence, 15_000_000_000, 7_000_000_000).unwrap();
    assert_eq!((found.outcome, found.start_ns), (LookupOutcome::Timeout, silent.start_ns));
    // What is answered after all, or by another server, is that lookup still.
    lookups.add(Dns { rcode: Some(0), ..silent }, Some("shop"));
    assert_eq!(outcomes(&lookups), [(LookupOutcome::Answered, 2), (LookupOutcome::Answered, 2)]);
}

/// How the lookup of one name ends, by the types that were asked for.
fn outcome_of(questions: &[(&str, Option<u8>)]) -> LookupOutcome {
    let mut lookups = Lookups::default();
    for (query_type, rcode) in questions {
        lookups.add(query(1, 0, "cart", query_type, *rcode), None);
    }
    let found = lookups.fold(0, Ktime::MAX, |_| true);
    assert_eq!(found.len(), 1);
    found[0].outcome
}

#[test]
fn of_what_isnt_needed_to_connect_only_silence_is_a_failure() {
    use LookupOutcome::{Answered, NoSuchName, ServerFailure, Timeout};
    // grpc-go asks for `_grpc_config` and `_grpclb` by default; nobody has them.
    assert_eq!(outcome_of(&[("TXT", Some(3))]), Answered);
    assert_eq!(outcome_of(&[("SRV", Some(2))]), Answered);
    assert_eq!(outcome_of(&[("SRV", None)]), Timeout);
    // For logs, of zones that often nobody serves.
    assert_eq!(outcome_of(&[("PTR", Some(3))]), Answered);
    assert_eq!(outcome_of(&[("PTR", None)]), Answered);
    assert_eq!(outcome_of(&[("AAAA", Some(3))]), NoSuchName);
    assert_eq!(outcome_of(&[("A", Some(2))]), ServerFailure(2));
    // Beside addresses the others don't count at all.
    assert_eq!(outcome_of(&[("HTTPS", Some(3)), ("A", Some(3))]), NoSuchName);
    assert_eq!(outcome_of(&[("A", Some(0)), ("HTTPS", None)]), Answered);
}

/// Names, whether they exist, and the threads that asked: one process's queries, 10 ms apart.
fn asked(queries: &[(&str, bool, u32)]) -> Lookups {
    let mut lookups = Lookups::default();
    for (at, (name, exists, tid)) in (0..).step_by(10_000_000).zip(queries) {
        let dns = query(1, at, name, "A", Some(if *exists { 0 } else { 3 }));
        lookups.add(Dns { actor: Actor { tgid: 9, tid: *tid }, end_ns: at + 1_000_000, ..dns }, Some("shop"));
    }
    lookups
}

/// The names of lookups that failed, and that nothing made good.
fn missing(lookups: &Lookups) -> Vec<String> {
    let found = lookups.fold(0, Ktime::MAX, |_| true).into_iter();
    found.filter(|l| l.failed() && !lookups.resolved(l, Ktime::MAX, |_| true)).map(|l| l.name).collect()
}

#[test]
fn a_search_domain_of_the_node_is_tried_in_any_thread() {
    // Go's resolver asks from one thread and another, and the name as it is at last.
    let go = asked(&[
        ("api.example.com.shop.svc.cluster.local", false, 1),
        ("api.example.com.cluster.local", false, 2),
        ("api.example.com.ec2.internal", false, 3),
        ("api.example.com", true, 4),
    ]);
    assert_eq!(missing(&go), [""; 0]);
    // The same in the order of few dots; and what was asked for in a search domain is a name of its own.
    assert_eq!(missing(&asked(&[("db.corp", false, 1), ("db.corp.ec2.internal", true, 2)])), [""; 0]);
    let (other, own) = ("redis.other.svc.cluster.local", "redis.shop.svc.cluster.local");
    assert_eq!(missing(&asked(&[(other, false, 1), ("redis.other", false, 2), (own, true, 3)])), ["redis.other"; 2]);
    assert_eq!(missing(&asked(&[(own, false, 1), (other, true, 2)])), ["redis"]);
    // Its own namespace, behind the name already.
    let twice = "redis.shop.shop.svc.cluster.local";
    assert_eq!(missing(&asked(&[(twice, false, 1), (own, true, 1)])), [""; 0]);
    assert_eq!(missing(&asked(&[(twice, false, 1), (own, false, 1), ("redis.shop", false, 1)])), ["redis"]);
    // In one thread, too, in either order.
    assert_eq!(missing(&asked(&[(own, true, 1), (other, false, 1), ("redis.other", false, 1)])), ["redis.other"]);
    assert_eq!(missing(&asked(&[(other, false, 1), ("redis.other", false, 1), (own, true, 1)])), ["redis.other"]);
    // Too late to be the same lookup.
    let mut late = asked(&[("api.example.com.ec2.internal", false, 1)]);
    late.add(query(2, 3_000_000_000, "api.example.com", "A", Some(0)), Some("shop"));
    assert_eq!(missing(&late), ["api.example.com.ec2.internal"]);
}

#[test]
fn what_a_resolver_passes_on_is_the_failure_of_whoever_asked() {
    let (app, resolver) = (SocketAddr::from(([10, 1, 0, 5], 1)), SocketAddr::from(([10, 1, 0, 2], 53)));
    let outcomes = |rcode, upstream: [u8; 4]| {
        let mut lookups = Lookups::default();
        let asks = query(1, 1_000, "api.corp.example", "A", rcode);
        let passes_on =
            Dns { cgroup: 8, netns: 2, remote: (upstream, 53).into(), ..query(2, 2_000, &asks.name, "A", rcode) };
        let own = query(3, 3_000, "own.example", "A", rcode);
        lookups.add(passes_on.clone(), None);
        lookups.add(Dns { role: Role::Server, local: resolver, remote: app, ..passes_on.clone() }, None);
        lookups.add(Dns { netns: 2, cgroup: 8, ..own }, None);
        lookups.add(asks, None);
        let found = lookups.fold(0, Ktime::MAX, |_| true);
        let named: Vec<_> = found.iter().map(|l| (l.cgroup, l.name.clone())).collect();
        let received = lookups.reached(&found[0]);
        let further = received.and_then(|dns| lookups.passed_on(dns, Ktime::MAX)).map(|l| l.resolver.ip().to_string());
        assert_eq!(lookups.of(8, 1, 15_000_000_000, Ktime::MAX).is_none(), named.len() == 2);
        (named, further)
    };
    let both = vec![(7, "api.corp.example".to_owned()), (8, "own.example".to_owned())];
    let outside = [192, 0, 2, 1];
    assert_eq!(outcomes(Some(3), outside), (both.clone(), None));
    assert_eq!(outcomes(Some(2), outside), (both.clone(), None), "its answer has come");
    assert_eq!(outcomes(None, outside), (both, Some("192.0.2.1".to_owned())));
    assert_eq!(outcomes(None, [127, 0, 0, 1]).0.len(), 3, "the resolver in the container itself");
}

#[test]
fn what_is_old_or_too_much_is_forgotten() {
    let mut lookups = Lookups::default();
    for n in 0..BOUND as u64 + 10 {
        lookups.add(Dns { cgroup: n % 3, ..query(1, n, &format!("name-{n}"), "A", None) }, None);
    }
    assert_eq!((lookups.order.len(), lookups.overflowed), (BOUND, 10));
    assert_eq!(lookups.fold(0, Ktime::MAX, |_| true).len(), BOUND);
    lookups.expire(Ktime::MAX);
    assert!(lookups.order.is_empty() && lookups.by_cgroup.is_empty() && lookups.known.is_empty());
}
