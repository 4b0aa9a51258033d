//! Debian's packages, installed without starting what is in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{has_program, require_root, say};
use crate::cargo;

/// Whether the distribution has all of these. Fresh lists are asked for in any case: of what is updated in place, old ones
/// offer an old version.
pub(super) fn offers(packages: &[&str]) -> Result<bool> {
    if !has_program("apt-get") {
        return Ok(false);
    }
    update()?;
    Ok(known(packages))
}

pub(super) fn install(packages: &[&str], reason: &str) -> Result<()> {
    let list = packages.join(" ");
    if !has_program("apt-get") {
        bail!("missing: {reason}; there is no `apt-get` here, so install what your system calls {list}");
    }
    require_root(&list)?;
    say(&format!("installing {list}: {reason}"));
    if !known(packages) {
        update()?;
    }
    let services = ServicesStayDown::new()?;
    let args = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    if cargo::run(apt_get(&args).args(packages)).is_err() {
        // Lists age: what they name may have been replaced by a newer version since.
        update()?;
        cargo::run(apt_get(&args).args(packages))?;
    }
    services.disable(packages);
    Ok(())
}

fn update() -> Result<()> {
    require_root("packages")?;
    say("refreshing the package lists, since the present ones may not have what is needed");
    cargo::run(&mut apt_get(&["update"]))
}

/// Whether the package lists offer every one of these for installation.
fn known(packages: &[&str]) -> bool {
    let mut simulate = Command::new("apt-get");
    simulate.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
    simulate.stdout(Stdio::null()).stderr(Stdio::null());
    simulate.status().is_ok_and(|status| status.success())
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = cargo::program(Path::new("apt-get"));
    command
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "--quiet"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        // Standard output belongs to the command that setup runs for.
        .stdout(std::io::stderr());
    command
}

/// While this lives, maintainer scripts may not start services. A policy that the machine already has stays as it is.
struct ServicesStayDown {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl ServicesStayDown {
    fn new() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(
                POLICY,
                "#!/bin/sh\n# Written by `cargo xtask setup`, which removes it when it ends.\nexit 101\n",
            )
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .context(POLICY)?;
        }
        Ok(Self { ours })
    }

    /// Nor are they to start with the machine. Only what was installed just now is touched.
    fn disable(&self, packages: &[&str]) {
        const SERVICES: &[(&str, &str)] =
            &[("nginx-light", "nginx"), ("haproxy", "haproxy"), ("unbound", "unbound"), ("prometheus", "prometheus")];
        for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
            if has_program("systemctl") {
                let disabled = cargo::output(cargo::program(Path::new("systemctl")).args(["disable", service]));
                if let Err(error) = disabled {
                    say(&format!("{service} may start with the machine: {error:#}"));
                }
            }
        }
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            say(&format!("remove {POLICY} by hand: {error}"));
        }
    }
}
