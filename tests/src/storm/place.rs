//! Moves a scenario into namespaces of its own, so that many fit into one cluster: wherever it names a namespace, a pod or
//! a host outside, a number is added.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::scenario::Scenario;

/// These exist once in a cluster, and causes depend on their names.
pub const SHARED: [&str; 2] = ["kube-system", "default"];

pub fn place(scenario: &Scenario, number: usize) -> Result<Scenario> {
    let mut value = serde_json::to_value(scenario)?;
    let strings = |list: &Value, field: &str| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
    };
    let cluster = &value["cluster"];
    let mut namespaces = strings(&cluster["pods"], "namespace");
    namespaces.extend(strings(&cluster["services"], "namespace"));
    namespaces.retain(|name| !SHARED.contains(&name.as_str()));
    let mut hosts = strings(&cluster["outside"], "name");
    hosts.extend(
        cluster["servfail_zones"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
    );
    let pods = scenario.cluster.pods.iter().map(|pod| (pod.name.clone(), pod.namespace.clone())).collect();
    let mover = Mover { number, namespaces, hosts, pods };
    for part in ["faults", "traffic"] {
        mover.pods(&mut value[part]);
    }
    mover.value(&mut value, "");
    Ok(serde_json::from_value(value)?)
}

struct Mover {
    number: usize,
    namespaces: BTreeSet<String>,
    hosts: BTreeSet<String>,
    /// Name and namespace.
    pods: Vec<(String, String)>,
}

impl Mover {
    fn value(&self, value: &mut Value, key: &str) {
        match value {
            Value::String(text) => *text = self.text(text, key),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, key)),
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| self.value(value, key)),
            _ => {}
        }
    }

    /// In faults and traffic a pod is meant by its name alone.
    fn pods(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some((name, namespace)) = self.pods.iter().find(|(name, _)| name == text) {
                    *text = format!("{namespace}/{name}");
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.pods(item)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.pods(value)),
            _ => {}
        }
    }

    fn text(&self, text: &str, key: &str) -> String {
        let number = self.number;
        let mut text = text.to_owned();
        for (name, namespace) in &self.pods {
            text = text.replace(&format!(":{name}}}"), &format!(":{namespace}/{name}}}"));
        }
        for host in self.hosts.iter().filter(|_| key != "cause") {
            text = text.replace(host.as_str(), &format!("s{number}-{host}"));
        }
        for namespace in &self.namespaces {
            if key == "uid" {
                break;
            }
            if text == *namespace && ["namespace", "kubernetes.io/metadata.name"].contains(&key) {
                return format!("{namespace}-{number}");
            }
            // `NAMESPACE/NAME`, but no path of a URL.
            text = renamed(&text, namespace, number, |before, after| {
                after == Some('/') && !before.is_some_and(|c| c.is_ascii_alphanumeric() || "/-.".contains(c))
            });
            // `SERVICE.NAMESPACE`.
            text = renamed(&text, namespace, number, |before, after| {
                before == Some('.') && !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
            });
        }
        if key == "uid" { format!("{text}-{number}") } else { text }
    }
}

/// Adds the number to every occurrence that stands between the right characters.
fn renamed(text: &str, name: &str, number: usize, fits: impl Fn(Option<char>, Option<char>) -> bool) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (head, tail) = (&rest[..at], &rest[at + name.len()..]);
        let before = head.chars().next_back().or_else(|| result.chars().next_back());
        result.push_str(head);
        result.push_str(name);
        if fits(before, tail.chars().next()) {
            result.push_str(&format!("-{number}"));
        }
        rest = tail;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_pods_and_hosts_move_and_the_rest_stays() {
        let text = "
summary: x
cluster:
  pods:
    - {name: client, kind: Job}
    - {name: web, namespace: front, server: {kind: nginx, port: 80, locations: [{path: /, to: shop/cart}]}}
    - {name: cart, server: {kind: app, port: 80, routes: {/shop/x: {calls: [{url: 'http://pay.example.com/shop'}]}}}}
  services: [{name: web, namespace: front, port: 80}]
  outside: [{name: pay.example.com, port: 80}]
  policies: [{metadata: {name: deny, namespace: shop, uid: p}}]
faults: [{kind: isolate, pod: cart, allow: [client]}]
traffic: [{urls: ['http://web.front/shop/x'], results: {'500': 3}}]
expect:
  - {cause: x, origin: {namespace: shop, pod: '${podname:cart}'}, path: [shop/client, front/web?], symptom: {path: /shop/x}}
";
        let scenario: Scenario = serde_yaml_ng::from_str(text).unwrap();
        let value = serde_json::to_value(place(&scenario, 7).unwrap()).unwrap();
        let at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(at("/cluster/pods/0/namespace"), "shop-7");
        assert_eq!(at("/cluster/pods/1/server/locations/0/to"), "shop-7/cart");
        assert_eq!(at("/cluster/policies/0/metadata/uid"), "p-7");
        assert_eq!(at("/cluster/pods/2/server/routes/~1shop~1x/calls/0/url"), "http://s7-pay.example.com/shop");
        assert_eq!((at("/faults/0/pod"), at("/faults/0/allow/0")), ("shop-7/cart".into(), "shop-7/client".into()));
        assert_eq!(at("/traffic/0/urls/0"), "http://web.front-7/shop/x");
        assert_eq!(at("/expect/0/origin/pod"), "${podname:shop-7/cart}");
        assert_eq!((at("/expect/0/path/1"), at("/expect/0/symptom/path")), ("front-7/web?".into(), "/shop/x".into()));
    }
}
