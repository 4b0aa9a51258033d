//! From an object to running programs.

use std::fs::File;
use std::path::{Path, PathBuf};

use aya::maps::{Map, RingBuf};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use tracer_common::ABI_VERSION;
use tracer_common::config::{Config, DROP_ACTIONS, Offsets};
use zerocopy::IntoBytes;

use super::attach::{self, ProgramStatus};
use super::cpus::Cpus;
use super::drop_action;
use super::features::Features;
use super::flight::Flight;
use super::map::{MapError, Table};
use super::object::{self, ObjectError};
use super::offsets::Missing;
use super::plan::Plan;
use super::preflight::{self, Report, Status};
use super::ring::Rings;
use super::slice;
use super::symbols::Symbols;
use super::tables::Tables;
use crate::heap;
use crate::host::HostRoot;
use crate::host::cgroups::{self, CgroupError};
use crate::host::proc::Proc;
use crate::reasons::chain;

/// What to observe, and how much of it to report.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the host's file system is mounted.
    pub host_root: HostRoot,
    /// Observe only the sockets of this cgroup v2 subtree (a path as seen from here, or below the v2 root); the whole
    /// node by default. The tracepoints still see the node: their events carry a cgroup id to filter by.
    pub cgroup: Option<PathBuf>,
    /// Statuses from here on are failures.
    pub min_status: u16,
    /// Every exchange is an event, not only failures.
    pub all_requests: bool,
    /// Attach these hooks only, to measure what each costs; all of them where it is empty.
    pub hooks: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { host_root: HostRoot::default(), cgroup: None, min_status: 500, all_requests: false, hooks: Vec::new() }
    }
}

