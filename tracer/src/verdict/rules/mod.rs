//! The rules, the most specific first.

use super::{Context, Judgement};
use crate::correlate::Chain;

mod accept_queue_overflow;
mod app_crash;
mod app_error;
mod common;
mod config_error;
mod connect_timeout;
mod connection_reset;
mod control_plane_unavailable;
mod cpu_throttled;
mod crash_loop;
mod disk_full;
mod dns_error;
mod dns_timeout;
mod dns_unavailable;
mod external_unavailable;
mod fd_exhausted;
mod firewall_drop;
mod firewall_reject;
mod gateway_altered;
mod gateway_no_upstream;
mod image_error;
mod keepalive_race;
mod liveness_restart;
mod local_traffic_policy;
mod missing;
mod network_policy_drop;
mod no_listener;
mod node_pressure;
mod oom_killed;
mod probe_failing;
mod rate_limited;
mod service_endpoints;
mod service_port_unknown;
mod storage_error;
mod unknown;
mod unreachable;
mod upstream_timeout;
mod wrong_target_port;

pub(super) use unknown::judge as unknown;

type Rule = fn(&Chain<'_>, &Context<'_>) -> Option<Judgement>;

/// The order is the precedence: what destroyed a process or a packet before what is merely missing, and an application's
/// own error last.
pub(super) const RULES: &[Rule] = &[
    oom_killed::judge,
    liveness_restart::judge,
    app_crash::judge,
    fd_exhausted::judge,
    storage_error::judge,
    disk_full::judge,
    accept_queue_overflow::judge,
    keepalive_race::judge,
    service_port_unknown::judge,
    control_plane_unavailable::judge,
    node_pressure::judge,
    config_error::judge,
    image_error::judge,
    crash_loop::judge,
    probe_failing::judge,
    service_endpoints::judge,
    dns_unavailable::judge,
    network_policy_drop::judge,
    local_traffic_policy::judge,
    firewall_drop::judge,
    firewall_reject::judge,
    unreachable::judge,
    dns_timeout::judge,
    dns_error::judge,
    external_unavailable::judge,
    wrong_target_port::judge,
    no_listener::judge,
    connect_timeout::judge,
    connection_reset::judge,
    cpu_throttled::judge,
    upstream_timeout::judge,
    rate_limited::judge,
    gateway_no_upstream::judge,
    gateway_altered::judge,
    app_error::judge,
];
