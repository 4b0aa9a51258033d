//! What the listener is told before the first event.

use crate::correlate::Options;
use crate::k8s::Snapshot;
use crate::kernel;
use crate::sink::line::{Ready, SkippedHook, SnapshotSize};

/// What this kernel lacks, as sentences.
pub(super) fn notes(session: &kernel::Session) -> Vec<String> {
    let hooks = session.plan.skipped.iter().map(|skipped| {
        let mut note = format!("hook {} is not attached: {}", skipped.hook.name, skipped.reason);
        if !skipped.hook.causes.is_empty() {
            note += &format!(" (causes found less often: {})", skipped.hook.causes.join(", "));
        }
        note
    });
    let attached = session.plan.attach.iter();
    let partly =
        attached.filter_map(|hook| session.features.lacks(hook).map(|lost| format!("hook {}: {lost}", hook.name)));
    let fields = session.missing_offsets.iter().map(|missing| format!("no {}: {}", missing.field, missing.costs));
    // Of a node that is a container itself it is the whole node.
    let partial = (!session.cgroup_mount.is_root && !session.node_is_container).then(|| {
        let mount = session.cgroup_mount.path.display();
        format!("{mount} shows only a part of the cgroup tree: other containers are not seen")
    });
    hooks.chain(partly).chain(fields).chain(session.missing_privileges.iter().cloned()).chain(partial).collect()
}

/// What is told once the hooks are attached.
pub(super) fn ready(session: &kernel::Session, core: &Options, snapshot: &Snapshot) -> Ready {
    let skipped = session.plan.skipped.iter();
    Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: core.node.clone(),
        kernel: kernel::features::release().1,
        cgroup: core.cgroup.clone(),
        hooks: session.plan.attach.iter().map(|hook| hook.name.to_owned()).collect(),
        skipped: skipped
            .map(|skipped| SkippedHook { hook: skipped.hook.name.to_owned(), reason: skipped.reason.clone() })
            .collect(),
        snapshot: SnapshotSize::of(snapshot),
    }
}
