//! Links and routes: every pod is a /32 (and a /128) behind its own link to the node, as Calico does it, and the node has
//! an uplink to everything outside.

use std::fmt::Write as _;

use anyhow::Result;

use super::plan::Plan;
use crate::run::{Place, checked};

const NODE_SYSCTLS: &str = "cd /proc/sys/net && echo 1 > ipv4/ip_forward && echo 1 > ipv6/conf/all/forwarding && \
                            echo 0 > ipv4/conf/all/rp_filter && echo 0 > ipv4/conf/default/rp_filter";

/// The network namespaces besides the pods', by a process in each.
#[derive(Clone, Copy)]
pub(super) struct Nodes {
    pub(super) first: u32,
    pub(super) second: Option<u32>,
    pub(super) outside: u32,
}

/// Connects the pods (by index, with the process that holds the namespaces), the nodes and the outside.
pub(super) fn connect(plan: &Plan, nodes: Nodes, pods: &[(usize, u32)]) -> Result<()> {
    let Nodes { first, second, outside } = nodes;
    let uplink = format!(
        "link add eth0 type veth peer name eth0 netns {outside}\n\
         link set eth0 addrgenmode none\nlink set eth0 up\naddr add 192.168.0.11/24 dev eth0\n\
         route add default via 192.168.0.1\n"
    );
    let uplink6 = "addr add fd00:20::11/64 dev eth0 nodad\nroute add default via fd00:20::1\n";
    let here = |&&(index, _): &&(usize, u32)| !plan.pods[index].spec.on_second_node;
    connect_node(plan, first, [&uplink, uplink6], pods.iter().filter(here))?;
    if let Some(second) = second {
        // The way to anything else leads through the first node.
        let to_second = format!(
            "link add eth1 type veth peer name eth1 netns {second}\n\
             link set eth1 addrgenmode none\nlink set eth1 up\naddr add 192.168.1.11/24 dev eth1\n\
             route add 10.3.0.0/16 via 192.168.1.13\n"
        );
        let to_second6 = "addr add fd00:21::11/64 dev eth1 nodad\nroute add fd00:10:3::/48 via fd00:21::13\n";
        ip(first, &["-batch", "-"], &to_second)?;
        let to_first = "link set eth1 addrgenmode none\nlink set eth1 up\naddr add 192.168.1.13/24 dev eth1\n\
                        route add default via 192.168.1.11\n";
        let to_first6 = "addr add fd00:21::13/64 dev eth1 nodad\nroute add default via fd00:21::11\n";
        connect_node(plan, second, [to_first, to_first6], pods.iter().filter(|pod| !here(pod)))?;
        ip(first, &["-6", "-batch", "-"], to_second6)?;
    }
    configure_outside(plan, outside)?;
    for &(index, pid) in pods {
        let (v4, v6) = (plan.pods[index].addresses.v4, plan.pods[index].addresses.v6);
        let batch = format!(
            "link set lo up\nlink set eth0 addrgenmode none\nlink set eth0 up\naddr add {v4}/32 dev eth0\n\
             route add 169.254.1.1/32 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0\n"
        );
        ip(pid, &["-batch", "-"], &batch)?;
        let batch = format!("addr add {v6}/128 dev eth0 nodad\nroute add default via fe80::1 dev eth0\n");
        ip(pid, &["-6", "-batch", "-"], &batch)?;
    }
    Ok(())
}

/// A node: its way out, and a link to each of its pods.
fn connect_node<'a>(
    plan: &Plan,
    node: u32,
    [uplink, uplink6]: [&str; 2],
    pods: impl Iterator<Item = &'a (usize, u32)>,
) -> Result<()> {
    checked(Place::network_of(node)?, "/bin/sh", &["-c", NODE_SYSCTLS], "")?;
    let mut links = format!("link set lo up\naddr add 169.254.1.1/32 dev lo scope link\n{uplink}");
    let mut links6 = uplink6.to_owned();
    for &(index, pid) in pods {
        let pod = &plan.pods[index];
        let (link, v4, v6) = (&pod.link, pod.addresses.v4, pod.addresses.v6);
        write!(
            links,
            "link add {link} type veth peer name eth0 netns {pid}\nlink set {link} addrgenmode none\n\
             link set {link} up\nroute add {v4}/32 dev {link} scope link\n"
        )?;
        writeln!(links6, "addr add fe80::1/64 dev {link} nodad\nroute add {v6}/128 dev {link}")?;
    }
    ip(node, &["-batch", "-"], &links)?;
    ip(node, &["-6", "-batch", "-"], &links6)
}

/// The outside has the addresses of external hosts and of pods on other nodes.
fn configure_outside(plan: &Plan, outside: u32) -> Result<()> {
    let mut batch = String::from(
        "link set lo up\nlink set eth0 addrgenmode none\nlink set eth0 up\naddr add 192.168.0.1/24 dev eth0\n\
         route add 10.0.0.0/8 via 192.168.0.11\n",
    );
    let mut batch6 = String::from("addr add fd00:20::1/64 dev eth0 nodad\nroute add fd00:10::/32 via fd00:20::11\n");
    let elsewhere = plan.pods.iter().filter(|pod| pod.spec.on_dead_node).map(|pod| pod.addresses);
    for addresses in plan.outside.iter().map(|host| host.addresses).chain(elsewhere) {
        writeln!(batch, "addr add {}/32 dev lo", addresses.v4)?;
        writeln!(batch6, "addr add {}/128 dev lo nodad", addresses.v6)?;
    }
    ip(outside, &["-batch", "-"], &batch)?;
    ip(outside, &["-6", "-batch", "-"], &batch6)?;
    Ok(())
}

fn ip(pid: u32, arguments: &[&str], input: &str) -> Result<()> {
    checked(Place::network_of(pid)?, "ip", arguments, input).map(drop)
}
