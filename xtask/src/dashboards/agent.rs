//! The tracer itself: does it see everything, and what does it cost?

use super::expr::{AGENT, counts, rate};
use super::model::{Dashboard, Panel, Unit, row};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "agent",
        title: "Agent health",
        about: "The agents themselves: what they lose, what they can't see, what they cost.",
        variables: &[],
        rows: vec![row("Sees", sees()), row("Keeps and sends", keeps()), row("Costs", costs())],
    }
}

fn gauge(metric: &str) -> String {
    format!("{metric}{{{AGENT}}}")
}

fn sees() -> [Panel; 8] {
    [
        Panel::table("Agents", "Version and kernel of each node.")
            .show(format!("max by (instance, version, kernel) ({})", gauge("tracer_build_info")), ""),
        Panel::lines("Behind", "Time since the pipeline last ran; it does ten times a second.", Unit::Seconds)
            .show(format!("time() - {}", gauge("tracer_last_tick_timestamp_seconds")), "{{instance}}"),
        Panel::bars("Lost", "What was lost, and where. With losses less is asserted: verdicts become unknown.")
            .show(counts("instance, ring, kind", "tracer_lost_events_total", AGENT), "{{instance}} {{ring}} {{kind}}")
            .show(counts("instance, what", "tracer_forgotten_total", AGENT), "{{instance}} {{what}} made room"),
        Panel::lines("Events", "What the core was told, by kind.", Unit::PerSecond)
            .show(rate("event", "tracer_events_total", AGENT), "{{event}}"),
        Panel::lines(
            "Hooks attached",
            "Of the eBPF programs, how many are attached. A kernel that lacks a hook costs what `tracer doctor` says.",
            Unit::Count,
        )
        .show(format!("sum by (instance) ({})", gauge("tracer_ebpf_program_attached")), "{{instance}}"),
        Panel::table("Hooks missing", "Programs that this node's kernel lacks or refused.")
            .show(format!("sum by (instance, program) ({}) == 0", gauge("tracer_ebpf_program_attached")), ""),
        Panel::lines("Cluster objects known", "What is known of the cluster, by kind.", Unit::Count)
            .show(format!("sum by (instance, kind) ({})", gauge("tracer_snapshot_objects")), "{{instance}} {{kind}}"),
        Panel::lines("Opaque TLS", "Processes with TLS connections that can't be read.", Unit::Count)
            .show(gauge("tracer_opaque_tls_processes"), "{{instance}}"),
    ]
}

fn keeps() -> [Panel; 8] {
    [
        Panel::lines("Incidents in memory", "Incidents that /v1/incidents can tell.", Unit::Count)
            .show(gauge("tracer_incidents_stored"), "{{instance}}"),
        Panel::bars("Incidents forgotten", "Because the store was full.")
            .show(counts("instance", "tracer_incidents_evicted_total", AGENT), "{{instance}}"),
        Panel::lines("Journal", "Its size on disk, where there is one.", Unit::Bytes)
            .show(gauge("tracer_journal_size_bytes"), "{{instance}}"),
        Panel::bars("Journal's troubles", "Records that couldn't be written or read.")
            .show(counts("instance, reason", "tracer_journal_errors_total", AGENT), "{{instance}} {{reason}}"),
        Panel::bars("Exported", "Incidents by what became of their export.")
            .show(counts("signal, outcome", "tracer_otlp_items_total", AGENT), "{{signal}} {{outcome}}"),
        Panel::lines("Export queue", "Incidents that wait to be exported; retries beside it.", Unit::Count)
            .show(gauge("tracer_otlp_queue_length"), "{{instance}} waiting")
            .show(counts("instance", "tracer_otlp_retries_total", AGENT), "{{instance}} retries"),
        Panel::lines(
            "Label sets",
            "In use, by metric; the limit is metrics.series_limit of the configuration.",
            Unit::Count,
        )
        .show(format!("max by (metric) ({})", gauge("tracer_series")), "{{metric}}"),
        Panel::bars(
            "Beyond the limit",
            "Observations in the overflow series, and connections to the agent that were refused.",
        )
        .show(counts("instance, metric", "tracer_series_overflow_total", AGENT), "{{instance}} {{metric}}")
        .show(counts("instance", "tracer_http_refused_connections_total", AGENT), "{{instance}} connections"),
    ]
}

fn costs() -> [Panel; 6] {
    let seconds = rate("program", "tracer_ebpf_program_run_seconds_total", AGENT);
    let runs = rate("program", "tracer_ebpf_program_runs_total", AGENT);
    [
        Panel::lines(
            "CPU",
            "Cores that the agent uses, in user space and kernel, without its eBPF programs.",
            Unit::Cores,
        )
        .show(rate("instance", "process_cpu_seconds_total", AGENT), "{{instance}}"),
        Panel::lines("Memory", "Resident memory of the agent, without the kernel's maps.", Unit::Bytes)
            .show(gauge("process_resident_memory_bytes"), "{{instance}}"),
        Panel::lines(
            "Time in eBPF programs",
            "Cores that the programs use; with ebpf_statistics in the configuration only.",
            Unit::Cores,
        )
        .show(seconds.clone(), "{{program}}"),
        Panel::lines("Time of a run", "Mean time of one run of a program; with ebpf_statistics only.", Unit::Seconds)
            .show(format!("{seconds} / ({runs} > 0)"), "{{program}}"),
        Panel::lines("File descriptors", "Open descriptors, and their limit.", Unit::Count)
            .show(gauge("process_open_fds"), "{{instance}}")
            .show(format!("max({})", gauge("process_max_fds")), "limit"),
        Panel::lines("Age", "Since the agent started.", Unit::Seconds)
            .show(format!("time() - {}", gauge("process_start_time_seconds")), "{{instance}}"),
    ]
}
