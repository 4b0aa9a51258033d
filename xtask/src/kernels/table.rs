//! `docs/kernels.md`: which hook works in which kernel, from what the tracer said there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::machine::Parts;

const HEAD: &str = "# Kernels\n\n\
    Written by `cargo xtask kernels`, which boots Debian's kernels in QEMU and runs in each of them the real binary, the\n\
    hook tests and the demo's four faults. One binary for all: what a kernel has is found out when the tracer starts.\n\n";

/// One kernel.
pub(super) struct Column {
    release: String,
    hooks: Vec<(String, State)>,
    tests: String,
    failed: Vec<String>,
    /// The hook tests of sockets older than the tracer passed.
    existing: bool,
    faults: BTreeMap<String, bool>,
}

enum State {
    Works,
    /// Attached, with less to say.
    Degraded(String),
    Absent(String),
}

impl Column {
    pub(super) fn new(parts: &Parts) -> Result<Self> {
        let release = parts.get("release").map_or("", |(text, _)| text.trim());
        let lines = |name: &str| {
            let text = parts.get(name).map_or("", |(text, _)| text.as_str());
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
        };
        let ready = lines("capture").into_iter().find(|line| line["type"] == "ready");
        let ready = ready.with_context(|| {
            let said = parts.get("capture").map_or("nothing", |(text, _)| text);
            format!("a kernel has no run in which the tracer was ready ({release}: {said}); run `cargo xtask kernels`")
        })?;
        let attached =
            |name: &str| ready["hooks"].as_array().is_some_and(|hooks| hooks.iter().any(|hook| hook == name));
        let hook = |check: &Value| {
            let name = check["name"].as_str()?.strip_prefix("hook ")?.to_owned();
            let detail = check["detail"].as_str().unwrap_or_default().to_owned();
            let state = match (attached(&name), check["status"] == "ok") {
                (true, true) => State::Works,
                (true, false) => State::Degraded(detail),
                (false, _) => State::Absent(detail),
            };
            Some((name, state))
        };
        let tests = parts.get("hook-tests").map_or("", |(text, _)| text);
        let result = tests.lines().find(|it| it.starts_with("test result:"));
        let faults = lines("demo").into_iter().filter(|line| line["type"] == "fault");
        Ok(Self {
            release: release.to_owned(),
            hooks: lines("doctor").iter().filter_map(hook).collect(),
            tests: result.map_or_else(|| "no result".to_owned(), counts),
            failed: failed(tests),
            existing: passed(tests, "existing::"),
            faults: faults.filter_map(|it| Some((it["fault"].as_str()?.to_owned(), it["ok"] == true))).collect(),
        })
    }

    fn state(&self, hook: &str) -> Option<&State> {
        self.hooks.iter().find(|(name, _)| name == hook).map(|(_, state)| state)
    }
}

/// `test result: ok. 78 passed; 0 failed; …` is `78 of 78`.
fn counts(line: &str) -> String {
    let number = |what: &str| {
        let before = line.split(what).next()?;
        before.split_whitespace().last()?.parse::<u32>().ok()
    };
    let (passed, failed) = (number(" passed").unwrap_or(0), number(" failed").unwrap_or(0));
    format!("{passed} of {}", passed + failed)
}

/// Whether all tests of a group passed, and there are any.
fn passed(text: &str, group: &str) -> bool {
    let of_group = || text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_prefix(group));
    of_group().next().is_some() && of_group().all(|line| line.ends_with(" ... ok"))
}

/// Names of the tests that failed: the last list before the result, one a line.
fn failed(text: &str) -> Vec<String> {
    let list = text.rsplit_once("\nfailures:\n").map_or("", |(_, list)| list);
    let names = list.lines().map_while(|line| line.strip_prefix("    "));
    names.map(str::to_owned).collect()
}

