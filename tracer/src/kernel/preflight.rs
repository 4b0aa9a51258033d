//! Whether the tracer can run here: each check is a sentence, each failure has a remedy.

use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};

use tracer_common::config::Offsets;

use super::btf::{BtfError, KernelBtf, VMLINUX};
use super::features::Features;
use super::offsets::{self, Missing};
use super::plan::{Plan, plan};
use super::symbols::Symbols;
use crate::host::{HostRoot, cgroups};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    /// The tracer runs, with less to say.
    Degraded,
    /// The tracer can't run.
    Missing,
}

impl Status {
    /// As `tracer doctor` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub status: Status,
    pub detail: String,
    /// What the user can do; absent where there's nothing to do.
    pub remedy: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, detail: impl Into<String>, remedy: Option<&str>) -> Self {
        Self { name: name.into(), status, detail: detail.into(), remedy: remedy.map(str::to_owned) }
    }

    /// It fails because another one does, whose remedy helps both.
    pub(super) fn follows(&self) -> bool {
        self.status != Status::Ok && self.remedy.is_none()
    }

    /// A capability that the tracer can do without, and misses.
    pub(super) fn is_lesser_privilege(&self) -> bool {
        self.status == Status::Degraded && self.name.starts_with("CAP_")
    }
}

/// Everything looked at, and what was found on the way.
#[derive(Debug, Default)]
pub struct Report {
    pub checks: Vec<Check>,
    pub features: Features,
    /// Absent where the kernel's types can't be read.
    pub offsets: Option<Offsets>,
    pub plan: Plan,
    pub missing_offsets: Vec<Missing>,
}

impl Report {
    /// Checks without which the tracer can't run.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Missing)
    }

    /// Nothing essential is missing.
    pub fn ok(&self) -> bool {
        self.failures().next().is_none()
    }
}

/// Looks at everything.
pub fn run(root: &HostRoot) -> Report {
    let mut report = Report::default();
    let btf = KernelBtf::open(Path::new(VMLINUX));
    if let Ok(btf) = &btf {
        report.features = Features::read(btf);
    }
    report.checks.push(kernel(&super::features::release()));
    report.checks.push(btf_check(&btf));
    if let Ok(btf) = &btf {
        match offsets::resolve(btf) {
            Ok((offsets, missing)) => {
                report.offsets = Some(offsets);
                report.missing_offsets = missing;
            }
            Err(error) => report.checks.push(Check::new("offsets", Status::Missing, error.to_string(), None)),
        }
        report.checks.extend(report.missing_offsets.iter().map(|missing| {
            Check::new(format!("field {}", missing.field), Status::Degraded, format!("absent: {}", missing.costs), None)
        }));
    }
    let mount = cgroups::find_mount(root);
    report.features.cgroup2 = mount.is_ok();
    report.checks.push(cgroup(mount));
    report.checks.extend(capabilities(super::features::release().0));
    report
        .checks
        .push(lockdown(&std::fs::read_to_string(root.path("/sys/kernel/security/lockdown")).unwrap_or_default()));
    report.checks.push(symbols());
    report.plan = plan(|name| report.features.tracepoints.contains_key(name), report.features.cgroup2);
    if btf.is_ok() {
        report.checks.extend(hooks(&report.plan, &report.features));
    }
    report
}

fn kernel((release, text): &((u32, u32), String)) -> Check {
    if *release < (5, 10) {
        return Check::new(
            "kernel",
            Status::Missing,
            format!("Linux {text} is older than 5.10"),
            Some("use a kernel from 5.10 on"),
        );
    }
    Check::new("kernel", Status::Ok, format!("Linux {text}"), None)
}