/// Why observation can't begin. All of these are the environment's fault: the command exits with 3.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot observe this node: {}", .0.join("; "))]
    Preflight(Vec<String>),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("cannot load the kernel programs' maps: {reason}; {remedy}")]
    Load { reason: String, remedy: &'static str },
    #[error("cannot run the kernel program {name}: {reason}; {remedy}")]
    Program { name: &'static str, reason: String, remedy: &'static str },
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The programs at work. Dropping it detaches them. The readers are fields of their own, so that they can move to
/// different tasks; `session` must live as long as observation is wanted.
pub struct Kernel {
    pub session: Session,
    pub rings: Rings,
    pub flight: Flight,
    pub tables: Tables,
    pub symbols: Symbols,
}

/// The attached programs and what was found out about the kernel.
pub struct Session {
    ebpf: Ebpf,
    /// What is attached and what isn't.
    pub plan: Plan,
    pub features: Features,
    /// Fields that the kernel lacks.
    pub missing_offsets: Vec<Missing>,
    /// Privileges that are missing, each with what is not seen for it.
    pub missing_privileges: Vec<String>,
    /// The node's `/proc` numbers processes by a PID namespace of its own, as where nodes are containers (`kind`, `k3d`).
    pub node_is_container: bool,
    /// Where cgroup v2 is.
    pub cgroup_mount: cgroups::Mount,
    /// The observed subtree's id and path below the root, where only a subtree is observed.
    pub cgroup: Option<(u64, String)>,
}

impl Kernel {
    /// Loads the object, tells it about the kernel, attaches it.
    ///
    /// # Errors
    /// Each says what is missing and what to do about it. A missing optional hook is no error: see
    /// [`Session::plan`].
    pub fn start(object: &[u8], options: &Options) -> Result<Self, StartError> {
        slice::in_short_slices(|| Self::start_here(object, options))
    }

    fn start_here(object: &[u8], options: &Options) -> Result<Self, StartError> {
        object::check(object)?;
        let Report { checks, features, offsets, mut plan, missing_offsets } = preflight::run(&options.host_root);
        plan.keep_only(&options.hooks);
        let missing: Vec<String> =
            checks.iter().filter(|check| check.status == Status::Missing && !check.follows()).map(sentence).collect();
        // Without offsets there is always a failed check that says so.
        let (Some(offsets), true) = (offsets, missing.is_empty()) else { return Err(StartError::Preflight(missing)) };
        let missing_privileges = checks.iter().filter(|check| check.is_lesser_privilege()).map(sentence).collect();
        let cgroup_mount = cgroups::find_mount(&options.host_root)?;
        let (directory, cgroup) = subtree(&cgroup_mount.path, options.cgroup.as_deref())?;

        raise_memlock(features.release);
        let cpus = Cpus::read().map_err(|error| StartError::Load {
            reason: format!("cannot read which CPUs the machine has: {error}"),
            remedy: "mount /sys",
        })?;
        let config = config(options, &features, &cpus);
        let mut ebpf = load(object, &offsets, &config)?;
        attach::load(&mut ebpf, &mut plan)?;
        let tables = Tables::take(&mut ebpf)?;
        let flight = Flight::new(&mut ebpf, tables.share_stats()?, cpus)?;
        let rings = Rings::new(ring(&mut ebpf, "FAILURES")?, ring(&mut ebpf, "EVENTS")?);
        fill_drop_actions(&mut ebpf, &features)?;
        attach::attach(&mut ebpf, &mut plan, &directory)?;

        heap::give_back();

        let session = Session {
            ebpf,
            plan,
            features,
            missing_offsets,
            missing_privileges,
            node_is_container: config.pid_namespace != 0,
            cgroup_mount,
            cgroup,
        };
        Ok(Self { session, rings, flight, tables, symbols: Symbols::new() })
    }
}

impl Session {
    /// Every program: whether it is loaded and attached, and its cost where the kernel counts it.
    pub fn programs(&self) -> Vec<ProgramStatus> {
        attach::status(&self.ebpf, &self.plan)
    }
}

/// A failed check as part of a sentence.
fn sentence(check: &preflight::Check) -> String {
    match &check.remedy {
        Some(remedy) => format!("{} ({remedy})", check.detail),
        None => check.detail.clone(),
    }
}

fn config(options: &Options, features: &Features, cpus: &Cpus) -> Config {
    Config {
        abi_version: ABI_VERSION,
        min_status: options.min_status.into(),
        all_requests: options.all_requests.into(),
        kfree_skb_args: features.arguments("kfree_skb"),
        send_reset_args: features.arguments("tcp_send_reset"),
        mark_victim_task: features.mark_victim_gives_task().into(),
        cpu_bits: cpus.bits,
        packet_pid_tgid: packet_may(BpfHelper::BPF_FUNC_get_current_pid_tgid).into(),
        packet_coarse_clock: packet_may(BpfHelper::BPF_FUNC_ktime_get_coarse_ns).into(),
        pid_namespace: Proc::new(&options.host_root).nested_pid_namespace().unwrap_or(0),
    }
}

/// Whether `cgroup_skb` programs may call a helper that saves some nanoseconds.
fn packet_may(helper: BpfHelper) -> bool {
    is_helper_supported(ProgramType::CgroupSkb, helper).unwrap_or(false)
}

/// Opens the cgroup directory to attach to; the second part says which, where it isn't the whole tree.
fn subtree(mount: &Path, wanted: Option<&Path>) -> Result<(File, Option<(u64, String)>), CgroupError> {
    let not_cgroup =
        |path: &Path, reason: String| CgroupError::NotCgroup { path: path.into(), mount: mount.into(), reason };
    let path = match wanted {
        None => mount.to_owned(),
        Some(path) if path.starts_with(mount) => path.to_owned(),
        // The host's root may be a directory of links.
        Some(path) => match path.canonicalize().ok().zip(mount.canonicalize().ok()) {
            Some((path, real)) if path.starts_with(&real) => mount.join(path.strip_prefix(real).unwrap_or(&path)),
            _ => mount.join(path.strip_prefix("/").unwrap_or(path)),
        },
    };
    if !path.join("cgroup.procs").exists() {
        return Err(not_cgroup(wanted.unwrap_or(&path), "no cgroup directory is there".to_owned()));
    }
    let directory = File::open(&path).map_err(|error| not_cgroup(&path, error.to_string()))?;
    let id = cgroups::id_of(&path).map_err(|error| not_cgroup(&path, error.to_string()))?;
    let below = path.strip_prefix(mount).unwrap_or(Path::new(""));
    let cgroup = (!below.as_os_str().is_empty()).then(|| (id, format!("/{}", below.display())));
    Ok((directory, cgroup))
}

fn load(object: &[u8], offsets: &Offsets, config: &Config) -> Result<Ebpf, StartError> {
    EbpfLoader::new()
        // No program asks for relocations against the kernel's types, and parsing them would take 40 MB.
        .btf(None)
        .override_global("OFFSETS", offsets.as_bytes(), true)
        .override_global("CONFIG", config.as_bytes(), true)
        .load(object)
        .map_err(|error| {
            let reason = chain(&error);
            // EPERM, though the capabilities were there.
            if reason.contains("os error 1)") {
                let remedy = "a security profile (seccomp, AppArmor, SELinux) of the container forbids bpf(2): run it \
                              unconfined, such as with securityContext.seccompProfile.type Unconfined";
                return StartError::Load { reason, remedy };
            }
            StartError::Load {
                reason,
                remedy: "give the process at least 100 MiB of memory, and CAP_SYS_RESOURCE on kernels before 5.11; \
                         `tracer doctor` checks the rest",
            }
        })
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<aya::maps::MapData>, StartError> {
    match super::map::take(ebpf, name)? {
        map @ Map::RingBuf(_) => Ok(RingBuf::try_from(map).map_err(|source| MapError::Inspect { name, source })?),
        _ => Err(MapError::Missing { name }.into()),
    }
}

fn fill_drop_actions(ebpf: &mut Ebpf, features: &Features) -> Result<(), MapError> {
    let table = Table::<u32, u8>::take(ebpf, "DROP_ACTION")?;
    let actions = drop_action::actions(&features.drop_reasons, features.reset_for_closed_port());
    // Its entries begin as zero, which is to ignore.
    for (index, action) in (0..DROP_ACTIONS).zip(actions).filter(|(_, action)| *action != 0) {
        table.put(&index, &action)?;
    }
    Ok(())
}

/// Before 5.11 maps count against the locked-memory limit. Where raising it isn't allowed the load says so.
fn raise_memlock(release: (u32, u32)) {
    if release >= (5, 11) {
        return;
    }
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid pointer to a limit; it changes this process only.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "cannot raise the locked-memory limit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtrees_by_either_path() {
        let mount = tempfile::tempdir().unwrap();
        let inner = mount.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("cgroup.procs"), "").unwrap();
        std::fs::write(mount.path().join("cgroup.procs"), "").unwrap();
        let named = |path: Option<&Path>| subtree(mount.path(), path).map(|(_, cgroup)| cgroup.map(|(_, path)| path));
        assert_eq!(named(Some(Path::new("/a/b"))).unwrap().unwrap(), "/a/b");
        assert_eq!(named(Some(&inner)).unwrap().unwrap(), "/a/b");
        assert_eq!(named(None).unwrap(), None);
        let error = named(Some(Path::new("/missing"))).unwrap_err().to_string();
        assert!(error.contains("/missing") && error.contains("give a directory below"), "{error}");
    }
}
