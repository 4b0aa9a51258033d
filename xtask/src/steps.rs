//! A run of named steps: announced, timed, stopped at the first that fails, summed up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n==> {name}");
        let start = Instant::now();
        let result = work().with_context(|| format!("step `{name}`"));
        self.done.push((name, start.elapsed()));
        if result.is_err() {
            eprintln!("\nThe last of {} steps failed:", self.done.len());
            self.times();
        }
        result
    }

    pub(crate) fn summary(&self) {
        eprintln!("\nAll {} steps passed:", self.done.len());
        self.times();
    }

    fn times(&self) {
        let total: Duration = self.done.iter().map(|(_, time)| time).sum();
        for (name, time) in self.done.iter().chain([&("total", total)]) {
            eprintln!("  {name:<24} {:>7.1} s", time.as_secs_f64());
        }
    }
}