/// The whole document: kernels, and what nodes say that lack something.
pub(super) fn document(columns: &[Column], degraded: &[(&str, Parts)]) -> String {
    let mut text = HEAD.to_owned();
    row(&mut text, "", columns.iter().map(|column| column.release.clone()));
    row(&mut text, "---", columns.iter().map(|_| "---".to_owned()));
    let mut notes = Vec::new();
    let hooks = columns.iter().max_by_key(|column| column.hooks.len()).map_or(&[][..], |column| &column.hooks);
    for (hook, _) in hooks {
        let cells: Vec<_> = columns
            .iter()
            .map(|column| match column.state(hook) {
                Some(State::Works) => "works".to_owned(),
                Some(State::Degraded(detail)) => format!("degraded{}", note(&mut notes, hook, detail)),
                Some(State::Absent(detail)) => format!("absent{}", note(&mut notes, hook, detail)),
                None => "unknown".to_owned(),
            })
            .collect();
        row(&mut text, &format!("`{hook}`"), cells.into_iter());
    }
    let tests: Vec<_> = columns
        .iter()
        .map(|Column { tests, failed, .. }| match failed.as_slice() {
            [] => tests.clone(),
            failed => format!("{tests}{}", note(&mut notes, "hook tests", &format!("failed: {}", failed.join(", ")))),
        })
        .collect();
    row(&mut text, "hook tests", tests.into_iter());
    let existing = |column: &Column| if column.existing { "known" } else { "**not known**" }.to_owned();
    row(&mut text, "sockets older than the tracer", columns.iter().map(existing));
    let faults: Vec<_> = columns.first().map(|column| column.faults.keys().collect()).unwrap_or_default();
    for fault in faults {
        let cell = |column: &Column| match column.faults.get(fault) {
            Some(true) => "explained".to_owned(),
            Some(false) | None => "**not explained**".to_owned(),
        };
        row(&mut text, &format!("demo: {fault}"), columns.iter().map(cell));
    }
    text.push_str("\nWhat the numbers cost:\n\n");
    for (number, (hook, detail)) in (1..).zip(&notes) {
        let _ = writeln!(text, "{number}. `{hook}`: {detail}");
    }
    text.push_str("\nNodes that lack what nothing works without; each ends with exit code 3, and says why:\n\n");
    for (name, parts) in degraded {
        let said =
            parts.get("capture").and_then(|(text, _)| text.lines().find_map(|line| line.strip_prefix("error: ")));
        let ran = parts.get("advised").is_some_and(|(_, code)| *code == 0);
        let then = if ran { " Once that is done, it runs." } else { "" };
        let _ = writeln!(text, "- {name}: \"{}\".{then}", said.unwrap_or("not tried"));
    }
    text
}

/// The number of a footnote; the same words are the same note.
fn note(notes: &mut Vec<(String, String)>, hook: &str, detail: &str) -> String {
    let same = |(name, text): &(String, String)| name == hook && text == detail;
    let at = notes.iter().position(same).unwrap_or_else(|| {
        notes.push((hook.to_owned(), detail.to_owned()));
        notes.len() - 1
    });
    format!(" ({})", at + 1)
}

fn row(text: &mut String, head: &str, cells: impl Iterator<Item = String>) {
    let _ = writeln!(text, "| {head} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_tests() {
        assert_eq!(counts("test result: FAILED. 75 passed; 3 failed; 0 ignored"), "75 of 78");
    }

    #[test]
    fn names_of_failed_tests() {
        let text =
            "failures:\n\n---- a::b stdout ----\nleft\n\n\nfailures:\n    a::b\n    c::d\n\ntest result: FAILED.";
        assert_eq!(failed(text), ["a::b", "c::d"]);
        assert!(failed("test result: ok.").is_empty());
        let text = "test a::b ... ok\ntest c::d ... FAILED\n";
        assert!(passed(text, "a::") && !passed(text, "c::") && !passed(text, "e::"));
    }

    #[test]
    fn a_column_from_what_was_printed() {
        let parts = Parts::from([
            ("capture".to_owned(), (r#"{"type":"ready","hooks":["a","b"],"skipped":["c"]}"#.to_owned(), 0)),
            (
                "doctor".to_owned(),
                (
                    "{\"name\":\"hook a\",\"status\":\"ok\"}\n{\"name\":\"hook b\",\"status\":\"degraded\",\"detail\":\"half\"}\n\
                     {\"name\":\"hook c\",\"status\":\"degraded\",\"detail\":\"gone\"}"
                        .to_owned(),
                    0,
                ),
            ),
        ]);
        let text = document(&[Column::new(&parts).unwrap()], &[]);
        assert!(text.contains("| `a` | works |") && text.contains("| `b` | degraded (1) |"), "{text}");
        assert!(text.contains("| `c` | absent (2) |") && text.contains("2. `c`: gone"), "{text}");
    }
}
