//! One incident.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::label;
use super::layout::{KEYWORD, columns, cut, duration, keyword, span, time_of_day};
use crate::sink::escape::escape;
use crate::verdict::{Coverage, Evidence, Hop, Incident};

const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();

/// Names are cut to this where the terminal doesn't decide.
const LONGEST_NAME: usize = 120;
/// Lines shown of a stack trace.
const TRACE: usize = 8;
/// Where the confidence stands.
const CONFIDENCE: usize = 54;

/// One more occurrence of what was printed before.
pub(super) fn again(out: &mut impl Write, incident: &Incident) -> io::Result<()> {
    let Incident { count, symptom, cause, last_seen, .. } = incident;
    let origin = cause.origin.as_ref().map(label::origin).unwrap_or_default();
    let (time, symptom, id) = (time_of_day(last_seen), label::symptom(symptom), escape(&cause.id));
    writeln!(out, "{RED}×{count}{RED:#}  {symptom}  {id}  {origin}  {DIM}{time}{DIM:#}")
}

/// Everything about it.
pub(super) fn full(out: &mut impl Write, incident: &Incident, width: Option<usize>) -> io::Result<()> {
    heading(out, incident)?;
    path(out, incident, width)?;
    let cause = &incident.cause;
    let (id, confidence) = (escape(&cause.id), cause.confidence);
    let confidence_at = width.map_or(CONFIDENCE, |width| CONFIDENCE.min(width.saturating_sub(KEYWORD + 18)));
    writeln!(out, "  {BOLD}cause{BOLD:#}    {RED}{id:confidence_at$}{RED:#}confidence {confidence:.2}")?;
    keyword(out, "", &escape(&cause.summary), width)?;
    let mut word = "because";
    for evidence in incident.evidence.iter().filter(|evidence| evidence.kind != "link") {
        keyword(out, word, &escape(&evidence.text), width)?;
        // YAML keeps its lines.
        for line in evidence.fields.get("rule").and_then(|rule| rule.as_str()).into_iter().flat_map(str::lines) {
            writeln!(out, "             {}", escape(line))?;
        }
        trace(out, evidence)?;
        word = "";
    }
    let mut word = "next";
    for command in &incident.next {
        // Never broken: it's there to be copied.
        writeln!(out, "  {word:KEYWORD$}{CYAN}{}{CYAN:#}", escape(command))?;
        word = "";
    }
    if let Some(links) = links(incident) {
        keyword(out, "linked", &links, width)?;
    }
    keyword(out, "coverage", &coverage(&incident.coverage), width)?;
    writeln!(out)
}

/// The lines of a logged stack trace after its first, which the text holds.
fn trace(out: &mut impl Write, evidence: &Evidence) -> io::Result<()> {
    let lines = evidence.fields.get("lines").and_then(|lines| lines.as_array()).map_or(&[][..], Vec::as_slice);
    for line in lines.iter().skip(1).take(TRACE).filter_map(|line| line.as_str()) {
        writeln!(out, "             {}", escape(&cut(line, LONGEST_NAME)))?;
    }
    match lines.len().saturating_sub(1 + TRACE) {
        0 => Ok(()),
        more => writeln!(out, "             … {more} more lines"),
    }
}

fn heading(out: &mut impl Write, incident: &Incident) -> io::Result<()> {
    let symptom = label::symptom(&incident.symptom);
    let time = time_of_day(&incident.first_seen);
    write!(out, "{RED}✗{RED:#} {BOLD}{symptom:28}{BOLD:#}  {time}")?;
    if incident.count > 1 {
        write!(out, "   ×{}", incident.count)?;
        if let Some(span) = span(&incident.first_seen, &incident.last_seen) {
            write!(out, " in {span}")?;
        }
    }
    if let Some(node) = &incident.node {
        write!(out, "   {DIM}on {}{DIM:#}", escape(node))?;
    }
    writeln!(out)
}

/// The hops, each one deeper than the one that called it.
fn path(out: &mut impl Write, incident: &Incident, width: Option<usize>) -> io::Result<()> {
    let path = &incident.path;
    let deepest = path.len().saturating_sub(1);
    // Status and duration need about 24 columns beside the names.
    let room = width.map_or(LONGEST_NAME, |width| width.saturating_sub(26).max(24));
    let names: Vec<String> = path
        .iter()
        .enumerate()
        .map(|(depth, hop)| {
            let sign = if depth == deepest && !is_status(hop) { "✗ " } else { " " };
            let lead = match depth {
                0 => String::new(),
                _ => format!("{}└─{sign}", "   ".repeat(depth - 1)),
            };
            cut(&format!("{lead}{}", label::hop(hop)), room)
        })
        .collect();
    let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0).max(20);
    for (hop, name) in path.iter().zip(&names) {
        let took = hop.duration_ms.map(duration).unwrap_or_default();
        let called = label::called(hop).unwrap_or_default();
        let outcome = hop.outcome.as_deref().unwrap_or_default();
        let line = if is_status(hop) || outcome.is_empty() {
            format!("  {name:widest$}  {:>4}  {took:>8}   {called}", escape(outcome))
        } else {
            format!("  {name:widest$}  {}  {took}  {called}", escape(outcome))
        };
        writeln!(out, "{}", line.trim_end())?;
    }
    if let Some(origin) = &incident.cause.origin {
        let indent = 2 + 3 * deepest;
        writeln!(out, "{:indent$}{BOLD}→ origin{BOLD:#}  {RED}{}{RED:#}", "", label::origin(origin))?;
    }
    Ok(())
}

fn is_status(hop: &Hop) -> bool {
    hop.outcome.as_ref().is_some_and(|outcome| outcome.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How the hops are known to belong together: in the evidence's words, or by kind.
fn links(incident: &Incident) -> Option<String> {
    let told = incident.evidence.iter().filter(|e| e.kind == "link");
    let told: Vec<_> =
        told.map(|e| escape(e.text.strip_prefix("linked by ").unwrap_or(&e.text)).into_owned()).collect();
    if !told.is_empty() {
        return Some(told.join(" · "));
    }
    let kinds: Vec<_> = incident.path.iter().skip(1).filter_map(|hop| hop.link).map(label::link).collect();
    (!kinds.is_empty()).then(|| kinds.join(" · "))
}

fn coverage(coverage: &Coverage) -> String {
    let Coverage { lost_events, opaque_tls_processes, joined_connections, notes } = coverage;
    let mut parts = vec![format!("{lost_events} events lost")];
    match opaque_tls_processes {
        0 => {}
        1 => parts.push("1 process with opaque TLS".to_owned()),
        more => parts.push(format!("{more} processes with opaque TLS")),
    }
    match joined_connections {
        0 => {}
        1 => parts.push("1 connection joined in the middle".to_owned()),
        more => parts.push(format!("{more} connections joined in the middle")),
    }
    parts.extend(notes.iter().map(|note| escape(note).into_owned()));
    parts.join(" · ")
}
