//! Prometheus metrics: a [catalogue](catalog), a bounded store of label sets, and the exposition.

pub mod catalog;
mod encode;
pub mod reference;
mod series;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use catalog::{Metric, OptIn};
pub use series::{Limits, Store, TraceExemplar};

/// The format that a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// By the request's `Accept`.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The store, shared by those who count and those who read.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Store>>);

impl Metrics {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Store::new(limits))))
    }

    /// Counts. Nothing in the store can be left half done.
    pub fn with<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The exposition.
    pub fn expose(&self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut open_metrics = String::new();
        // Writing to a string can't fail.
        let _infallible = text::encode(&mut open_metrics, &registry);
        match format {
            Format::OpenMetrics => open_metrics,
            Format::Text => encode::classic(&open_metrics),
        }
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.with(|store| encode::encode(store, encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let metrics = Metrics::new(Limits { per_metric: 10, opt_in: vec![] });
        let trace = TraceExemplar { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), at_ns: 1_500_000_000 };
        metrics.with(|store| {
            let incident = ["app-error", "http-5xx", "shop", "Deployment/cart", "", "shop", "Deployment/\"web\"\n"];
            store.add_traced(Metric::Incidents, &incident, 2.0, trace, 1);
            store.observe(Metric::DnsDuration, &["shop", "Deployment/cart", ""], 0.03, 1);
            store.set(Metric::OpaqueTls, &[], 3.0, 1);
            store.add(Metric::IncidentsEvicted, &[], 1.0, 1);
        });
        insta::assert_snapshot!("open_metrics", metrics.expose(Format::OpenMetrics));
        insta::assert_snapshot!("text", metrics.expose(Format::Text));
    }

    #[test]
    fn a_name_that_looks_like_an_exemplar_is_a_name() {
        let metrics = Metrics::new(Limits { per_metric: 10, opt_in: vec![] });
        let incident = |workload| ["app-error", "drop", "", workload, "", "", ""];
        let trace = TraceExemplar { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), at_ns: 1_500_000_000 };
        metrics.with(|store| {
            store.add(Metric::Incidents, &incident("Process/a # {b"), 1.0, 1);
            store.add_traced(Metric::Incidents, &incident("Process/c # {trace_id=\"d"), 1.0, trace, 1);
        });
        let text = metrics.expose(Format::Text);
        let ends = ["workload=\"Process/a # {b\"} 1.0\n", "workload=\"Process/c # {trace_id=\\\"d\"} 1.0\n"];
        assert!(ends.iter().all(|end| text.contains(end)), "{text}");
    }

    #[test]
    fn the_format_that_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
    }
}
