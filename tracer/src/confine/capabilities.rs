//! Capabilities of the calling thread; threads that it starts inherit them.

use caps::{CapSet, Capability, CapsHashSet};

use super::ConfineError;

/// Before, every `bpf(2)` call needs CAP_BPF where `kernel.unprivileged_bpf_disabled` is set; from here on only those
/// that load and create (c8644cd0efe7, in 5.19).
const MAPS_ARE_FREE: (u32, u32) = (6, 0);

/// Keeps what looking at processes and reading maps needs; what attached the programs goes.
///
/// # Errors
/// Where the kernel refuses.
pub fn keep_for_observing(release: (u32, u32)) -> Result<CapsHashSet, ConfineError> {
    let mut needed = CapsHashSet::from([Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH]);
    if release < MAPS_ARE_FREE {
        needed.insert(Capability::CAP_BPF);
    }
    keep(&needed)
}

/// Keeps none.
///
/// # Errors
/// Where the kernel refuses.
pub fn drop_all() -> Result<(), ConfineError> {
    keep(&CapsHashSet::new()).map(drop)
}

/// Of the capabilities held, keeps these.
fn keep(wanted: &CapsHashSet) -> Result<CapsHashSet, ConfineError> {
    let drop = || {
        let held = caps::read(None, CapSet::Permitted)?;
        let kept: CapsHashSet = held.intersection(wanted).copied().collect();
        caps::clear(None, CapSet::Inheritable)?;
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)?;
        Ok(kept)
    };
    drop().map_err(|error: caps::errors::CapsError| ConfineError::new("give up capabilities", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread of its own: what is given up doesn't come back.
    fn alone(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    fn held(set: CapSet) -> CapsHashSet {
        caps::read(None, set).unwrap()
    }

    #[test]
    fn nothing_is_kept_that_was_not_held() {
        let before = held(CapSet::Permitted);
        alone(|| {
            let kept = keep_for_observing((6, 1)).unwrap();
            assert!(kept.len() <= 2 && kept.is_subset(&before));
            assert_eq!(held(CapSet::Effective), kept);
            assert_eq!(held(CapSet::Permitted), kept);
            drop_all().unwrap();
            assert!(held(CapSet::Permitted).is_empty() && keep_for_observing((5, 10)).unwrap().is_empty());
        });
        assert_eq!(held(CapSet::Permitted), before, "other threads keep theirs");
    }
}
