//! The node: its processes, and what of the machine they change.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::super::tools::tool;
use crate::cargo::{self, program};

const NETNS: &str = "tracer-node";
const PATIENCE: Duration = Duration::from_secs(180);

/// Settings of the whole machine that a kubelet makes (`pkg/kubelet/cm/container_manager_linux.go`).
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Everything of it ends with it.
pub(super) struct Node {
    pub(super) state: PathBuf,
    child: Child,
    settings: [String; SETTINGS.len()],
}

impl Node {
    pub(super) fn start(kubernetes: &Path, images: &Path) -> Result<Self> {
        ensure!(left_behind().is_empty(), "there is a kubelet's cgroup here: this machine is a node already");
        let state = cargo::target_dir().join("node");
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        fs::create_dir_all(&state)?;
        // A run that was killed leaves it.
        let _gone = program(Path::new("ip")).args(["netns", "delete", NETNS]).stderr(Stdio::null()).status();
        cargo::run(program(Path::new("ip")).args(["netns", "add", NETNS]))?;
        let mut start = within("unshare");
        start.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh"]);
        start.arg(cargo::root().join("xtask/src/deploy/node/node.sh"));
        let path = std::env::var("PATH").unwrap_or_default();
        start.env("PATH", format!("{}:/usr/sbin:{path}", kubernetes.display())).env("CNI", "/usr/lib/cni");
        start.env("STATE", &state).env("IMAGES", images);
        let settings = SETTINGS.map(|name| fs::read_to_string(setting(name)).unwrap_or_default());
        let log = File::create(state.join("node.log"))?;
        start.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut node = Self { child: start.spawn().context("unshare")?, state, settings };
        let deadline = Instant::now() + PATIENCE;
        while !node.state.join("started").exists() {
            let ended = node.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "the node doesn't start: see {}",
                node.state.display()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(node)
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<Command> {
        let mut kubectl = within(tool("kubectl")?.get_program());
        kubectl.arg("--kubeconfig").arg(self.state.join("admin.conf")).args(arguments);
        Ok(kubectl)
    }

    /// Without validation: this API server is older than some of the fields.
    pub(super) fn apply(&self, name: &str, objects: &str) -> Result<()> {
        let file = self.state.join(name).with_extension("json");
        fs::write(&file, objects)?;
        let mut apply = self.kubectl(&["apply", "--validate=false", "--filename"])?;
        cargo::run(apply.arg(file).stdout(Stdio::null()))
    }

    /// Until a field of what `kubectl get` finds holds that.
    pub(super) fn wait(&self, what: &str, resource: &[&str], field: &str, expected: &str) -> Result<()> {
        let output = format!("jsonpath={field}");
        let arguments = [&["get", "-o", &output], resource].concat();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = cargo::output(&mut self.kubectl(&arguments)?)?;
            if found.contains(expected) {
                return Ok(());
            }
            if Instant::now() > deadline {
                cargo::run(&mut self.kubectl(&["get", "pods", "--all-namespaces"])?)?;
                bail!("{what} isn't there after {PATIENCE:?}: {found}");
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // With its first process all of the PID namespace ends.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        for (name, value) in SETTINGS.iter().zip(&self.settings) {
            if let Err(error) = fs::write(setting(name), value) {
                eprintln!("{name} can't be set back to {}: {error}", value.trim());
            }
        }
        let _gone = program(Path::new("ip")).args(["netns", "delete", NETNS]).status();
        // Innermost first. What is being emptied takes a moment.
        for _ in 0..50 {
            let left = left_behind();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|directory| drop(fs::remove_dir(directory)));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A program in the node's network.
pub(super) fn within(name: impl AsRef<OsStr>) -> Command {
    let mut command = program(Path::new("nsenter"));
    command.arg(format!("--net=/run/netns/{NETNS}")).arg(name);
    command
}

/// Cgroups of a kubelet, the inner ones first.
fn left_behind() -> Vec<PathBuf> {
    let mut find = program(Path::new("find"));
    find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/kubepods*"]);
    // What goes while it looks is no failure.
    let found = find.stderr(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&found).lines().map(PathBuf::from).collect()
}
