//! Rules about the files themselves.

use std::fs;

use anyhow::{Result, bail};

use crate::cargo;

/// A source file longer than this is split.
const MAX_LINES: usize = 400;

/// Longer files that are right as they are, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What no committed file may contain. In two halves, so that this file passes.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/work", "/", "a path of one developer's machine"),
    ("shared", "/design", "a document that is not in the repository"),
    ("shared", "/style", "a document that is not in the repository"),
    ("shared", "/hooks", "a document that is not in the repository"),
    ("kernel-facts", ".md", "a document that is not in the repository"),
];

/// How the hosts of package registries and their mirrors are called. Where packages come from is the machine's setting,
/// not ours.
const REGISTRY_LABELS: &[&str] = &["registry", "index", "static", "deb", "pypi", "proxy", "mirror", "mirrors"];

pub(crate) fn check() -> Result<()> {
    let mut faults = Vec::new();
    for file in tracked()? {
        // Binary files and files deleted but not committed have no lines to judge.
        let Ok(text) = fs::read_to_string(cargo::root().join(&file)) else { continue };
        faults.extend(judge(&file, &text));
    }
    if !faults.is_empty() {
        bail!("{} files break a rule:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(())
}

fn judge(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    let listed = LONG_FILES.iter().any(|(name, _)| *name == file);
    if file.ends_with(".rs") && lines > MAX_LINES && !listed {
        faults.push(format!("{file}: {lines} lines, more than {MAX_LINES}: split it"));
    }
    // The lock file says where crates come from, and cargo writes it.
    if file.ends_with("Cargo.lock") {
        return faults;
    }
    for (head, tail, what) in FORBIDDEN {
        let word = format!("{head}{tail}");
        if let Some(at) = text.lines().position(|line| line.contains(&word)) {
            faults.push(format!("{file}:{}: `{word}` is {what}", at + 1));
        }
    }
    if let Some((at, host)) = text.lines().enumerate().find_map(|(at, line)| Some((at, registry_host(line)?))) {
        faults.push(format!("{file}:{}: `{host}` is the host of a package registry", at + 1));
    }
    faults
}

/// The host of the first address in a line that is named as registries are.
fn registry_host(line: &str) -> Option<&str> {
    line.split("://").skip(1).find_map(|rest| {
        let host = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-').next()?;
        let (label, domain) = host.split_once('.')?;
        (REGISTRY_LABELS.contains(&label) && domain.contains('.')).then_some(host)
    })
}

fn tracked() -> Result<Vec<String>> {
    let list = cargo::output(cargo::program("git".as_ref()).args(["ls-files", "-z"]))?;
    Ok(list.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_source_file_is_a_fault_and_a_long_document_is_not() {
        let text = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(judge("a.rs", &text).len(), 1);
        assert!(judge("a.md", &text).is_empty());
        assert!(judge("a.rs", &"x\n".repeat(MAX_LINES)).is_empty());
    }

    #[test]
    fn a_forbidden_word_is_named_with_its_line() {
        let (head, tail, _) = FORBIDDEN[0];
        let faults = judge("a.md", &format!("fine\nsee {head}{tail}x\n"));
        assert!(faults[0].starts_with("a.md:2: "), "{faults:?}");
    }

    #[test]
    fn a_registry_is_known_by_its_first_label() {
        assert_eq!(registry_host(&format!("get https{}index.example.org/x", "://")), Some("index.example.org"));
        assert_eq!(registry_host("image: registry.example/tracer:1"), None);
        assert_eq!(registry_host("see https://docs.example.org/index.html"), None);
    }
}
