//! Services as kube-proxy writes them in iptables mode, from the same plan as the objects.

use std::fmt::Write as _;

use crate::cluster::{
    Family, Plan,
    plan::{Addresses, Service},
    spec::{ProxyMode, TrafficPolicy},
};

/// What to feed to which program in the node's namespace.
#[must_use]
pub fn rules(plan: &Plan) -> [(&'static str, String); 2] {
    [("iptables-restore", family_rules(plan, Family::V4)), ("ip6tables-restore", family_rules(plan, Family::V6))]
}

/// What to feed to `ip -batch` there, so that ClusterIPs are the node's own, as those on `kube-ipvs0` are.
#[must_use]
pub fn own_addresses(plan: &Plan) -> String {
    let addresses = plan.services.iter().map(|service| service.addresses.of(plan.family));
    addresses
        .map(|address| format!("addr add {address}/{} dev lo\n", if address.is_ipv4() { 32 } else { 128 }))
        .collect()
}

fn family_rules(plan: &Plan, family: Family) -> String {
    let (mut chains, mut nat, mut filter) = (String::new(), String::new(), String::new());
    // A Service has an address of the cluster's family only.
    let services =
        if family == plan.family && plan.proxy != ProxyMode::Nftables { plan.services.as_slice() } else { &[] };
    for (number, service) in services.iter().enumerate() {
        for protocol in service.protocols {
            service_rules(plan, family, number, service, protocol, [&mut chains, &mut nat, &mut filter]);
        }
    }
    let (pods, outside, first, second) = match family {
        Family::V4 => ("10.0.0.0/8", "203.0.113.0/24", "10.1.0.0/16", "10.3.0.0/16"),
        Family::V6 => ("fd00:10::/32", "2001:db8:f::/64", "fd00:10:1::/48", "fd00:10:3::/48"),
    };
    let between =
        if plan.masquerade { format!("-A POSTROUTING -s {first} -d {second} -j MASQUERADE\n") } else { String::new() };
    let portals = "-m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES";
    format!(
        "*filter\n:KUBE-SERVICES - [0:0]\n-A FORWARD -m conntrack --ctstate NEW {portals}\n\
         -A OUTPUT -m conntrack --ctstate NEW {portals}\n{filter}COMMIT\n\
         *nat\n:KUBE-SERVICES - [0:0]\n{chains}-A PREROUTING {portals}\n-A OUTPUT {portals}\n\
         -A POSTROUTING -s {pods} -d {outside} -j MASQUERADE\n{between}{nat}COMMIT\n"
    )
}

fn service_rules(
    plan: &Plan,
    family: Family,
    number: usize,
    service: &Service,
    protocol: &str,
    [chains, nat, filter]: [&mut String; 3],
) {
    let (name, port) = (service.full_name(), service.spec.port);
    let address = service.addresses.of(family);
    let matching = |comment: &str| {
        format!("-d {address} -p {protocol} -m comment --comment \"{name}{comment}\" -m {protocol} --dport {port}")
    };
    let ready: Vec<_> = service.matched.iter().map(|&pod| &plan.pods[pod]).filter(|pod| pod.spec.ready).collect();
    let local = service.spec.internal_traffic_policy == TrafficPolicy::Local;
    let endpoints: Vec<Addresses> = ready
        .iter()
        .filter(|pod| !(local && pod.spec.on_dead_node))
        .map(|pod| pod.addresses)
        .chain(service.backend)
        .collect();
    if endpoints.is_empty() && !ready.is_empty() {
        let _ = writeln!(filter, "-A KUBE-SERVICES {} -j DROP", matching(" has no local endpoints"));
        return;
    }
    if endpoints.is_empty() {
        let with = if family == Family::V4 { "icmp-port-unreachable" } else { "icmp6-port-unreachable" };
        let _ = writeln!(filter, "-A KUBE-SERVICES {} -j REJECT --reject-with {with}", matching(" has no endpoints"));
        return;
    }
    let chain = format!("KUBE-SVC-{protocol}-{number:04}").to_uppercase();
    let _ = writeln!(chains, ":{chain} - [0:0]");
    let _ = writeln!(nat, "-A KUBE-SERVICES {} -j {chain}", matching(" cluster IP"));
    for (endpoint, addresses) in endpoints.iter().enumerate() {
        let separate = format!("KUBE-SEP-{protocol}-{number:04}-{endpoint}").to_uppercase();
        let target = std::net::SocketAddr::new(addresses.of(family), service.target_port());
        let left = endpoints.len() - endpoint;
        let share = if left == 1 {
            String::new()
        } else {
            format!("-m statistic --mode random --probability {} ", 1.0 / left as f64)
        };
        let _ = writeln!(chains, ":{separate} - [0:0]");
        let _ = writeln!(nat, "-A {chain} -m comment --comment \"{name} -> {target}\" {share}-j {separate}");
        let _ = writeln!(nat, "-A {separate} -p {protocol} -m {protocol} -j DNAT --to-destination {target}");
    }
}