fn btf_check(btf: &Result<KernelBtf, BtfError>) -> Check {
    match btf {
        Ok(_) => Check::new("btf", Status::Ok, format!("type information in {VMLINUX}"), None),
        Err(error) => {
            let remedy = match error {
                BtfError::Missing { .. } => {
                    "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the stock kernels of current distributions are"
                }
                BtfError::Unreadable { .. } => "run as root or with CAP_DAC_READ_SEARCH",
            };
            Check::new("btf", Status::Missing, error.to_string(), Some(remedy))
        }
    }
}

fn cgroup(mount: Result<cgroups::Mount, cgroups::CgroupError>) -> Check {
    match mount {
        Ok(mount) if mount.is_root => {
            Check::new("cgroup2", Status::Ok, format!("cgroup v2 mounted at {}", mount.path.display()), None)
        }
        Ok(mount) => Check::new(
            "cgroup2",
            Status::Degraded,
            format!("{} shows only a part of the cgroup v2 tree: other containers are not seen", mount.path.display()),
            Some(
                "mount the host's /sys/fs/cgroup into the container and give --host-root, or run in the host's cgroup namespace",
            ),
        ),
        Err(error) => Check::new(
            "cgroup2",
            Status::Missing,
            error.to_string(),
            Some(
                "mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified; in a container, \
                 give the directory where the host's file system is mounted with --host-root",
            ),
        ),
    }
}

/// A capability, what needs it, and whether nothing works without it.
struct Need {
    capability: Capability,
    gives: &'static str,
    essential: bool,
    /// CAP_SYS_ADMIN includes it.
    admin_covers: bool,
}

fn needs(release: (u32, u32)) -> Vec<Need> {
    let need = |capability, gives, essential, admin_covers| Need { capability, gives, essential, admin_covers };
    let mut needs = vec![
        need(Capability::CAP_BPF, "loading programs and maps", true, true),
        need(Capability::CAP_PERFMON, "raw tracepoints and reading kernel memory", true, true),
        need(Capability::CAP_NET_ADMIN, "attaching to cgroups", true, false),
        need(Capability::CAP_SYSLOG, "naming the place where a packet was dropped", false, false),
        need(Capability::CAP_SYS_PTRACE, "network namespaces and executables of other processes", false, false),
        need(Capability::CAP_DAC_READ_SEARCH, "files of other users below /proc and /var/log/pods", false, false),
    ];
    if release < (5, 11) {
        // Before 5.11 maps count against the locked-memory limit.
        needs.push(need(Capability::CAP_SYS_RESOURCE, "raising the locked-memory limit for maps", true, false));
    }
    needs
}

fn capabilities(release: (u32, u32)) -> Vec<Check> {
    match caps::read(None, CapSet::Effective) {
        Ok(held) => judge_capabilities(&held, release),
        Err(error) => vec![Check::new("capabilities", Status::Degraded, format!("cannot be read: {error}"), None)],
    }
}

fn judge_capabilities(held: &CapsHashSet, release: (u32, u32)) -> Vec<Check> {
    needs(release)
        .into_iter()
        .map(|need| {
            let has = held.contains(&need.capability)
                || (need.admin_covers && held.contains(&Capability::CAP_SYS_ADMIN))
                || (need.capability == Capability::CAP_DAC_READ_SEARCH && held.contains(&Capability::CAP_DAC_OVERRIDE));
            let name = need.capability.to_string();
            if has {
                return Check::new(name, Status::Ok, format!("held, for {}", need.gives), None);
            }
            let status = if need.essential { Status::Missing } else { Status::Degraded };
            let remedy = format!(
                "run as root, or grant it: securityContext.capabilities.add: [{}] in a pod, \
                 setcap {}+ep on the binary elsewhere",
                name.trim_start_matches("CAP_"),
                name.to_lowercase()
            );
            Check::new(
                name.clone(),
                status,
                format!("{name} is missing: it is needed for {}", need.gives),
                Some(&remedy),
            )
        })
        .collect()
}

