//! Debian's packages, installed without starting what is in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
    update(&[])?;
    Ok(known(&[], packages))
}

pub(super) fn install(packages: &[&str], reason: &str) -> Result<()> {
    let list = packages.join(" ");
    if !has_program("apt-get") {
        bail!("missing: {reason}; there is no `apt-get` here, so install what your system calls {list}");
    }
    require_root(&list)?;
    say(&format!("installing {list}: {reason}"));
    if !known(&[], packages) {
        update(&[])?;
    }
    let mut from = Vec::new();
    if !known(&[], packages)
        && let Some(backports) = backports()?
    {
        say("taking them from the release's backports: another package of theirs has come from there");
        update(&backports)?;
        from = backports;
    }
    let services = ServicesStayDown::new()?;
    if cargo::run(apt_get(&from, INSTALL).args(packages)).is_err() {
        // Lists age: what they name may have been replaced by a newer version since.
        update(&from)?;
        cargo::run(apt_get(&from, INSTALL).args(packages))?;
    }
    services.disable(packages);
    Ok(())
}

/// What is there stays.
const INSTALL: &[&str] = &["install", "--yes", "--no-install-recommends", "--no-remove"];

fn update(from: &[String]) -> Result<()> {
    require_root("packages")?;
    say("refreshing the package lists, since the present ones may not have what is needed");
    cargo::run(&mut apt_get(from, &["update"]))
}

/// Whether every one of these can be installed by the package lists, and nothing has to go for it.
fn known(from: &[String], packages: &[&str]) -> bool {
    let mut simulate = apt_get(from, INSTALL);
    simulate.arg("--simulate").args(packages).stdout(Stdio::null()).stderr(Stdio::null());
    simulate.status().is_ok_and(|status| status.success())
}

/// The options by which apt knows the backports of this release, too, in lists of its own: the machine's stay as they are.
fn backports() -> Result<Option<Vec<String>>> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let (Some(codename), Some(mirror)) = (codename, mirror("debian")) else { return Ok(None) };
    let home = cargo::target_dir().join("apt");
    let (lists, sources) = (home.join("lists"), home.join("sources.list"));
    fs::create_dir_all(lists.join("partial")).with_context(|| lists.display().to_string())?;
    let own = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let entry = format!("{own}\ndeb [signed-by={KEYRING}] {mirror} {codename}-backports main\n");
    fs::write(&sources, entry).with_context(|| sources.display().to_string())?;
    Ok(Some(vec![
        format!("-oDir::Etc::SourceList={}", sources.display()),
        format!("-oDir::State::Lists={}", lists.display()),
        format!("-oAPT::Default-Release={codename}-backports"),
    ]))
}

pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the machine's own apt gets an archive of Debian's (`debian`, `debian-security`) from.
pub(crate) fn mirror(archive: &str) -> Option<String> {
    let directory = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    [PathBuf::from("/etc/apt/sources.list")].into_iter().chain(directory).find_map(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut hosts = text.split_whitespace().filter(|word| word.contains("://"));
        hosts.find(|url| url.trim_end_matches('/').ends_with(&format!("/{archive}"))).map(str::to_owned)
    })
}

fn apt_get(from: &[String], args: &[&str]) -> Command {
    let mut command = cargo::program(Path::new("apt-get"));
    command
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "--quiet"])
        .args(from)
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
