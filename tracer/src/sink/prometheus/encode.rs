//! The exposition: OpenMetrics by `prometheus-client`, and the older text format made of it for readers that ask for
//! nothing else.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::CounterWithExemplar;

use super::catalog::{DURATION_BOUNDS, FAMILIES, Family, Kind};
use super::series::{Sample, Store, TraceExemplar, Value};

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Begins an exemplar. No label's value has it, whatever a process calls itself: there a quote is escaped.
const EXEMPLAR: &str = " # {trace_id=\"";

/// Writes every metric that has a value.
pub(super) fn encode(store: &Store, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    for family in FAMILIES {
        let samples = store.samples(family.metric);
        if samples.is_empty() {
            continue;
        }
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
        for (labels, sample) in &samples {
            if labels.is_empty() {
                value(family, sample, &mut metric)?;
            } else {
                value(family, sample, &mut metric.encode_family(labels)?)?;
            }
        }
    }
    Ok(())
}

fn value(family: &Family, sample: &Sample, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match (&sample.value, &sample.exemplar) {
        (Value::Number(number), None) if family.kind == Kind::Counter => {
            encoder.encode_counter::<Labels<'_>, _, f64>(number, None)
        }
        (Value::Number(number), Some(TraceExemplar { trace_id, at_ns })) => {
            let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(*at_ns).unwrap_or_default());
            // The crate makes an exemplar only as a part of a counter of its own.
            let carrier = CounterWithExemplar::<Vec<(&str, String)>>::default();
            carrier.inc_by(1, Some(vec![("trace_id", trace_id.clone())]), Some(at));
            let (_, exemplar) = carrier.get();
            encoder.encode_counter(number, exemplar.as_ref())
        }
        (Value::Number(number), None) => encoder.encode_gauge(number),
        (Value::Histogram { buckets, sum }, _) => {
            let bounds = DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<Labels<'_>>(*sum, count, &buckets, None)
        }
    }
}

/// The same in Prometheus' text format 0.0.4: a counter's samples are named as the counter is, there are no exemplars and
/// no end mark.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let counter = FAMILIES.iter().any(|family| family.name == name && family.kind == Kind::Counter);
                let suffix = if counter { "_total" } else { "" };
                text.extend(["# ", what, " ", name, suffix, " ", rest]);
            }
            _ => text.push_str(line.rsplit_once(EXEMPLAR).map_or(line, |(sample, _)| sample)),
        }
        text.push('\n');
    }
    text
}
