//! Against a receiver on a real socket.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::agent::config::{Protocol, Span};
use crate::agent::store::{Store, incident};
use crate::sink::prometheus::{Format, Limits, Metrics};
use crate::verdict::Hop;

/// Answers traces and log records so, one request after the other.
async fn receiver(listener: TcpListener, [traces, logs]: [Vec<u8>; 2]) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 65_536];
        let length = stream.read(&mut request).await.unwrap();
        let body = if request[..length].starts_with(b"POST /v1/traces") { &traces } else { &logs };
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        // What came later than the beginning, and the end.
        stream.read_to_end(&mut request).await.unwrap();
    }
}

/// The metrics once two incidents were exported by HTTP.
async fn exported(answers: [Vec<u8>; 2]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::default();
    config.otlp.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    config.otlp.protocol = Protocol::Http;
    let metrics = Metrics::new(Limits { per_metric: 10, opt_in: Vec::new() });
    let shared = Arc::new(Shared::new(metrics.clone(), Store::new(10, 100)));
    let (sender, exporter) = exporter(&config, &shared).unwrap().unwrap();
    for id in ["a", "b"] {
        let mut incident = incident(id, 1, "2026-03-01T14:00:01.000Z");
        incident.path = vec![Hop::default(), Hop::default()];
        sender.try_send(Item { incident, wall_offset_ns: 0, again: false }).unwrap();
    }
    drop(sender);
    let (_stop, stop) = oneshot::channel();
    tokio::select! {
        () = exporter.run(stop) => {}
        () = receiver(listener, answers) => {}
    }
    metrics.expose(Format::Text)
}

#[tokio::test]
async fn what_the_receiver_rejects_is_not_sent() {
    let told = "too old".to_owned();
    let traces = ExportTracePartialSuccess { rejected_spans: 3, error_message: told.clone() };
    let logs = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: told.clone() };
    let traces = ExportTraceServiceResponse { partial_success: Some(traces) };
    let logs = ExportLogsServiceResponse { partial_success: Some(logs) };
    let text = exported([traces.encode_to_vec(), logs.encode_to_vec()]).await;
    for (signal, outcome, number) in [
        ("traces", "refused", Some("2.0")),
        ("traces", "sent", None),
        ("logs", "refused", Some("1.0")),
        ("logs", "sent", Some("1.0")),
    ] {
        let series = format!("tracer_otlp_items_total{{signal=\"{signal}\",outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        assert_eq!(value, number, "{signal} {outcome}: {text}");
    }
    // A word of warning is no rejection, and not every receiver answers in protobuf.
    let logs = ExportLogsPartialSuccess { rejected_log_records: 0, error_message: told };
    let logs = ExportLogsServiceResponse { partial_success: Some(logs) };
    let text = exported([b"{}".to_vec(), logs.encode_to_vec()]).await;
    assert!(text.matches("outcome=\"sent\"} 2.0").count() == 2 && !text.contains("refused"), "{text}");
}

#[tokio::test]
async fn at_the_end_only_what_was_not_sent_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config { grace: Span(Duration::from_millis(500)), ..Config::default() };
    config.otlp.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    config.otlp.protocol = Protocol::Http;
    let metrics = Metrics::new(Limits { per_metric: 10, opt_in: Vec::new() });
    let shared = Arc::new(Shared::new(metrics.clone(), Store::new(10, 100)));
    let (sender, exporter) = exporter(&config, &shared).unwrap().unwrap();
    // The second one's trace was sent long ago.
    for again in [false, true] {
        let mut incident = incident("a", 1, "2026-03-01T14:00:01.000Z");
        incident.path = vec![Hop::default()];
        sender.try_send(Item { incident, wall_offset_ns: 0, again }).unwrap();
    }
    drop(sender);
    // Takes traces; to log records there is no answer.
    let receiver = async {
        let (mut traces, _) = listener.accept().await.unwrap();
        let _begun = traces.read(&mut vec![0; 65_536]).await.unwrap();
        traces.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        drop(traces);
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    };
    let (stop, stopped) = oneshot::channel();
    stop.send(()).unwrap();
    tokio::select! {
        () = exporter.run(stopped) => {}
        () = receiver => {}
    }
    let text = metrics.expose(Format::Text);
    let counts: Vec<_> = text.lines().filter(|line| line.starts_with("tracer_otlp_items_total")).collect();
    assert_eq!(
        counts,
        [
            "tracer_otlp_items_total{signal=\"logs\",outcome=\"lost\"} 2.0",
            "tracer_otlp_items_total{signal=\"traces\",outcome=\"sent\"} 1.0"
        ],
        "{text}"
    );
}

#[test]
fn a_setting_that_no_client_can_be_made_of_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let empty = file.path().display();
    let wrong = |yaml: &str| {
        let mut config = Config { otlp: serde_saphyr::from_str(yaml).unwrap(), ..Config::default() };
        config.otlp.endpoint.get_or_insert("https://collector:4317".to_owned());
        let metrics = Metrics::new(Limits { per_metric: 10, opt_in: Vec::new() });
        let shared = Arc::new(Shared::new(metrics, Store::new(10, 100)));
        exporter(&config, &shared).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (yaml, named) in [
        ("endpoint: 'http://'".to_owned(), "`otlp.endpoint`: "),
        ("endpoint: 'http://a b:4317'".to_owned(), "`otlp.endpoint`: "),
        ("endpoint: 'http://:4317'".to_owned(), "`otlp.endpoint`: "),
        ("headers: {'a b': c}".to_owned(), "`otlp.headers.a b`: "),
        ("ca_file: /nowhere".to_owned(), "`otlp.ca_file`: "),
        (format!("ca_file: {empty}"), "`otlp.ca_file`: "),
    ] {
        let error = wrong(&yaml);
        assert!(error.starts_with("configuration, ") && error.contains(named), "{yaml}: {error}");
    }
}
