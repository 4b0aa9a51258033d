use serde_json::json;

use super::*;

fn flow(destination: &str) -> Flow {
    let destination: std::net::SocketAddr = destination.parse().unwrap();
    let source = if destination.is_ipv4() { "10.1.0.2:40000" } else { "[fd00::2]:40000" }.parse().unwrap();
    Flow { netns: 1, hook: "INPUT".to_owned(), protocol: 6, source, destination }
}

fn rule(chain: &str, handle: u64, expressions: Value) -> Value {
    json!({"rule": {"family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": expressions}})
}

fn dport(value: Value) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": value}})
}

fn saddr(op: &str, value: Value) -> Value {
    json!({"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": value}})
}

fn ct() -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}})
}

/// The handle of the one rule in a ruleset with an input chain of that policy, a chain `sub` and a set `blocked`.
fn one(policy: &str, rules: &[Value], flow: &Flow) -> Option<Option<u64>> {
    let mut items = vec![
        json!({"metainfo": {"json_schema_version": 1}}),
        json!({"set": {"family": "inet", "table": "t", "name": "blocked", "elem": [{"prefix": {"addr": "10.1.0.0", "len": 24}}, {"range": ["10.9.0.1", "10.9.0.9"]}]}}),
        json!({"chain": {"family": "inet", "table": "t", "name": "in", "hook": "input", "prio": 0, "policy": policy}}),
        json!({"chain": {"family": "inet", "table": "t", "name": "sub"}}),
        json!({"chain": {"family": "inet", "table": "t", "name": "out", "hook": "output", "prio": 0, "policy": "drop"}}),
    ];
    items.extend(rules.iter().cloned());
    the_one(&json!({"nftables": items}), flow).map(|found| found.handle)
}

#[test]
fn the_only_rule_that_fits() {
    let rules = [
        rule("in", 1, json!([dport(json!(8080)), {"drop": null}])),
        rule(
            "in",
            2,
            json!([dport(json!({"set": [80, {"range": [90, 95]}]})), {"counter": {"packets": 3}}, {"reject": null}]),
        ),
    ];
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:8080")), Some(Some(1)));
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:93")), Some(Some(2)));
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:81")), None, "no rule drops it: it must be something else");
    assert_eq!(one("drop", &rules, &flow("10.1.0.3:81")), Some(None), "the policy");
    let udp = Flow { protocol: 17, ..flow("10.1.0.3:8080") };
    assert_eq!(one("accept", &rules, &udp), None);
}

#[test]
fn several_that_may_be_it_are_none() {
    let first = rule("in", 1, json!([ct(), {"drop": null}]));
    let second = rule("in", 2, json!([dport(json!(8080)), {"drop": null}]));
    assert_eq!(one("accept", &[first.clone(), second.clone()], &flow("10.1.0.3:8080")), None);
    let silent = rule("in", 1, json!([ct(), {"counter": {"packets": 0}}, {"drop": null}]));
    assert_eq!(one("accept", &[silent, second], &flow("10.1.0.3:8080")), Some(Some(2)), "it never dropped anything");
    assert_eq!(one("drop", &[first], &flow("10.1.0.3:8080")), None, "that rule, or the policy");
}

#[test]
fn what_is_accepted_before_is_not_reached() {
    let admit = |source: &str| rule("in", 1, json!([saddr("==", json!(source)), {"accept": null}]));
    let deny = rule("in", 2, json!([{"drop": null}]));
    assert_eq!(one("accept", &[admit("10.1.0.9"), deny.clone()], &flow("10.1.0.3:80")), Some(Some(2)));
    assert_eq!(one("accept", &[admit("10.1.0.2"), deny], &flow("10.1.0.3:80")), None);
}

#[test]
fn sets_and_jumps() {
    let jump = rule("in", 1, json!([saddr("==", json!("@blocked")), {"jump": {"target": "sub"}}]));
    let inner = rule("sub", 2, json!([dport(json!(80)), {"drop": null}]));
    let rules = [jump, inner];
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:80")), Some(Some(2)));
    let other = Flow { source: "10.8.0.1:1".parse().unwrap(), ..flow("10.1.0.3:80") };
    assert_eq!(one("accept", &rules, &other), None);
    assert_eq!(one("accept", &rules, &flow("[fd00::3]:80")), None, "an IPv4 address in an IPv6 packet");
    let negated = [rule("in", 1, json!([saddr("!=", json!("@blocked")), {"drop": null}]))];
    assert_eq!(one("accept", &negated, &other), Some(Some(1)));
    let unknown = [rule("in", 1, json!([saddr("==", json!("@missing")), {"jump": {"target": "nowhere"}}]))];
    assert_eq!(one("accept", &unknown, &flow("10.1.0.3:80")), None);
}

#[test]
fn verdict_maps() {
    let map = json!({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[80, {"drop": null}], [81, {"accept": null}]]}}});
    let rules = [rule("in", 7, json!([map]))];
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:80")), Some(Some(7)));
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:81")), None);
}

#[test]
fn iptables_rules() {
    let rules = [
        rule(
            "in",
            1,
            json!([dport(json!(9090)), {"xt": {"type": "match", "name": "comment"}}, {"counter": {"packets": 2}}, {"drop": null}]),
        ),
        rule(
            "in",
            2,
            json!([dport(json!(80)), {"counter": {"packets": 1}}, {"xt": {"type": "target", "name": "REJECT"}}]),
        ),
        rule("in", 3, json!([{"counter": {"packets": 9}}, {"xt": {"type": "target", "name": "MARK"}}])),
    ];
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:9090")), Some(Some(1)));
    assert_eq!(one("accept", &rules, &flow("10.1.0.3:80")), Some(Some(2)));
}

#[test]
fn a_ruleset_of_another_shape_says_nothing() {
    for listing in [json!(null), json!({}), json!({"nftables": [{"chain": {"hook": 7}}, {"rule": []}]})] {
        assert_eq!(the_one(&listing, &flow("10.1.0.3:80")), None);
    }
    let endless =
        [rule("in", 1, json!([{"jump": {"target": "sub"}}])), rule("sub", 2, json!([{"jump": {"target": "sub"}}]))];
    assert_eq!(one("drop", &endless, &flow("10.1.0.3:80")), None);
}