/// The file names the levels with the current one in brackets: `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Check {
    if text.contains("[confidentiality]") {
        return Check::new(
            "lockdown",
            Status::Missing,
            "the kernel is locked down for confidentiality: programs may not read kernel memory",
            Some("boot with lockdown=integrity or none"),
        );
    }
    let level = text.split(['[', ']']).nth(1).unwrap_or("none");
    Check::new("lockdown", Status::Ok, format!("lockdown: {level}"), None)
}

fn symbols() -> Check {
    if Symbols::new().readable() {
        return Check::new("kallsyms", Status::Ok, "kernel addresses can be named", None);
    }
    Check::new(
        "kallsyms",
        Status::Degraded,
        "/proc/kallsyms hides addresses: the netfilter hook of a drop is not known",
        Some("add CAP_SYSLOG, and set kernel.kptr_restrict to 1 or less"),
    )
}

fn hooks(plan: &Plan, features: &Features) -> impl Iterator<Item = Check> {
    let attached = plan.attach.iter().map(|hook| {
        let name = format!("hook {}", hook.name);
        let gives = format!("{}: {}", hook.kind.label(), hook.gives);
        match features.lacks(hook) {
            Some(lost) => Check::new(name, Status::Degraded, format!("{gives}; {lost}"), None),
            None => Check::new(name, Status::Ok, gives, None),
        }
    });
    let skipped = plan.skipped.iter().map(|skipped| {
        let status = if skipped.hook.essential { Status::Missing } else { Status::Degraded };
        let mut detail = format!("{}; not seen: {}", skipped.reason, skipped.hook.gives);
        if !skipped.hook.causes.is_empty() {
            detail += &format!("; causes found less often: {}", skipped.hook.causes.join(", "));
        }
        // Every kernel has the hooks of cgroups; the check of the mount says what they lack.
        let since = (!skipped.hook.kind.by_cgroup()).then_some(skipped.hook.since);
        let remedy = since.map(|since| format!("use a kernel that has it ({since})"));
        Check::new(format!("hook {}", skipped.hook.name), status, detail, remedy.as_deref())
    });
    attached.chain(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(checks: &[Check], name: &str) -> Status {
        checks.iter().find(|check| check.name == name).unwrap().status
    }

    #[test]
    fn each_capability_on_its_own() {
        let held = CapsHashSet::from_iter([Capability::CAP_BPF, Capability::CAP_NET_ADMIN]);
        let checks = judge_capabilities(&held, (6, 1));
        assert_eq!(status(&checks, "CAP_BPF"), Status::Ok);
        assert_eq!(status(&checks, "CAP_PERFMON"), Status::Missing);
        assert_eq!(status(&checks, "CAP_SYSLOG"), Status::Degraded);
        assert!(checks.iter().filter(|check| check.status != Status::Ok).all(|check| check.remedy.is_some()));
        assert!(!checks.iter().any(|check| check.name == "CAP_SYS_RESOURCE"));
    }

    #[test]
    fn admin_stands_for_bpf_and_perfmon_but_not_for_net_admin() {
        let checks = judge_capabilities(&CapsHashSet::from_iter([Capability::CAP_SYS_ADMIN]), (5, 10));
        assert_eq!(status(&checks, "CAP_PERFMON"), Status::Ok);
        assert_eq!(status(&checks, "CAP_NET_ADMIN"), Status::Missing);
        assert_eq!(status(&checks, "CAP_SYS_RESOURCE"), Status::Missing);
    }

    #[test]
    fn lockdown_levels() {
        assert_eq!(lockdown("none integrity [confidentiality]\n").status, Status::Missing);
        assert_eq!(lockdown("none [integrity] confidentiality\n").detail, "lockdown: integrity");
        assert_eq!(lockdown("").status, Status::Ok);
    }

    #[test]
    fn old_kernels() {
        assert_eq!(kernel(&((5, 9), "5.9.1".into())).status, Status::Missing);
        assert_eq!(kernel(&((5, 10), "5.10.0".into())).status, Status::Ok);
    }
}
