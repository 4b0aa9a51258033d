//! `tracer cluster`: what every agent of the cluster knows, in one list.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::args::{self, Output};
use super::{Exit, output};
use crate::cluster::{Agents, Answer, Merged, incidents, merge};
use crate::k8s::watch::Source;
use crate::sink::Sink;
use crate::verdict::SCHEMA;

/// Ask every agent of the cluster through the Kubernetes API
#[derive(Args, Debug)]
pub struct Cluster {
    #[command(subcommand)]
    command: Command,
    /// Kubeconfig; by default `$KUBECONFIG`, the pod's service account, or `~/.kube/config`
    #[arg(long, value_name = "FILE", global = true)]
    kube: Option<PathBuf>,
    /// Labels of the agents' pods
    #[arg(long, value_name = "SELECTOR", default_value = "app.kubernetes.io/name=tracer", global = true)]
    selector: String,
    /// Namespace of the agents' pods; all by default
    #[arg(long, value_name = "NS", global = true)]
    agent_namespace: Option<String>,
    /// Port that the agents listen on
    #[arg(long, value_name = "PORT", default_value_t = 9464, global = true)]
    port: u16,
    /// How long an agent may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = args::duration, global = true)]
    timeout: Duration,
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
}

/// What an agent tells at most.
const MOST: usize = 1000;

#[derive(Debug, Subcommand)]
enum Command {
    /// Incidents of all nodes, joined where their paths go from node to node
    Incidents {
        /// Only those seen since a time, or within a duration (15m)
        #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
        since: Option<String>,
        /// Only those that touch this namespace
        #[arg(short, long, value_name = "NS")]
        namespace: Option<String>,
        /// Only those of this cause
        #[arg(long, value_name = "CAUSE")]
        cause: Option<String>,
        /// At most so many, the latest ones
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// How the agents fare
    Status,
}

impl Cluster {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let agents =
            Agents { namespace: self.agent_namespace, selector: self.selector, port: self.port, timeout: self.timeout };
        let path = self.command.path();
        let source = source(self.kube)?;
        let answers = runtime.block_on(async {
            let client = source.client().await?;
            agents.ask(&client, &path).await.context("cannot find the agents")
        })?;
        if answers.is_empty() {
            bail!("no pod has the labels `{}`; say with `--selector` which the agents have", agents.selector);
        }
        match self.command {
            Command::Incidents { namespace, cause, limit, .. } => {
                // What a node knows may be the missing part of another one's incident: selected is what was merged.
                let mut merged = merge(incidents(&answers));
                merged.retain(|Merged { incident, .. }| {
                    cause.as_ref().is_none_or(|cause| incident.cause.id == *cause)
                        && namespace.as_ref().is_none_or(|namespace| incident.touches(namespace))
                });
                merged.truncate(limit);
                print_incidents(&merged, &answers, self.output)?;
            }
            Command::Status => print_status(&answers, self.output)?,
        }
        let answered = answers.iter().any(|answer| answer.answer.is_ok());
        Ok(if answered { Exit::Fine } else { Exit::CannotRun })
    }
}

impl Command {
    /// What agents are asked for.
    fn path(&self) -> String {
        let Self::Incidents { since, .. } = self else { return "/v1/status".to_owned() };
        let since = since.as_ref().map(|since| format!("&since={}", escaped(since))).unwrap_or_default();
        format!("/v1/incidents?limit={MOST}{since}")
    }
}

/// Text that agents understand: each would refuse another one.
fn since(text: &str) -> Result<String, String> {
    if text.parse::<jiff::Timestamp>().is_ok() || args::duration(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected a time such as `2026-03-01T14:03:11Z` or a duration such as `15m`".to_owned())
}

/// For a query (RFC 3986 section 2.3).
fn escaped(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}

/// A person who types a command means their own kubeconfig.
fn source(given: Option<PathBuf>) -> anyhow::Result<Source> {
    let own = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config")).filter(|path| path.exists());
    given
        .map(Source::Kubeconfig)
        .or_else(Source::detect)
        .or_else(|| own().map(Source::Kubeconfig))
        .context("there is no kubeconfig; give one with `--kube FILE`")
}

fn print_incidents(merged: &[Merged], answers: &[Answer], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => {
            let mut out = io::stdout().lock();
            for incident in merged {
                let mut line = json!({"type": "incident", "schema": SCHEMA});
                if let (Some(line), serde_json::Value::Object(fields)) =
                    (line.as_object_mut(), serde_json::to_value(incident)?)
                {
                    line.extend(fields);
                }
                writeln!(out, "{line}")?;
            }
            agents_line(answers, &mut out)?;
        }
        Output::Text => {
            let mut sink = output::sink(output);
            merged.iter().try_for_each(|merged| sink.incident(&merged.incident))?;
            drop(sink);
            let mut out = anstream::stdout().lock();
            writeln!(out, "incidents: {}, of {} agents", merged.len(), answers.len())?;
            silent(answers, &mut out)?;
        }
    }
    Ok(())
}

