//! The test cluster: pods, Services, policies, DNS and gateways made of network namespaces, cgroups and real processes,
//! scenarios that break it on purpose, and what the tracer must say about each.

pub mod apiserver;
pub mod app;
pub mod capture;
pub mod cluster;
pub mod firewall;
pub mod linking;
pub mod objects;
pub mod program;
pub mod run;
pub mod scenario;
pub mod server;
pub mod services;
pub mod services_nftables;
pub mod storm;
