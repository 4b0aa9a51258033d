//! Services as kube-proxy writes them in nftables mode (`pkg/proxy/nftables`, 1.33), from the same plan as the objects.

use std::fmt::Write as _;

use crate::cluster::{Family, Plan, plan::Service};

/// What to feed to `nft` in the node's namespace.
#[must_use]
pub fn rules(plan: &Plan) -> String {
    let (word, table, range) = match plan.family {
        Family::V4 => ("ip", "ip kube-proxy", "10.96.0.0/16"),
        Family::V6 => ("ip6", "ip6 kube-proxy", "fd00:96::/64"),
    };
    let kind = if plan.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
    let (mut chains, mut ips, mut without) = (String::new(), vec![], vec![]);
    for (service, protocol) in plan.services.iter().flat_map(|s| s.protocols.iter().map(move |p| (s, *p))) {
        let key = format!("{} . {protocol} . {}", service.addresses.of(plan.family), service.spec.port);
        let endpoints = endpoints(plan, service);
        if endpoints.is_empty() {
            without.push(format!("{key} comment \"{}\" : goto reject-chain", service.full_name()));
            continue;
        }
        let name = format!("{}/{protocol}", service.full_name());
        let targets = endpoints.iter().enumerate();
        let choices: Vec<_> = targets.clone().map(|(n, _)| format!("{n} : goto endpoint-{n}-{name}")).collect();
        for (n, target) in targets {
            // Writing to a string cannot fail.
            let _ = writeln!(chains, "chain endpoint-{n}-{name} {{ meta l4proto {protocol} dnat to {target}; }}");
        }
        let (count, choices) = (endpoints.len(), choices.join(", "));
        let _ = writeln!(chains, "chain service-{name} {{ numgen random mod {count} vmap {{ {choices} }}; }}");
        ips.push(format!("{key} : goto service-{name}"));
    }
    let addresses: Vec<_> = plan.services.iter().map(|s| s.addresses.of(plan.family).to_string()).collect();
    let elements = |of: &[String]| match of {
        [] => String::new(),
        of => format!("elements = {{ {} }}", of.join(", ")),
    };
    let key = format!("{word} daddr . meta l4proto . th dport");
    format!(
        "table {table} {{
set cluster-ips {{ type {kind}; {} }}
chain reject-chain {{ reject; }}
{chains}
map service-ips {{ type {kind} . inet_proto . inet_service : verdict; {} }}
map no-endpoint-services {{ type {kind} . inet_proto . inet_service : verdict; {} }}
chain services {{ {key} vmap @service-ips; }}
chain service-endpoints-check {{ {key} vmap @no-endpoint-services; }}
chain cluster-ips-check {{
{word} daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\"
{word} daddr {{ {range} }} drop comment \"Drop traffic to unallocated ClusterIPs\"
}}
chain filter-input {{ type filter hook input priority -110; ct state new jump service-endpoints-check; }}
chain filter-forward {{ type filter hook forward priority -110; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }}
chain filter-output {{ type filter hook output priority -110; ct state new jump service-endpoints-check; }}
chain filter-output-post-dnat {{ type filter hook output priority -90; ct state new jump cluster-ips-check; }}
chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
chain nat-output {{ type nat hook output priority -100; jump services; }}
}}
",
        elements(&addresses),
        elements(&ips),
        elements(&without)
    )
}

fn endpoints(plan: &Plan, service: &Service) -> Vec<std::net::SocketAddr> {
    let ready = service.matched.iter().map(|&pod| &plan.pods[pod]).filter(|pod| pod.spec.ready);
    let addresses = ready.map(|pod| pod.addresses).chain(service.backend);
    addresses.map(|a| std::net::SocketAddr::new(a.of(plan.family), service.target_port())).collect()
}
