//! What the running kernel has: its release, its tracepoints, its drop and reset reasons.

use rustc_hash::FxHashMap;

use super::btf::KernelBtf;
use super::plan::{self, HOOKS, Hook};

/// Facts about the running kernel.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Major and minor version; the numbers decide nothing that BTF can answer.
    pub release: (u32, u32),
    /// As `uname -r` gives it.
    pub release_text: String,
    /// Tracepoints of [`HOOKS`] that are built in, with their argument types.
    pub tracepoints: FxHashMap<&'static str, Vec<String>>,
    /// Names of `kfree_skb`'s reasons, without their common prefix; empty where the kernel gives none.
    pub drop_reasons: FxHashMap<u32, String>,
    /// Names of `tcp_send_reset`'s reasons, without their common prefix.
    pub reset_reasons: FxHashMap<u32, String>,
    /// A cgroup v2 file system is mounted and found.
    pub cgroup2: bool,
}

impl Features {
    /// Reads them; `cgroup2` is the caller's to fill in.
    pub fn read(btf: &KernelBtf) -> Self {
        let (release, release_text) = release();
        Self {
            release,
            release_text,
            tracepoints: HOOKS.iter().filter_map(|hook| Some((hook.name, btf.tracepoint(hook.name)?))).collect(),
            drop_reasons: drop_reasons(btf),
            reset_reasons: strip(btf.enumerators("sk_rst_reason"), "SK_RST_REASON_").collect(),
            cgroup2: false,
        }
    }

    /// How many arguments a tracepoint has, 0 where it is absent.
    pub fn arguments(&self, tracepoint: &str) -> u32 {
        self.tracepoints.get(tracepoint).map_or(0, |arguments| arguments.len() as u32)
    }

    /// What a hook that this kernel has can't tell here.
    pub fn lacks(&self, hook: &Hook) -> Option<&'static str> {
        plan::lacks(hook.name, self.arguments(hook.name))
    }

    /// `mark_victim` gives a task (most kernels) rather than a pid (6.5 of Ubuntu).
    pub fn mark_victim_gives_task(&self) -> bool {
        self.tracepoints
            .get("mark_victim")
            .and_then(|arguments| arguments.first())
            .is_some_and(|argument| argument.contains("struct task_struct *"))
    }

    /// A reset for a closed port fires `tcp_send_reset`: since 6.10, which is also when it began to give a reason.
    pub fn reset_for_closed_port(&self) -> bool {
        self.arguments("tcp_send_reset") >= 3
    }
}

/// Major and minor version of the running kernel, and the text as `uname -r` gives it.
pub fn release() -> ((u32, u32), String) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    (parse_release(&text), text)
}

/// `6.8.0-149-generic` is (6, 8).
fn parse_release(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Core reasons and those of subsystems whose enum is in the kernel itself. The values of subsystem enums carry the
/// subsystem's number in their upper half. A module's own enum (openvswitch) isn't here: [`reason_name`] falls back to
/// the subsystem's name.
fn drop_reasons(btf: &KernelBtf) -> FxHashMap<u32, String> {
    let mut reasons: FxHashMap<u32, String> =
        strip(btf.enumerators("skb_drop_reason_subsys"), "SKB_DROP_REASON_SUBSYS_")
            .filter(|(number, name)| *number != 0 && name != "NUM")
            .map(|(number, name)| (number << 16, name))
            .collect();
    for name in btf.drop_reason_enums().filter(|name| *name != "skb_drop_reason_subsys") {
        let core = name == "skb_drop_reason";
        // Only a core enum may hold small values: they'd name another subsystem's reasons otherwise.
        reasons.extend(
            strip(btf.enumerators(name), "SKB_DROP_REASON_")
                .filter(|(value, name)| (core == (*value >> 16 == 0)) && !is_marker(name)),
        );
    }
    reasons
}

/// Bounds and masks that enums carry beside their values.
fn is_marker(name: &str) -> bool {
    name.starts_with("__") || name == "MAX" || name.contains("SUBSYS_MASK") || name == "SKB_NOT_DROPPED_YET"
}

fn strip(enumerators: Vec<(u32, String)>, prefix: &str) -> impl Iterator<Item = (u32, String)> {
    enumerators.into_iter().map(move |(value, name)| match name.strip_prefix(prefix) {
        Some(short) => (value, short.to_owned()),
        None => (value, name),
    })
}

/// The name of a drop reason, for people and rules: `NETFILTER_DROP`; `OPENVSWITCH_5` for a subsystem's reason without a
/// name of its own; `None` where the kernel gave no reason or an unknown one.
pub fn reason_name(reasons: &FxHashMap<u32, String>, reason: u32) -> Option<String> {
    if let Some(name) = reasons.get(&reason) {
        return Some(name.clone());
    }
    let subsystem = reasons.get(&(reason & 0xffff_0000)).filter(|_| reason >> 16 != 0)?;
    Some(format!("{subsystem}_{}", reason & 0xffff))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::btf::VMLINUX;

    #[test]
    fn releases() {
        assert_eq!(parse_release("6.8.0-149-generic"), (6, 8));
        assert_eq!(parse_release("5.10.0-46-cloud-amd64"), (5, 10));
        assert_eq!(parse_release(""), (0, 0));
    }

    #[test]
    fn subsystem_reasons_without_a_name() {
        let reasons = FxHashMap::from_iter([(2, "NOT_SPECIFIED".to_owned()), (2 << 16, "OPENVSWITCH".to_owned())]);
        assert_eq!(reason_name(&reasons, 2).unwrap(), "NOT_SPECIFIED");
        assert_eq!(reason_name(&reasons, 0x0002_0005).unwrap(), "OPENVSWITCH_5");
        assert_eq!(reason_name(&reasons, 0x0003_0001), None);
        assert_eq!(reason_name(&reasons, u32::MAX), None);
    }

    #[test]
    fn the_running_kernel() {
        if !Path::new(VMLINUX).exists() {
            return;
        }
        let features = Features::read(&KernelBtf::open(Path::new(VMLINUX)).unwrap());
        assert_eq!(features.tracepoints["inet_sock_set_state"], ["const struct sock *", "const int", "const int"]);
        assert!(features.mark_victim_gives_task() || features.tracepoints["mark_victim"] == ["int"]);
        if features.arguments("kfree_skb") >= 3 {
            assert!(features.drop_reasons.values().any(|name| name == "NETFILTER_DROP"));
        }
    }
}
