//! How the tasks call cargo and other programs: from the workspace root, without what `cargo run` left in our
//! environment (a nested cargo would take it for its own and rebuild).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace root.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs us.
pub(crate) fn path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = program(&path());
    command.args(args);
    command
}

pub(crate) fn program(path: &Path) -> Command {
    const LEFT_BY_CARGO_RUN: &[&str] =
        &["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    let mut command = Command::new(path);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if LEFT_BY_CARGO_RUN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    // `ip`, `nft` and the servers are in directories that an ordinary user's PATH leaves out.
    let path = env::var("PATH").unwrap_or_default();
    let missing = ["/usr/sbin", "/sbin"].iter().filter(|dir| !path.split(':').any(|entry| entry == **dir));
    command.env("PATH", missing.fold(path.clone(), |path, dir| format!("{path}:{dir}")));
    command
}

/// Runs a command with our own standard streams; an error tells the command and how it ended.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("can't run `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command for what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("can't run `{}`", shown(command)))?;
    if !out.status.success() {
        bail!("`{}` failed ({}): {}", shown(command), out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(name.to_string_lossy()).chain(args).collect::<Vec<_>>().join(" ")
}