fn print_status(answers: &[Answer], output: Output) -> io::Result<()> {
    match output {
        Output::Json => {
            let mut out = io::stdout().lock();
            for Answer { node, pod, answer } in answers {
                if let Ok(status) = answer {
                    let line = json!({"type": "agent", "schema": SCHEMA, "node": node, "pod": pod, "status": status});
                    writeln!(out, "{line}")?;
                }
            }
            agents_line(answers, &mut out)
        }
        Output::Text => {
            let mut out = anstream::stdout().lock();
            for Answer { node, pod, answer } in answers {
                let Ok(status) = answer else { continue };
                let ready = if status["ready"] == true { "ready" } else { "not ready" };
                let (lost, notes) = (&status["coverage"]["lost_events"], &status["coverage"]["notes"]);
                let memory = status["cost"]["resident_bytes"].as_u64().unwrap_or(0) >> 20;
                let hooks = status["hooks"].as_array().map_or(0, Vec::len);
                writeln!(
                    out,
                    "{node}  {pod}  {ready}  {hooks} hooks  {} incidents  {lost} lost  {memory} MiB",
                    status["incidents"]
                )?;
                for note in notes.as_array().into_iter().flatten().filter_map(|note| note.as_str()) {
                    writeln!(out, "  {}", crate::sink::escape::escape(note))?;
                }
            }
            silent(answers, &mut out)
        }
    }
}

/// Which agents answered, which of them had more than they were asked for, and which didn't.
fn agents_line(answers: &[Answer], out: &mut impl Write) -> io::Result<()> {
    let answered: Vec<_> = answers.iter().filter(|answer| answer.answer.is_ok()).map(|answer| &answer.node).collect();
    let failed: Vec<_> = answers
        .iter()
        .filter_map(|Answer { node, pod, answer }| {
            Some(json!({"node": node, "pod": pod, "reason": answer.as_ref().err()?}))
        })
        .collect();
    let truncated: Vec<_> = truncated(answers).collect();
    let line = json!({
        "type": "agents", "schema": SCHEMA, "answered": answered, "truncated": truncated, "failed": failed,
    });
    writeln!(out, "{line}")
}

/// Nodes whose agents have more incidents than they were asked for.
fn truncated(answers: &[Answer]) -> impl Iterator<Item = &String> {
    answers
        .iter()
        .filter(|Answer { answer, .. }| answer.as_ref().is_ok_and(|a| a["truncated"] == true))
        .map(|a| &a.node)
}

fn silent(answers: &[Answer], out: &mut impl Write) -> io::Result<()> {
    for node in truncated(answers) {
        writeln!(out, "{node} has more than {MOST} incidents, only the latest are here: ask with --since")?;
    }
    for Answer { node, pod, answer } in answers {
        if let Err(reason) = answer {
            writeln!(out, "{node} ({pod}) didn't answer: {}", crate::sink::escape::escape(reason))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_agent_understands_is_not_asked() {
        assert!(since("15m").is_ok() && since("2026-03-01T15:03:11+01:00").is_ok());
        for wrong in ["yesterday", "", "15", "-5m"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_is_escaped() {
        let command = Command::Incidents {
            since: Some("2026-03-01T15:03:11+01:00".to_owned()),
            namespace: Some("shop".to_owned()),
            cause: None,
            limit: 5,
        };
        assert_eq!(command.path(), "/v1/incidents?limit=1000&since=2026-03-01T15%3A03%3A11%2B01%3A00");
    }
}
