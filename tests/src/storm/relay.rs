//! Random relays: gateways that pass everything on, put before the first server of a site, so that a failure comes out
//! somewhere else and through more hops than its scenario says.

use serde_json::{Value, json};

use super::Chance;
use crate::scenario::Scenario;

/// How many, one behind the other: half of the sites have none, so that there is room for many sites.
const RELAYS: [usize; 6] = [0, 0, 0, 1, 1, 2];

/// Puts relays before where the traffic goes; not where it isn't answered by statuses, which a relay would change, nor where
/// it goes to several servers.
pub fn relay(scenario: &Scenario, chance: &mut Chance) -> anyhow::Result<Scenario> {
    let mut value = serde_json::to_value(scenario)?;
    let Some((namespace, host)) = passable(scenario) else { return Ok(scenario.clone()) };
    // `NAME` or `NAME.NAMESPACE`, in the client's terms.
    let (name, of) = host.split_once('.').unwrap_or((&host, &namespace));
    let Some(service) = scenario.cluster.services.iter().find(|s| s.name == name && s.namespace == of && s.port == 80)
    else {
        return Ok(scenario.clone());
    };
    let mut next = format!("{}/{}", service.namespace, service.name);
    let mut hops = vec![];
    for number in 0..chance.pick(&RELAYS).copied().unwrap_or_default() {
        let relay = format!("relay-{number}");
        let server = match chance.below(2) {
            0 => json!({"kind": "nginx", "port": 8080, "locations": [
                {"path": "/", "to": next, "connect_timeout_ms": 30_000, "read_timeout_ms": 30_000}]}),
            _ => json!({"kind": "haproxy", "port": 8080, "connect_timeout_ms": 30_000, "server_timeout_ms": 30_000,
                        "routes": [{"path": "/", "to": next}]}),
        };
        push(&mut value["cluster"]["pods"], json!({"name": relay, "namespace": namespace, "server": server}));
        let service = json!({"name": relay, "namespace": namespace, "port": 80, "target_port": 8080});
        push(&mut value["cluster"]["services"], service);
        next = format!("{namespace}/{relay}");
        hops.insert(0, next.clone());
    }
    let Some(first) = hops.first() else { return Ok(scenario.clone()) };
    let base = format!("http://{}", first.rsplit('/').next().unwrap_or(first));
    for traffic in value["traffic"].as_array_mut().into_iter().flatten() {
        for url in traffic["urls"].as_array_mut().into_iter().flatten() {
            let text = url.as_str().unwrap_or_default().replacen(&format!("http://{host}"), &base, 1);
            *url = Value::String(text);
        }
    }
    for expected in value["expect"].as_array_mut().into_iter().flatten() {
        let Some(path) = expected["path"].as_array_mut() else { continue };
        // What no client waits for, such as a probe, goes no other way.
        if path.first().is_some_and(|hop| *hop == format!("{namespace}/client")) {
            path.splice(1..1, hops.iter().cloned().map(Value::String));
        }
    }
    Ok(serde_json::from_value(value)?)
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// The client's namespace, and the only host that the traffic goes to.
fn passable(scenario: &Scenario) -> Option<(String, String)> {
    let mut hosts = std::collections::BTreeSet::new();
    for traffic in &scenario.traffic {
        let answered = traffic.results.keys().all(|result| result.bytes().all(|byte| byte.is_ascii_digit()));
        if traffic.from != "client" || traffic.keep_alive || traffic.hang_up_ms.is_some() || !answered {
            return None;
        }
        for url in &traffic.urls {
            let (host, _) = url.strip_prefix("http://")?.split_once('/')?;
            hosts.insert(host);
        }
    }
    let client = scenario.cluster.pods.iter().find(|pod| pod.name == "client")?;
    let [host] = hosts.into_iter().collect::<Vec<_>>()[..] else { return None };
    Some((client.namespace.clone(), host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
summary: x
cluster:
  pods: [{name: client, kind: Job}, {name: web, namespace: front, server: {kind: redis, port: 80}}]
  services: [{name: web, namespace: front, port: 80}]
traffic: [{urls: ['http://web.front/a', 'http://web.front/b'], results: {'500': 3}}]
expect:
  - {cause: x, origin: {}, path: [shop/client, front/web]}
  - {cause: y, origin: {}, path: [front/web]}
";

    #[test]
    fn relays_stand_between_the_client_and_the_first_server() {
        let scenario: Scenario = serde_yaml_ng::from_str(TEXT).unwrap();
        let many = (0..50).map(|seed| relay(&scenario, &mut Chance::new(seed)).unwrap());
        let two = many.into_iter().find(|s| s.cluster.pods.len() == 4).unwrap();
        assert_eq!(two.traffic[0].urls, ["http://relay-1/a", "http://relay-1/b"]);
        assert_eq!(two.expect[0].path, ["shop/client", "shop/relay-1", "shop/relay-0", "front/web"]);
        assert_eq!(two.expect[1].path, ["front/web"]);
    }

    #[test]
    fn what_a_relay_would_change_has_none() {
        let text = TEXT.replace("'500': 3", "'refused': 3");
        let scenario: Scenario = serde_yaml_ng::from_str(&text).unwrap();
        let pods = |seed| relay(&scenario, &mut Chance::new(seed)).unwrap().cluster.pods.len();
        assert!((0..50).all(|seed| pods(seed) == 2));
    }
}
