//! Programs that do nothing, at the packet hooks: what the kernel's calling them costs.

use std::{fs, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, Result};
use tracer_tests::program::{Hook, Program};

/// `r0 = 1; exit`: allow.
const ALLOW: [u64; 2] = [0x1_0000_00b7, 0x95];

/// Attached while it lives.
pub(crate) struct Empty([Program; 2]);

impl Empty {
    pub(crate) fn attach(cgroup: &Path) -> Result<Self> {
        let attach = |hook| Program::attach(hook, &ALLOW, cgroup).context("cannot attach an empty program");
        Ok(Self([attach(Hook::Ingress)?, attach(Hook::Egress)?]))
    }

    /// Mean time of a run, as the kernel's statistics read it.
    pub(crate) fn nanoseconds(&self) -> Result<f64> {
        let (mut runs, mut time) = (0.0, 0.0);
        for program in &self.0 {
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.fd.as_raw_fd()))?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            runs += field("run_cnt:").context("this kernel doesn't count runs")?;
            time += field("run_time_ns:").context("this kernel doesn't measure runs")?;
        }
        Ok(time / runs)
    }
}
