//! What the node said of a chain's end, as evidence: lines of its log, and resources that run short.

use super::{Context, Evidence, Judgement, cause, evidence};
use crate::{
    correlate::{Chain, Leaf},
    event::{CpuThrottling, Descriptors, LogEntry, Memory, Pressure, Rule, Volume},
};

/// Messages shown of one container's log.
const SHOWN: usize = 3;
/// Of a message's first line in the text; the whole message is a field of its own.
const FIRST_LINE: usize = 200;
/// Scarce enough to be told beside another cause.
const DESCRIPTORS: f64 = 0.8;
const MEMORY: f64 = 0.9;
const CPU: f64 = 0.1;
const VOLUME: f64 = 0.95;
const PRESSURE: f64 = 10.0;

/// Adds what no rule has told yet.
pub(super) fn attach(judgement: &mut Judgement, chain: &Chain<'_>, context: &Context<'_>) {
    let around = &chain.around;
    let mut found: Vec<Evidence> = Vec::new();
    if let Some(resources) = &around.resources {
        found.extend(resources.descriptors.filter(|d| share(d.open, d.limit) >= DESCRIPTORS).map(descriptors));
        found.extend(resources.cpu.filter(|c| throttled_share(*c) >= CPU).map(|c| cpu(context, c)));
        found.extend(resources.memory.filter(|m| share(m.used, m.limit) >= MEMORY).map(memory));
        found.extend(resources.pressure.iter().filter(|p| p.some_avg10 >= PRESSURE).map(pressure));
        let scarce = |v: &&Volume| v.refusing.is_some() || used_share(v) >= VOLUME;
        found.extend(resources.volumes.iter().filter(scarce).map(volume));
    }
    found.retain(|new| judgement.evidence.iter().all(|old| old.kind != new.kind));
    judgement.evidence.extend(found);
    if [cause::FIREWALL_DROP, cause::FIREWALL_REJECT, cause::NETWORK_POLICY_DROP].contains(&judgement.cause) {
        judgement.evidence.extend(around.rule.as_ref().map(rule));
    }
    let ids = ids(&chain.leaf);
    for (container, entries) in &around.logs {
        judgement.evidence.extend(pick(entries, &ids).into_iter().map(|entry| log(context, container, entry)));
    }
    if around.omitted > 0 {
        let text = format!("{} more messages were logged meanwhile than are read", around.omitted);
        judgement.evidence.push(evidence("log", None, text));
    }
}

/// The ids of the failed request: what is logged with one of them is about it.
fn ids(leaf: &Leaf<'_>) -> Vec<String> {
    let Leaf::Server(leaf) = leaf else { return Vec::new() };
    let ids = leaf.exchange.request.iter().flat_map(|head| &head.ids);
    // Of a traceparent, the trace id is what is logged.
    let value = |(name, value): &(String, String)| match name.as_str() {
        "traceparent" => value.split('-').nth(1).map(str::to_owned),
        _ => Some(value.clone()),
    };
    ids.filter_map(value).filter(|id| id.len() >= 8).collect()
}

/// The messages that say most: those with the request's id, then errors, else the last ones.
fn pick<'a>(entries: &'a [LogEntry], ids: &[String]) -> Vec<&'a LogEntry> {
    let rank = |entry: &LogEntry| {
        let own = ids.iter().any(|id| entry.text.contains(id.as_str()));
        2 * u8::from(own) + u8::from(is_error(&entry.text))
    };
    let best = entries.iter().map(rank).max().unwrap_or_default();
    let mut picked: Vec<&LogEntry> = Vec::new();
    for entry in entries.iter().filter(|entry| rank(entry) == best) {
        if picked.iter().all(|other| other.text != entry.text) {
            picked.push(entry);
        }
    }
    picked.drain(..picked.len().saturating_sub(SHOWN));
    picked
}

/// Whether a message looks like one about an error.
pub(super) fn is_error(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["error", "exception", "panic", "fatal", "traceback", "critical", "fail", "crit:", "emerg:"]
        .iter()
        .any(|word| lower.contains(word))
}

fn log(context: &Context<'_>, container: &str, entry: &LogEntry) -> Evidence {
    let first = entry.text.lines().next().unwrap_or_default();
    let cut = &first[..first.floor_char_boundary(FIRST_LINE)];
    let dots = if cut.len() < first.len() { "…" } else { "" };
    let lines: Vec<&str> = entry.text.lines().collect();
    evidence("log", context.at(entry.at), format!("{container} logged: {cut}{dots}"))
        .with("container", container)
        .with("stream", if entry.stderr { "stderr" } else { "stdout" })
        .with("lines", lines)
}

/// Who writes chains that begin so.
const ENGINES: [(&str, &str); 6] = [
    ("cali-", "Calico"),
    ("CILIUM_", "Cilium"),
    ("KUBE-POD-FW-", "kube-router"),
    ("KUBE-", "kube-proxy"),
    ("FLANNEL-", "flannel"),
    ("DOCKER", "Docker"),
];

fn rule(found: &Rule) -> Evidence {
    let Rule { flow: _, family, table, chain, handle, text, comment } = found;
    let engine = ENGINES.iter().find(|(prefix, _)| chain.starts_with(prefix)).map(|(_, engine)| *engine);
    let whose = engine.map(|engine| format!("{engine}'s ")).unwrap_or_default();
    let what = text.as_deref().unwrap_or("a rule");
    let place = handle.map(|handle| format!(", handle {handle}")).unwrap_or_default();
    let mut evidence = evidence("rule", None, format!("{what} ({whose}chain {chain}, table {family} {table}{place})"))
        .with("family", family.as_str())
        .with("table", table.as_str())
        .with("chain", chain.as_str());
    if let Some(handle) = handle {
        evidence = evidence.with("handle", *handle);
    }
    if let Some(comment) = comment {
        evidence = evidence.with("comment", comment.as_str());
    }
    evidence
}

