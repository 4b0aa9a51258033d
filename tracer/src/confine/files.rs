//! What of the file system the threads that face the network may open.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::ConfineError;

/// What a newer kernel can restrict beyond this isn't asked for.
const ABI: ABI = landlock::ABI::V6;

/// Where names are resolved, credentials are kept and certificates are trusted, and this process' own numbers.
const READ: &[&str] = &["/etc", "/usr/share/ca-certificates", "/var/run/secrets", "/run/secrets", "/proc/self"];

/// From here on this thread, and those that it starts, open only these files; listen on no further TCP port; and signal
/// nobody outside. What the kernel is too old for is left out.
///
/// # Errors
/// Where the kernel refuses.
pub fn restrict_files(read: &[PathBuf], write: &[PathBuf]) -> Result<bool, ConfineError> {
    let restrict = || {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI))?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::Signal)?
            .create()?;
        // What doesn't exist needs no permission.
        let own = READ.iter().map(Path::new).chain(read.iter().map(PathBuf::as_path));
        for file in own.filter_map(|path| PathFd::new(path).ok()) {
            rules = rules.add_rule(PathBeneath::new(file, AccessFs::from_read(ABI)))?;
        }
        for directory in write.iter().filter_map(|path| PathFd::new(path).ok()) {
            rules = rules.add_rule(PathBeneath::new(directory, AccessFs::from_all(ABI) & !AccessFs::Execute))?;
        }
        rules.restrict_self()
    };
    let status = restrict().map_err(|error: landlock::RulesetError| ConfineError::new("restrict files", error))?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_can_be_opened_and_only_by_this_thread() {
        let (mine, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(others.path().join("secret"), "x").unwrap();
        std::thread::scope(|scope| {
            let restricted = scope.spawn(|| {
                if !restrict_files(&[], &[mine.path().to_owned()]).unwrap() {
                    return;
                }
                std::fs::write(mine.path().join("a"), "x").unwrap();
                std::fs::rename(mine.path().join("a"), mine.path().join("b")).unwrap();
                std::fs::read_dir("/proc/self/fd").unwrap();
                assert!(std::fs::read(others.path().join("secret")).is_err());
                assert!(std::fs::read("/proc/1/environ").is_err());
            });
            restricted.join().unwrap();
        });
        std::fs::read(others.path().join("secret")).unwrap();
    }
}
