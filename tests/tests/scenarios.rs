//! Every scenario under the real tracer: `TRACER_BIN=… cargo test -p tracer-tests --test scenarios [-- FILTER…]`.
//!
//! With `--live` the tracer has the cluster's state from an API server instead of a dump; with `--sample` only some run.
//! With `--traffic-only` the scenarios run without a tracer, to see that their clusters break as they say; with
//! `--planned` those of `scenarios/planned/` run, whose causes the tracer doesn't know yet.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use tracer_tests::{
    cluster::clean_up_on_signals,
    scenario::{Outcome, Scenario, State, run},
};

/// What `--sample` runs: a verdict from each kind of object.
const SAMPLE: [&str; 6] = [
    "app-error-deep",
    "network-policy-drop-egress",
    "not-ready",
    "selector-mismatch",
    "service-no-endpoints-v6",
    "wrong-target-port",
];

/// A scenario waits more than it works, and each has a cluster and a cgroup subtree of its own.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    match all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn all() -> Result<bool> {
    clean_up_on_signals()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, filters): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| argument.starts_with('-'));
    let has = |name: &str| options.iter().any(|option| *option == name);
    let mut files = files(if has("--planned") { "scenarios/planned" } else { "scenarios" })?;
    files.retain(|file| match filters.is_empty() {
        true => !has("--sample") || SAMPLE.contains(&name(file).as_str()),
        false => matches(file, &filters),
    });
    if has("--list") {
        files.iter().for_each(|file| println!("{}: test", name(file)));
        return Ok(true);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the scenarios need root");
    }
    let tracer = if has("--traffic-only") {
        None
    } else {
        let path = std::env::var_os("TRACER_BIN").context("TRACER_BIN doesn't name the tracer binary")?;
        Some(std::fs::canonicalize(&path).with_context(|| format!("no tracer at {}", path.display()))?)
    };
    println!("running {} scenarios, {AT_ONCE} at a time", files.len());
    let state = if has("--live") { State::Live } else { State::Dump };
    let mut failed = run_all(&files, tracer.as_deref(), state);
    failed.sort();
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(" "));
    }
    println!("\n{} passed, {} failed", files.len() - failed.len(), failed.len());
    Ok(failed.is_empty())
}

/// The names of those that failed.
fn run_all(files: &[PathBuf], tracer: Option<&Path>, state: State) -> Vec<String> {
    let queue = Mutex::new(files.iter());
    let failed = Mutex::new(vec![]);
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(file) = next else { return };
            let (passed, report) = one(file, tracer, state);
            // In one piece, so that reports don't mix.
            print!("{report}");
            if !passed {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(name(file));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it passed, and what there is to say.
fn one(file: &Path, tracer: Option<&Path>, state: State) -> (bool, String) {
    let name = name(file);
    match Scenario::read(file).and_then(|scenario| run(&scenario, tracer, state)) {
        Ok(Outcome { problems, elapsed, .. }) if problems.is_empty() => {
            (true, format!("ok   {name} ({:.1} s)\n", elapsed.as_secs_f32()))
        }
        Ok(Outcome { problems, incidents, elapsed }) => {
            let mut report = format!("FAIL {name} ({:.1} s)\n", elapsed.as_secs_f32());
            let incidents = incidents.iter().map(|incident| format!("incident: {incident}"));
            for line in problems.into_iter().chain(incidents) {
                let _ = writeln!(report, "  {line}");
            }
            (false, report)
        }
        Err(error) => (false, format!("FAIL {name}\n  {error:#}\n")),
    }
}

fn files(directory: &str) -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

fn matches(file: &Path, filters: &[&String]) -> bool {
    filters.iter().any(|filter| name(file).contains(filter.as_str()))
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
