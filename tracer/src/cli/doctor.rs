//! `tracer doctor`: can the tracer run here, what will it miss, and what to do about it.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::host::HostRoot;
use crate::kernel::preflight::{self, Check, Report, Status};

/// Check this node: kernel, type information, cgroups, capabilities and hooks
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print text, or one JSON object per line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Directory where the host's file system is mounted
    #[arg(long, value_name = "DIR", default_value = "/", env = "TRACER_HOST_ROOT")]
    pub host_root: std::path::PathBuf,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl Doctor {
    /// Prints every check; true if nothing essential is missing.
    ///
    /// # Errors
    /// Where the output can't be written.
    pub fn run(&self) -> io::Result<bool> {
        let report = preflight::run(&HostRoot::new(&self.host_root));
        match self.output {
            Output::Text => text(&report, &mut anstream::stdout().lock())?,
            Output::Json => lines(&report, &mut io::stdout().lock())?,
        }
        Ok(report.ok())
    }
}

fn lines(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for Check { name, status, detail, remedy } in &report.checks {
        let mut line = json!({"type": "check", "name": name, "status": status.name(), "detail": detail});
        if let (Some(line), Some(remedy)) = (line.as_object_mut(), remedy) {
            line.insert("remedy".to_owned(), json!(remedy));
        }
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", json!({"type": "doctor", "ok": report.ok()}))?;
    out.flush()
}

fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    use anstyle::{AnsiColor, Style};
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for Check { name, status, detail, remedy } in &report.checks {
        // Understandable without colour: the sign differs too.
        let (sign, color) = match status {
            Status::Ok => ("✓", AnsiColor::Green),
            Status::Degraded => ("!", AnsiColor::Yellow),
            Status::Missing => ("✗", AnsiColor::Red),
        };
        let style: Style = color.on_default();
        writeln!(out, "{style}{sign}{style:#} {name:width$}  {detail}")?;
        if let Some(remedy) = remedy.as_ref().filter(|_| *status != Status::Ok) {
            writeln!(out, "  {:width$}  remedy: {remedy}", "")?;
        }
    }
    let count = |status| report.checks.iter().filter(|check| check.status == status).count();
    let (degraded, missing) = (count(Status::Degraded), count(Status::Missing));
    match (missing, degraded) {
        (0, 0) => writeln!(out, "\nthe tracer can run here, with every hook")?,
        (0, _) => writeln!(out, "\nthe tracer can run here; degraded: {degraded}")?,
        _ => writeln!(out, "\nthe tracer cannot run here; missing: {missing}, degraded: {degraded}")?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: Status) -> Report {
        let check = Check {
            name: "hook icmp_send".into(),
            status,
            detail: "this kernel has no tracepoint icmp_send".into(),
            remedy: Some("use a kernel that has it (6.8)".into()),
        };
        Report { checks: vec![check], ..Report::default() }
    }

    #[test]
    fn json_lines() {
        let mut out = Vec::new();
        lines(&report(Status::Degraded), &mut out).unwrap();
        let lines: Vec<serde_json::Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["status"], "degraded");
        assert_eq!(lines[0]["remedy"], "use a kernel that has it (6.8)");
        assert_eq!(lines[1], json!({"type": "doctor", "ok": true}));
    }

    #[test]
    fn a_missing_essential_is_not_ok() {
        let mut out = Vec::new();
        text(&report(Status::Missing), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("✗") && text.contains("remedy: use a kernel") && text.contains("cannot run"), "{text}");
    }
}
