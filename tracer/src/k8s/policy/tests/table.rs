//! The networking.k8s.io/v1 specification as a table: policies, a flow, and who refuses it.

use rstest::rstest;

use super::cluster;
use crate::k8s::Snapshot;
use crate::k8s::model::NetworkPolicySpec;
use crate::k8s::policy::check::check;

fn denied(policies: &str, from: &str, to: &str) -> &'static str {
    let report = check(&cluster(policies), from, to).unwrap();
    let result = match (report.egress.admits(), report.ingress.admits()) {
        (true, true) => "nobody",
        (false, true) => "egress",
        (true, false) => "ingress",
        (false, false) => "both",
    };
    assert_eq!(report.allowed, result == "nobody");
    assert_eq!(report.missing.is_none(), report.allowed);
    result
}

#[rustfmt::skip] // one row a line
#[rstest]
// Isolation: which policies apply to a pod at all.
#[case::no_policy_allows("", "shop/cart", "shop/redis:6379", "nobody")]
#[case::empty_pod_selector_isolates_all("shop: {podSelector: {}}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::absent_pod_selector_isolates_all("shop: {policyTypes: [Ingress]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::null_pod_selector_isolates_all("shop: {podSelector: null}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::selector_of_another_pod("shop: {podSelector: {matchLabels: {app: cart}}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::policy_of_another_namespace("admin: {podSelector: {}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::same_labels_in_other_namespace_not_isolated("shop: {podSelector: {matchLabels: {app: cart}}}", "shop/redis", "admin/cart:80", "nobody")]
#[case::destination_outside("shop: {podSelector: {}}", "shop/cart", "8.8.8.8:443", "nobody")]
#[case::all_labels_must_match("shop: {podSelector: {matchLabels: {app: redis, tier: web}}}", "shop/cart", "shop/redis:6379", "nobody")]
// policyTypes and its defaults.
#[case::types_absent_means_ingress("shop: {podSelector: {matchLabels: {app: redis}}, ingress: []}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::types_absent_no_egress_rules("shop: {podSelector: {matchLabels: {app: cart}}, egress: []}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::types_absent_egress_rules("shop: {podSelector: {matchLabels: {app: cart}}, egress: [{ports: [{port: 53}]}]}", "shop/cart", "shop/redis:6379", "egress")]
#[case::types_absent_egress_rules_isolate_ingress_too("shop: {podSelector: {matchLabels: {app: redis}}, egress: [{}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::types_empty_is_absent("shop: {podSelector: {}, policyTypes: [], egress: []}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::types_egress_only("shop: {podSelector: {}, policyTypes: [Egress]}", "shop/cart", "shop/redis:6379", "egress")]
#[case::types_egress_ignores_ingress_rules("shop: {podSelector: {}, policyTypes: [Egress], ingress: [], egress: [{}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::types_ingress_ignores_egress_rules("shop: {podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: [{ports: [{port: 1}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::types_both_deny_both("shop: {podSelector: {}, policyTypes: [Ingress, Egress]}", "shop/cart", "shop/redis:6379", "both")]
// Rules, empty and absent.
#[case::ingress_absent_admits_nobody("shop: {podSelector: {}, policyTypes: [Ingress]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::ingress_empty_admits_nobody("shop: {podSelector: {}, ingress: []}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::empty_rule_admits_everybody("shop: {podSelector: {}, ingress: [{}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::empty_rule_admits_outside("shop: {podSelector: {}, ingress: [{}]}", "8.8.8.8", "shop/redis:6379", "nobody")]
#[case::from_empty_admits_everybody("shop: {podSelector: {}, ingress: [{from: []}]}", "admin/cart", "shop/redis:6379", "nobody")]
#[case::ports_empty_admits_every_port("shop: {podSelector: {}, ingress: [{ports: []}]}", "shop/cart", "shop/redis:1/SCTP", "nobody")]
#[case::empty_peer_admits_nobody("shop: {podSelector: {}, ingress: [{from: [{}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::rules_are_alternatives("shop: {podSelector: {}, ingress: [{ports: [{port: 1}]}, {ports: [{port: 6379}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::policies_add_up("shop: {podSelector: {}}\nshop: {podSelector: {matchLabels: {app: redis}}, ingress: [{}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::an_allow_for_another_pod_does_not_help("shop: {podSelector: {}}\nshop: {podSelector: {matchLabels: {app: cart}}, ingress: [{}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::peer_and_port_in_one_rule("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 1}]}, {from: [{podSelector: {matchLabels: {app: x}}}], ports: [{port: 6379}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
// Peers by selector.
#[case::peer_pod_selector("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::peer_pod_selector_other_label("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: admin}}}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::peer_pod_selector_is_of_the_policys_namespace("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}", "admin/cart", "shop/redis:6379", "ingress")]
#[case::peer_empty_pod_selector_own_namespace("shop: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", "shop/bare", "shop/redis:6379", "nobody")]
#[case::peer_empty_pod_selector_not_other_namespace("shop: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", "admin/cart", "shop/redis:6379", "ingress")]
#[case::peer_null_is_absent("shop: {podSelector: {}, ingress: [{from: [{podSelector: null, namespaceSelector: {}}]}]}", "admin/cart", "shop/redis:6379", "nobody")]
#[case::peer_namespace_selector("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}}]}]}", "admin/cart", "shop/redis:6379", "nobody")]
#[case::peer_namespace_selector_excludes_own("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::peer_empty_namespace_selector_all("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", "ghost/cart", "shop/redis:6379", "nobody")]
#[case::peer_namespace_selector_not_outside("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", "8.8.8.8", "shop/redis:6379", "ingress")]
#[case::peer_both_selectors_and("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}, podSelector: {matchLabels: {app: cart}}}]}]}", "admin/cart", "shop/redis:6379", "nobody")]
#[case::peer_both_selectors_wrong_pod("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}, podSelector: {matchLabels: {app: tool}}}]}]}", "admin/cart", "shop/redis:6379", "ingress")]
#[case::peer_both_selectors_wrong_namespace("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}, podSelector: {matchLabels: {app: cart}}}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::two_peers_are_or("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: admin}}}, {podSelector: {matchLabels: {app: cart}}}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::implicit_namespace_label("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: admin}}}]}]}", "admin/cart", "shop/redis:6379", "nobody")]
#[case::implicit_namespace_label_without_object("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ghost}}}]}]}", "ghost/cart", "shop/redis:6379", "nobody")]
#[case::implicit_namespace_label_mismatch("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: admin}}}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
// matchExpressions.
#[case::expression_in("shop: {podSelector: {matchExpressions: [{key: app, operator: In, values: [redis, valkey]}]}}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::expression_in_not_listed("shop: {podSelector: {matchExpressions: [{key: app, operator: In, values: [valkey]}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::expression_in_absent_key("shop: {podSelector: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::expression_not_in("shop: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [cart]}]}}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::expression_not_in_listed("shop: {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [redis]}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::expression_not_in_absent_key("shop: {podSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::expression_exists("shop: {podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::expression_exists_absent_key("shop: {podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}", "shop/cart", "shop/bare:80", "nobody")]
#[case::expression_does_not_exist("shop: {podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}", "shop/cart", "shop/bare:80", "ingress")]
#[case::expression_does_not_exist_present_key("shop: {podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::labels_and_expressions_and("shop: {podSelector: {matchLabels: {app: redis}, matchExpressions: [{key: tier, operator: In, values: [web]}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::expressions_and("shop: {podSelector: {matchExpressions: [{key: tier, operator: Exists}, {key: app, operator: NotIn, values: [redis]}]}}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::namespace_expression("shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [shop]}]}}]}]}", "admin/cart", "shop/redis:6379", "nobody")]
// Blocks.
#[case::block_outside("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}", "203.0.113.9", "shop/redis:6379", "nobody")]
#[case::block_other_address("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}", "203.0.114.9", "shop/redis:6379", "ingress")]
#[case::block_except("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.8/29]}}]}]}", "203.0.113.9", "shop/redis:6379", "ingress")]
#[case::block_beside_except("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.8/29]}}]}]}", "203.0.113.16", "shop/redis:6379", "nobody")]
#[case::except_binds_only_its_block("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}}, {ipBlock: {cidr: 203.0.113.9/32}}]}]}", "203.0.113.9", "shop/redis:6379", "nobody")]
#[case::block_v4_not_v6("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", "2001:db8::1", "shop/redis:6379", "ingress")]
#[case::block_v6("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '2001:db8::/32'}}]}]}", "2001:db8::1", "shop/redis:6379", "nobody")]
#[case::block_v6_except("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8::/64']}}]}]}", "2001:db8::1", "shop/redis:6379", "ingress")]
#[case::block_matches_mapped_v4("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}", "::ffff:203.0.113.9", "shop/redis:6379", "nobody")]
#[case::block_matches_pod_address("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::block_matches_second_family_of_pod("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 'fd00::/64'}}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::block_with_host_bits("shop: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.77/24}}]}]}", "203.0.113.9", "shop/redis:6379", "nobody")]
// Ports.
#[case::port_number("shop: {podSelector: {}, ingress: [{ports: [{port: 6379}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::port_other_number("shop: {podSelector: {}, ingress: [{ports: [{port: 6380}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::port_protocol_defaults_to_tcp("shop: {podSelector: {}, ingress: [{ports: [{port: 53}]}]}", "shop/cart", "shop/redis:53/UDP", "ingress")]
#[case::port_udp("shop: {podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}]}]}", "shop/cart", "shop/redis:53/UDP", "nobody")]
#[case::port_udp_not_tcp("shop: {podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}]}]}", "shop/cart", "shop/redis:53/TCP", "ingress")]
#[case::port_sctp("shop: {podSelector: {}, ingress: [{ports: [{port: 9, protocol: SCTP}]}]}", "shop/cart", "shop/redis:9/sctp", "nobody")]
#[case::port_absent_is_every_port_of_the_protocol("shop: {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}", "shop/cart", "shop/redis:9/UDP", "nobody")]
#[case::port_absent_is_not_every_protocol("shop: {podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::port_entry_empty_is_every_tcp_port("shop: {podSelector: {}, ingress: [{ports: [{}]}]}", "shop/cart", "shop/redis:1", "nobody")]
#[case::port_entry_empty_is_not_udp("shop: {podSelector: {}, ingress: [{ports: [{}]}]}", "shop/cart", "shop/redis:1/UDP", "ingress")]
#[case::port_range_first("shop: {podSelector: {}, ingress: [{ports: [{port: 6000, endPort: 6379}]}]}", "shop/cart", "shop/redis:6000", "nobody")]
#[case::port_range_last("shop: {podSelector: {}, ingress: [{ports: [{port: 6000, endPort: 6379}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::port_range_beyond("shop: {podSelector: {}, ingress: [{ports: [{port: 6000, endPort: 6379}]}]}", "shop/cart", "shop/redis:6380", "ingress")]
#[case::port_range_of_another_protocol("shop: {podSelector: {}, ingress: [{ports: [{port: 6000, endPort: 6379, protocol: UDP}]}]}", "shop/cart", "shop/redis:6100", "ingress")]
#[case::port_named("shop: {podSelector: {}, ingress: [{ports: [{port: redis}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::port_named_other_number("shop: {podSelector: {}, ingress: [{ports: [{port: redis}]}]}", "shop/cart", "shop/redis:6380", "ingress")]
#[case::port_named_unknown("shop: {podSelector: {}, ingress: [{ports: [{port: valkey}]}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::port_named_by_protocol("shop: {podSelector: {}, ingress: [{ports: [{port: dns}]}]}", "shop/cart", "shop/redis:53", "ingress")]
#[case::port_named_udp("shop: {podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}", "shop/cart", "shop/redis:53/UDP", "nobody")]
#[case::port_named_of_sidecar("shop: {podSelector: {}, ingress: [{ports: [{port: metrics}]}]}", "shop/cart", "shop/redis:9121", "nobody")]
#[case::port_named_of_finished_init_container("shop: {podSelector: {}, ingress: [{ports: [{port: setup}]}]}", "shop/cart", "shop/redis:9999", "ingress")]
#[case::port_named_is_the_destinations_on_egress("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{ports: [{port: redis}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::port_named_of_the_source_does_not_count("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", "shop/cart", "shop/redis:8080", "egress")]
#[case::port_named_differs_by_pod_here("shop: {podSelector: {matchLabels: {app: redis}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", "shop/redis", "shop/cart:8080", "nobody")]
#[case::port_named_differs_by_pod_there("shop: {podSelector: {matchLabels: {app: redis}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", "shop/redis", "admin/cart:9090", "nobody")]
#[case::port_named_is_not_another_pods("shop: {podSelector: {matchLabels: {app: redis}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", "shop/redis", "admin/cart:8080", "egress")]
#[case::port_range_of_one("shop: {podSelector: {}, ingress: [{ports: [{port: 6379, endPort: 6379}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::port_named_has_no_meaning_outside("shop: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", "shop/cart", "8.8.8.8:8080", "egress")]
#[case::ports_are_alternatives("shop: {podSelector: {}, ingress: [{ports: [{port: 1}, {port: redis}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
// Egress.
#[case::egress_to_selected_pod("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: redis}}}], ports: [{port: 6379}]}]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::egress_to_another_pod("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: redis}}}]}]}", "shop/cart", "shop/bare:80", "egress")]
#[case::egress_to_empty_admits_everybody("shop: {podSelector: {}, policyTypes: [Egress], egress: [{to: []}]}", "shop/cart", "8.8.8.8:443", "nobody")]
#[case::egress_to_other_namespace("shop: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {team: admin}}}]}]}", "shop/cart", "admin/cart:80", "nobody")]
#[case::egress_to_block("shop: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}", "shop/cart", "8.8.8.8:443", "nobody")]
#[case::egress_to_block_except_pods("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]}", "shop/cart", "admin/cart:80", "egress")]
#[case::egress_isolation_leaves_ingress("shop: {podSelector: {matchLabels: {app: redis}}, policyTypes: [Egress]}", "shop/cart", "shop/redis:6379", "nobody")]
#[case::egress_admits_ingress_denies("shop: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}", "shop/cart", "shop/redis:6379", "ingress")]
#[case::ingress_admits_egress_denies("shop: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}", "shop/cart", "shop/redis:6379", "egress")]
#[case::each_namespace_judges_its_own_end("shop: {podSelector: {}, policyTypes: [Egress]}\nadmin: {podSelector: {}}", "shop/cart", "admin/cart:80", "both")]
// What no policy touches.
#[case::a_pod_reaches_itself("shop: {podSelector: {}, policyTypes: [Ingress, Egress]}", "shop/redis", "shop/redis:6379", "nobody")]
#[case::a_pod_reaches_itself_by_address("shop: {podSelector: {}, policyTypes: [Ingress, Egress]}", "10.1.0.2", "[fd00::2]:6379", "nobody")]
#[case::host_network_destination_is_not_subject("shop: {podSelector: {}}", "shop/redis", "shop/hostnet:80", "nobody")]
#[case::host_network_source_is_not_subject("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress]}", "shop/hostnet", "shop/redis:6379", "nobody")]
#[case::host_network_peer_is_not_selected("shop: {podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}", "shop/hostnet", "shop/redis:6379", "ingress")]
#[case::host_network_peer_matches_block("shop: {podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.1/32}}]}]}", "shop/hostnet", "shop/redis:6379", "nobody")]
#[case::own_node_is_admitted("shop: {podSelector: {}}", "192.168.0.2", "shop/redis:6379", "nobody")]
#[case::own_node_host_network_pod_is_admitted("shop: {podSelector: {matchLabels: {app: cart}}}", "shop/hostnet", "shop/cart:8080", "nobody")]
#[case::another_node_is_not("shop: {podSelector: {}}", "192.168.0.1", "shop/redis:6379", "ingress")]
#[case::egress_to_own_node_is_admitted("shop: {podSelector: {}, policyTypes: [Egress]}", "shop/cart", "192.168.0.1:10250", "nobody")]
#[case::egress_to_another_node_is_not("shop: {podSelector: {}, policyTypes: [Egress]}", "shop/cart", "192.168.0.2:10250", "egress")]
// Addresses of pods.
#[case::source_by_address("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}", "10.1.0.1", "10.1.0.2:6379", "nobody")]
#[case::source_by_address_of_other_namespace("shop: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}", "10.1.1.1", "10.1.0.2:6379", "ingress")]
#[case::destination_by_v6_address("shop: {podSelector: {}, ingress: [{ports: [{port: redis}]}]}", "10.1.0.1", "[fd00::2]:6379", "nobody")]
fn a_flow_is_denied_by(#[case] policies: &str, #[case] from: &str, #[case] to: &str, #[case] expected: &str) {
    assert_eq!(denied(policies, from, to), expected);

    // Whatever was denied, the suggested rule in a policy of its own admits it.
    let snapshot = cluster(policies);
    let report = check(&snapshot, from, to).unwrap();
    let Some(suggestion) = report.suggestion else { return };
    let mut objects = snapshot.into_objects();
    for (direction, party) in [("egress", &report.from), ("ingress", &report.to)] {
        let Some(namespace) = party.namespace.as_ref().filter(|_| suggestion.contains(&format!("{direction}:\n"))) else {
            continue;
        };
        let mut added = objects.network_policies[0].clone();
        added.metadata.namespace.clone_from(namespace);
        added.metadata.name = format!("suggested-{direction}");
        added.spec = rule_of(&suggestion, direction);
        objects.network_policies.push(added);
    }
    let report = check(&Snapshot::new(objects), from, to).unwrap();
    assert!(report.allowed, "still denied with:\n{suggestion}");
}

/// The suggestion as the spec of a policy with only that direction.
fn rule_of(suggestion: &str, direction: &str) -> NetworkPolicySpec {
    let mut spec: serde_json::Map<_, _> = serde_saphyr::from_str(suggestion).unwrap();
    spec.retain(|key, _| key == direction);
    let name = if direction == "egress" { "Egress" } else { "Ingress" };
    spec.insert("policyTypes".to_owned(), serde_json::json!([name]));
    serde_json::from_value(spec.into()).unwrap()
}
