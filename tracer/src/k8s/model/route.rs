//! Where Ingresses and HTTPRoutes send requests: by host and path, to Services.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One path of an Ingress or an HTTPRoute.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// Absent: every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Box<str>>,
    pub path: Box<str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// Namespace and name.
    pub service: (Box<str>, Box<str>),
}

impl Route {
    /// Element by element, as Ingress' `Prefix` and HTTPRoute's `PathPrefix` match: `/a` isn't a prefix of `/ab`.
    pub fn matches(&self, path: &str) -> bool {
        let wanted = self.path.trim_end_matches('/');
        let rest = path.strip_prefix(wanted);
        if self.exact { *path == *self.path } else { rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) }
    }
}

/// Those of an object as the API has it; paths that are patterns are left out.
pub(super) fn routes(kind: &str, object: &Value) -> Vec<Route> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let spec = &object["spec"];
    let mut found = match kind {
        "Ingress" => of_ingress(spec, namespace),
        "HTTPRoute" => of_http_route(spec, namespace),
        _ => Vec::new(),
    };
    found.shrink_to_fit();
    found
}

fn of_ingress(spec: &Value, namespace: &str) -> Vec<Route> {
    let mut found = Vec::new();
    for rule in list(&spec["rules"]) {
        for path in list(&rule["http"]["paths"]) {
            let Some(service) = path["backend"]["service"]["name"].as_str() else { continue };
            found.push(Route {
                host: rule["host"].as_str().filter(|host| !host.is_empty()).map(Into::into),
                path: path["path"].as_str().unwrap_or("/").into(),
                exact: path["pathType"] == "Exact",
                service: (namespace.into(), service.into()),
            });
        }
    }
    found
}

fn of_http_route(spec: &Value, namespace: &str) -> Vec<Route> {
    let named = list(&spec["hostnames"]).iter().filter_map(Value::as_str);
    let hosts: Vec<Option<&str>> =
        if list(&spec["hostnames"]).is_empty() { vec![None] } else { named.map(Some).collect() };
    let mut found = Vec::new();
    for rule in list(&spec["rules"]) {
        // Without a match every path does.
        let every = [Value::Null];
        let matches = if list(&rule["matches"]).is_empty() { &every } else { list(&rule["matches"]) };
        for path in matches.iter().map(|entry| &entry["path"]).filter(|path| path["type"] != "RegularExpression") {
            for backend in list(&rule["backendRefs"]).iter().filter(|b| b["kind"].is_null() || b["kind"] == "Service") {
                let Some(service) = backend["name"].as_str() else { continue };
                let of = backend["namespace"].as_str().unwrap_or(namespace);
                found.extend(hosts.iter().map(|host| Route {
                    host: host.map(Into::into),
                    path: path["value"].as_str().unwrap_or("/").into(),
                    exact: path["type"] == "Exact",
                    service: (of.into(), service.into()),
                }));
            }
        }
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(yaml: &str) -> Vec<String> {
        let object: Value = serde_saphyr::from_str(yaml).unwrap();
        let told = |route: &Route| {
            let (namespace, name) = &route.service;
            let exact = if route.exact { "=" } else { "" };
            format!("{}{exact}{} {namespace}/{name}", route.host.as_deref().unwrap_or("*"), route.path)
        };
        routes(object["kind"].as_str().unwrap(), &object).iter().map(told).collect()
    }

    #[test]
    fn an_ingress_has_a_route_per_path() {
        let yaml = "{kind: Ingress, metadata: {namespace: shop, name: web}, spec: {rules: [
          {host: a.example, http: {paths: [{path: /x, pathType: Exact, backend: {service: {name: cart, port: {number: 80}}}}, {backend: {resource: {kind: Bucket, name: b}}}]}},
          {http: {paths: [{pathType: Prefix, backend: {service: {name: web}}}]}}, {host: b.example}]}}";
        assert_eq!(of(yaml), ["a.example=/x shop/cart", "*/ shop/web"]);
    }

    #[test]
    fn an_http_route_has_one_per_host_match_and_backend() {
        let yaml = "{kind: HTTPRoute, metadata: {namespace: shop, name: web}, spec: {hostnames: [a.example, b.example], rules: [
          {matches: [{path: {type: PathPrefix, value: /x}}, {path: {type: RegularExpression, value: '/.*'}}], backendRefs: [{name: cart, namespace: other, port: 80}, {kind: X, name: y}]},
          {backendRefs: [{name: web, port: 80}]}]}}";
        let expected =
            ["a.example/x other/cart", "b.example/x other/cart", "a.example/ shop/web", "b.example/ shop/web"];
        assert_eq!(of(yaml), expected);
        assert!(of("{kind: HTTPRoute, spec: {rules: 7, hostnames: {}}}").is_empty());
    }

    #[rstest]
    #[case::all("/", false, "/a/b", true)]
    #[case::itself("/a", false, "/a", true)]
    #[case::below("/a", false, "/a/b", true)]
    #[case::not_within_an_element("/a", false, "/ab", false)]
    #[case::trailing_slash("/a/", false, "/a/b", true)]
    #[case::exact("/a", true, "/a", true)]
    #[case::exact_not_below("/a", true, "/a/b", false)]
    #[case::elsewhere("/a", false, "/b", false)]
    fn paths_match(#[case] path: &str, #[case] exact: bool, #[case] asked: &str, #[case] expected: bool) {
        let route = Route { path: path.into(), exact, ..Route::default() };
        assert_eq!(route.matches(asked), expected);
    }
}
