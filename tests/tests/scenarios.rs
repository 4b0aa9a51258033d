//! Every scenario under the real tracer: `TRACER_BIN=… cargo test -p tracer-tests --test scenarios [-- FILTER…]`.
//!
//! With `--traffic-only` the scenarios run without a tracer, to see that their clusters break as they say.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use tracer_tests::{
    cluster::clean_up_on_signals,
    scenario::{Outcome, Scenario, run},
};

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
    let files: Vec<_> = files()?.into_iter().filter(|file| filters.is_empty() || matches(file, &filters)).collect();
    if options.iter().any(|option| *option == "--list") {
        files.iter().for_each(|file| println!("{}: test", name(file)));
        return Ok(true);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the scenarios need root");
    }
    let tracer = if options.iter().any(|option| *option == "--traffic-only") {
        None
    } else {
        let path = std::env::var_os("TRACER_BIN").context("TRACER_BIN doesn't name the tracer binary")?;
        Some(std::fs::canonicalize(&path).with_context(|| format!("no tracer at {}", path.display()))?)
    };
    let failed: Vec<_> = files.iter().filter(|file| !one(file, tracer.as_deref())).map(|file| name(file)).collect();
    println!("\n{} scenarios, {} failed: {}", files.len(), failed.len(), failed.join(" "));
    Ok(failed.is_empty() && !files.is_empty())
}

fn one(file: &Path, tracer: Option<&Path>) -> bool {
    let result = Scenario::read(file).and_then(|scenario| run(&scenario, tracer));
    match result {
        Ok(Outcome { problems, elapsed, .. }) if problems.is_empty() => {
            println!("ok   {} ({:.1} s)", name(file), elapsed.as_secs_f32());
            true
        }
        Ok(Outcome { problems, incidents, elapsed }) => {
            println!("FAIL {} ({:.1} s)", name(file), elapsed.as_secs_f32());
            problems.iter().for_each(|problem| println!("  {problem}"));
            incidents.iter().for_each(|incident| println!("  incident: {incident}"));
            false
        }
        Err(error) => {
            println!("FAIL {}\n  {error:#}", name(file));
            false
        }
    }
}

fn files() -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files = std::fs::read_dir(&directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
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
