//! Pod and container out of a cgroup path, and out of the kubelet's log paths.
//!
//! Layouts by kubelet cgroup driver and runtime (`<uid_>`: the UID with underscores; static pods: 32 hex digits):
//! ```text
//! systemd   kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope
//! cgroupfs  kubepods/burstable/pod<uid>/<id>
//! kind      …/kubelet.slice/kubelet-kubepods.slice/…/kubelet-kubepods-pod<uid_>.slice/cri-containerd-<id>.scope
//! mixed     kubepods-burstable-pod<uid_>.slice:cri-containerd:<id>      (systemd kubelet, cgroupfs runtime)
//! ```
//! Below the container there may be more: an init system's slices, crun's `container`, delegated groups. Above the pod
//! there may be another container (a node that is itself one), so the innermost pod counts.

#[cfg(test)]
mod tests;

/// What a cgroup path says.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ContainerRef {
    /// In the dashed form of the API; a static pod's config hash has no dashes.
    pub pod_uid: Option<String>,
    pub container_id: Option<String>,
    pub runtime: Option<Runtime>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Runtime {
    Containerd,
    Crio,
    Docker,
    Podman,
}

/// The shortest hex run that is taken for a container id below a pod; ids are 64 digits, shortened ones 12.
const SHORTEST_ID: usize = 12;
const FULL_ID: usize = 64;

/// Reads a cgroup path. `None` when it names neither a pod nor a container: a system service, a user session, the root.
pub fn parse_cgroup_path(path: &str) -> Option<ContainerRef> {
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    // From the leaf up: the innermost pod is the one that runs there.
    for (at, component) in components.iter().enumerate().rev() {
        if let Some((uid, rest)) = pod_uid(component) {
            let nested = rest.strip_prefix(':').and_then(container);
            let found = nested.or_else(|| below_pod(&components[at + 1..]));
            let (container_id, runtime) = found.map_or((None, None), |(id, runtime)| (Some(id), runtime));
            return Some(ContainerRef { pod_uid: Some(uid), container_id, runtime });
        }
    }
    // A container outside Kubernetes; without the pod's directory only a full id tells it from anything else.
    components.iter().rev().find_map(|component| {
        let (id, runtime) = container(component)?;
        let is_container = id.len() == FULL_ID;
        is_container.then_some(ContainerRef { pod_uid: None, container_id: Some(id), runtime })
    })
}

/// The container is the pod's direct child; further down only a full id is believed, since hex names are free there.
fn below_pod(components: &[&str]) -> Option<(String, Option<Runtime>)> {
    components
        .iter()
        .enumerate()
        .find_map(|(depth, component)| container(component).filter(|(id, _)| depth == 0 || id.len() == FULL_ID))
}

/// The pod UID that a component ends in (before `.slice`), and what follows it.
fn pod_uid(component: &str) -> Option<(String, &str)> {
    component.match_indices("pod").find_map(|(at, _)| {
        // `pod` begins the name or follows a dash: `kubepods` contains it, too.
        let begins = at == 0 || component.as_bytes().get(at - 1) == Some(&b'-');
        let rest = component.get(at + 3..).filter(|_| begins)?;
        let (uid, rest) = take_uid(rest)?;
        let rest = rest.strip_prefix(".slice").unwrap_or(rest);
        (rest.is_empty() || rest.starts_with(':')).then_some((uid, rest))
    })
}

/// A UUID with dashes or underscores, or 32 hex digits.
fn take_uid(text: &str) -> Option<(String, &str)> {
    if let (Some(uid), Some(rest)) = (text.get(..36), text.get(36..))
        && is_uuid(uid)
    {
        return Some((uid.replace('_', "-").to_ascii_lowercase(), rest));
    }
    let (uid, rest) = (text.get(..32)?, text.get(32..)?);
    is_hex(uid).then(|| (uid.to_ascii_lowercase(), rest))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-' || byte == b'_',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The container a component names, if it names one.
fn container(component: &str) -> Option<(String, Option<Runtime>)> {
    const PREFIXES: [(&str, Runtime); 6] = [
        ("cri-containerd-", Runtime::Containerd),
        ("cri-containerd:", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
        ("crio:", Runtime::Crio),
    ];
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let prefixed = PREFIXES.iter().find_map(|(prefix, runtime)| Some((name.strip_prefix(prefix)?, Some(*runtime))));
    // `crio-conmon-<id>` watches over a container and isn't one: after its prefix comes no hex.
    let (id, runtime) = prefixed.unwrap_or((name, None));
    (is_hex(id) && id.len() >= SHORTEST_ID).then(|| (id.to_ascii_lowercase(), runtime))
}
