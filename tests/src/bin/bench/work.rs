//! What the generator is asked to do, and what of its report is compared.

use super::load::Loaded;
use super::site::Beside;

/// A measure of a run.
type Measure = fn(&Loaded) -> f64;

/// At a fixed rate, or as fast as it goes.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) server: &'static str,
    /// As `load` takes it.
    pub(crate) words: &'static [&'static str],
    /// A second; none is as fast as it goes.
    pub(crate) rate: Option<u64>,
    pub(crate) milliseconds: u64,
}

const LATENCIES: &[(&str, Measure)] =
    &[("p50", |loaded| loaded.p50), ("p99", |loaded| loaded.p99), ("p999", |loaded| loaded.p999)];
const THROUGHPUT: &[(&str, Measure)] = &[("", Loaded::rate)];

impl Work {
    /// Where only one is compared, the first.
    pub(crate) fn measures(&self) -> &'static [(&'static str, Measure)] {
        if self.rate.is_some() { LATENCIES } else { THROUGHPUT }
    }

    pub(crate) fn unit(&self) -> &'static str {
        if self.rate.is_some() { "µs" } else { "a second" }
    }

    /// As fast as it goes beside the server: then every nanosecond on the way shows.
    pub(crate) fn beside(&self) -> Beside {
        if self.rate.is_some() { Beside::Elsewhere } else { Beside::Server }
    }
}

const fn at_rate(name: &'static str, server: &'static str, words: &'static [&'static str], rate: u64) -> Work {
    Work { name, server, words, rate: Some(rate), milliseconds: 500 }
}

const fn as_fast_as_it_goes(name: &'static str, server: &'static str, words: &'static [&'static str]) -> Work {
    Work { name, server, words, rate: None, milliseconds: 500 }
}

pub(crate) const RATE_10K: Work =
    Work { milliseconds: 1000, ..at_rate("rate_10k", "http", &["--kind", "http"], 10_000) };
pub(crate) const FAILING_10K: Work = at_rate("failing_10k", "http", &["--kind", "http", "--path", "/fail"], 10_000);

pub(crate) const FAILING_MS: u64 = 8000;
/// What the process itself costs beside failures that are no HTTP.
pub(crate) const FAILURES: [Work; 3] = [
    Work { milliseconds: FAILING_MS, ..at_rate("1k_refused", "closed", &["--kind", "refused"], 1000) },
    Work { milliseconds: FAILING_MS, ..at_rate("3k_nxdomain", "dns", &["--kind", "dns", "--path", "missing"], 3000) },
    Work {
        milliseconds: FAILING_MS,
        // None of them is used again within the time.
        ..at_rate("500_unanswered", "dns", &["--kind", "dns", "--path", "silent", "--connections", "4000"], 500)
    },
];

pub(crate) const OTHERS: [Work; 5] = [
    FAILING_10K,
    at_rate("connect_1k", "http", &["--kind", "connect"], 1000),
    at_rate("dns_5k", "dns", &["--kind", "dns"], 5000),
    as_fast_as_it_goes("bulk", "sink", &["--bulk"]),
    as_fast_as_it_goes("messages_128", "echo", &["--echo", "128"]),
];