/// The message that holds one of these words.
pub(super) fn logged<'a>(chain: &'a Chain<'_>, words: &[&str]) -> Option<&'a LogEntry> {
    let mut entries = chain.around.logs.iter().flat_map(|(_, entries)| entries);
    entries.find(|entry| {
        let lower = entry.text.to_ascii_lowercase();
        words.iter().any(|word| if is_errno(word) { has_word(&entry.text, word) } else { lower.contains(word) })
    })
}

/// Whether the log tells of any error.
pub(super) fn logged_error(chain: &Chain<'_>) -> bool {
    chain.around.logs.iter().flat_map(|(_, entries)| entries).any(|entry| is_error(&entry.text))
}

fn is_errno(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|part| part == word)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn used_share(volume: &Volume) -> f64 {
    let space = share(volume.size.saturating_sub(volume.available), volume.size);
    space.max(share(volume.files.saturating_sub(volume.files_available), volume.files))
}

/// Share of an interval in which a quota was used up, at most 1. Throttled time is summed over CPUs, so it counts no more
/// than the periods in which it happened.
pub(super) fn throttled_share(cpu: CpuThrottling) -> f64 {
    let interval_us = cpu.to_ns.saturating_sub(cpu.from_ns) / 1000;
    let periods_us = cpu.throttled_periods.saturating_mul(cpu.period_us);
    share(cpu.throttled_us.min(periods_us), interval_us).min(1.0)
}

pub(super) fn descriptors(found: Descriptors) -> Evidence {
    let Descriptors { open, limit } = found;
    evidence("descriptors", None, format!("{open} of at most {limit} descriptors open"))
        .with("open", open)
        .with("limit", limit)
}

pub(super) fn cpu(context: &Context<'_>, found: CpuThrottling) -> Evidence {
    let percent = (throttled_share(found) * 100.0).round();
    let seconds = found.to_ns.saturating_sub(found.from_ns) as f64 / 1e9;
    let cores = share(found.quota_us, found.period_us);
    let text = format!("throttled for {percent} % of {seconds:.1} s by its CPU limit of {cores:.2} cores");
    evidence("cpu", context.at(found.to_ns), text)
        .with("throttled_share", throttled_share(found))
        .with("throttled_periods", found.throttled_periods)
        .with("throttled_us", found.throttled_us)
        .with("quota_us", found.quota_us)
        .with("period_us", found.period_us)
}

fn memory(found: Memory) -> Evidence {
    let Memory { used, limit } = found;
    let text = format!("{} of its memory limit of {} in use", bytes(used), bytes(limit));
    evidence("memory", None, text).with("used", used).with("limit", limit)
}

fn pressure(found: &Pressure) -> Evidence {
    let Pressure { resource, some_avg10 } = found;
    let text = format!("tasks waited for {resource} in {some_avg10:.0} % of the last 10 s");
    evidence("pressure", None, text).with("resource", resource.as_str()).with("some_avg10", *some_avg10)
}

pub(super) fn volume(found: &Volume) -> Evidence {
    let Volume { path, kind, size, available, files, files_available, refusing, error_at_s: _ } = found;
    let text = match refusing {
        Some(option) => format!("{path} ({kind}) refuses writes: its file system is {option}"),
        None if *files > 0 && *files_available == 0 => format!("{path} ({kind}) has no room for another file"),
        None => format!("{path} ({kind}): {} left of {}", bytes(*available), bytes(*size)),
    };
    let found = evidence("volume", None, text).with("path", path.as_str()).with("size", *size);
    found.with("available", *available).with("files", *files).with("files_available", *files_available)
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", count >> 20),
        _ => format!("{:.1} GiB", count as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> LogEntry {
        LogEntry { at: 0, stderr: false, text: text.to_owned() }
    }

    #[test]
    fn the_requests_own_errors_come_first() {
        let entries = ["GET /", "error: other", "req-12345 begun", "req-12345 failed", "done"].map(entry);
        let texts = |ids: &[String]| pick(&entries, ids).iter().map(|e| e.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&["req-12345".to_owned()]), ["req-12345 failed"]);
        assert_eq!(texts(&[]), ["error: other", "req-12345 failed"]);
        let quiet = ["a", "b", "c", "d"].map(entry);
        assert_eq!(pick(&quiet, &[]).len(), SHOWN);
        assert!(pick(&[], &[]).is_empty());
    }

    #[test]
    fn error_numbers_are_words() {
        assert!(has_word("write: EIO (5)", "EIO") && !has_word("OLDMACDONALDEIOEIO", "EIO"));
    }

    #[test]
    fn a_burst_on_many_cpus_counts_by_its_periods() {
        let cpu = CpuThrottling {
            from_ns: 0,
            to_ns: 1_000_000_000,
            quota_us: 20_000,
            period_us: 100_000,
            throttled_periods: 2,
            throttled_us: 900_000,
        };
        assert!((throttled_share(cpu) - 0.2).abs() < 1e-9);
        assert!(throttled_share(CpuThrottling { to_ns: 0, ..cpu }) < 1e-9, "no interval, no share");
    }

    #[test]
    fn sizes() {
        assert_eq!([bytes(12), bytes(2048), bytes(5 << 20), bytes(3 << 29)], ["12 B", "2 KiB", "5 MiB", "1.5 GiB"]);
    }
}
