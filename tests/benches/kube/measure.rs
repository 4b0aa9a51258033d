//! What this process uses.

use std::hash::{BuildHasher, Hash};
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// In bytes.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

pub(crate) fn memory() -> Result<Memory> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib << 10)
    };
    Ok(Memory { resident: field("VmRSS")?, peak: field("VmHWM")? })
}

pub(crate) fn processor_time() -> Result<Duration> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_usec()).unwrap_or_default() * 1000)
    };
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The same order in every run, and no order at all.
pub(crate) fn scattered(value: &impl Hash) -> u64 {
    std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(value)
}

/// The mean time of one call.
pub(crate) fn each<T>(items: &[T], call: impl Fn(&T) -> bool) -> Duration {
    const ROUNDS: u32 = 20;
    items.iter().for_each(|item| _ = black_box(call(item)));
    let started = Instant::now();
    for _ in 0..ROUNDS {
        items.iter().for_each(|item| _ = black_box(call(item)));
    }
    started.elapsed() / ROUNDS / u32::try_from(items.len().max(1)).unwrap_or(u32::MAX)
}
