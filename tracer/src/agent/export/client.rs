//! One request to an OTLP receiver, by gRPC or by protobuf over HTTP.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::uri::InvalidUri;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::Code;
use tonic::body::Body as GrpcBody;
use tonic::metadata::{MetadataKey, MetadataValue};

use crate::agent::config::{ConfigError, Otlp, Protocol};
use crate::reasons::chain;
use crate::sink::escape::escape;

/// What is read of an answer: numbers and a sentence.
const ANSWER_BYTES: usize = 65_536;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
}

/// What the receiver left of a request that it took.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    /// Spans or records; none where it has only something to say.
    pub(super) number: u64,
    pub(super) reason: String,
}

impl Rejected {
    fn new(number: i64, reason: String) -> Self {
        Self { number: u64::try_from(number).unwrap_or_default(), reason }
    }
}

impl From<ExportTraceServiceResponse> for Rejected {
    fn from(answer: ExportTraceServiceResponse) -> Self {
        answer.partial_success.map(|it| Self::new(it.rejected_spans, it.error_message)).unwrap_or_default()
    }
}

impl From<ExportLogsServiceResponse> for Rejected {
    fn from(answer: ExportLogsServiceResponse) -> Self {
        answer.partial_success.map(|it| Self::new(it.rejected_log_records, it.error_message)).unwrap_or_default()
    }
}

/// Why it wasn't taken.
#[derive(Debug)]
pub(super) enum Failure {
    /// Later it may be.
    Again(String),
    /// It never will be.
    Refused(String),
}

/// A setting that no client can be made of.
fn wrong(setting: &str, reason: impl ToString) -> ConfigError {
    ConfigError::Field { field: setting.to_owned(), origin: String::new(), reason: reason.to_string() }
}

type Connector = HttpsConnector<HttpConnector>;

/// Speaks to one receiver.
pub(super) struct Client {
    origin: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    transport: Transport,
}

enum Transport {
    Grpc(HyperClient<Connector, GrpcBody>),
    Http(HyperClient<Connector, Full<Bytes>>),
}

impl Client {
    /// # Errors
    /// [`ConfigError`] names the setting that no client can be made of.
    pub(super) fn new(endpoint: &str, config: &Otlp) -> Result<Self, ConfigError> {
        let parse = |text: &str| text.parse().map_err(|error: InvalidUri| wrong("otlp.endpoint", error));
        // Of `http://` nothing but a host called `http` would be left without the slashes.
        let whole: Uri = parse(endpoint)?;
        if whole.host().is_none_or(str::is_empty) {
            return Err(wrong("otlp.endpoint", "it has no host"));
        }
        let origin: Uri = parse(endpoint.trim_end_matches('/'))?;
        let header = |(name, value): (&String, &String)| {
            let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            parsed.ok_or_else(|| wrong(&format!("otlp.headers.{name}"), "it can't be sent as a header"))
        };
        let headers = config.headers.iter().map(header).collect::<Result<_, _>>()?;
        let secure = origin.scheme_str() == Some("https");
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(config, secure)?).https_or_http();
        let client = || HyperClient::builder(TokioExecutor::new());
        let transport = match config.protocol {
            Protocol::Grpc => Transport::Grpc(client().http2_only(true).build(connector.enable_http2().build())),
            Protocol::Http => Transport::Http(client().build(connector.enable_http1().build())),
        };
        Ok(Self { origin, headers, timeout: config.timeout.0, transport })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Result<Rejected, Failure> {
        let sending = async {
            match &self.transport {
                Transport::Grpc(client) => self.grpc(client, payload).await,
                Transport::Http(client) => self.http(client, payload).await,
            }
        };
        let late = |_| Failure::Again(format!("no answer within {} s", self.timeout.as_secs_f64()));
        tokio::time::timeout(self.timeout, sending).await.map_err(late)?
    }

    async fn grpc(&self, client: &HyperClient<Connector, GrpcBody>, payload: &Payload) -> Result<Rejected, Failure> {
        match payload {
            Payload::Traces(traces) => {
                let mut service = TraceServiceClient::with_origin(client.clone(), self.origin.clone());
                let answer = service.export(self.metadata(traces.clone())).await.map_err(of_status)?;
                Ok(answer.into_inner().into())
            }
            Payload::Logs(logs) => {
                let mut service = LogsServiceClient::with_origin(client.clone(), self.origin.clone());
                let answer = service.export(self.metadata(logs.clone())).await.map_err(of_status)?;
                Ok(answer.into_inner().into())
            }
        }
    }

    fn metadata<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        for (name, value) in &self.headers {
            let key = MetadataKey::from_bytes(name.as_str().as_bytes());
            // What is a header but no metadata (a name that ends in `-bin`) is left out.
            if let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value.as_bytes())) {
                request.metadata_mut().insert(key, value);
            }
        }
        request
    }

    async fn http(&self, client: &HyperClient<Connector, Full<Bytes>>, payload: &Payload) -> Result<Rejected, Failure> {
        let (path, body) = match payload {
            Payload::Traces(traces) => ("/v1/traces", traces.encode_to_vec()),
            Payload::Logs(logs) => ("/v1/logs", logs.encode_to_vec()),
        };
        let uri = format!("{}{path}", self.origin.to_string().trim_end_matches('/'));
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).map_err(|error| Failure::Refused(error.to_string()))?;
        let answer = client.request(request).await.map_err(|error| Failure::Again(chain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        match status {
            status if status.is_success() => Ok(match payload {
                Payload::Traces(_) => decoded::<ExportTraceServiceResponse>(body),
                Payload::Logs(_) => decoded::<ExportLogsServiceResponse>(body),
            }),
            // The specification's retryable ones.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Again(said(status, &body))),
            status => Err(Failure::Refused(said(status, &body))),
        }
    }
}

/// `google.rpc.Status`, as far as it is told: in it receivers say why ("Failures" of OTLP/HTTP in OpenTelemetry's protocol
/// specification).
#[derive(Clone, PartialEq, Message)]
struct Reason {
    #[prost(string, tag = "2")]
    message: String,
}

/// The status with the receiver's reason; of what is no protobuf, a proxy's page perhaps, its beginning.
fn said(status: StatusCode, body: &[u8]) -> String {
    const SHOWN: usize = 200;
    let reason = Reason::decode(body).map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |it| it.message);
    let reason: String = reason.trim().chars().take(SHOWN).collect();
    if reason.is_empty() { status.to_string() } else { format!("{status}: {}", escape(&reason)) }
}

/// A receiver that says nothing, or not in protobuf, took everything.
fn decoded<T: Message + Default + Into<Rejected>>(answer: Bytes) -> Rejected {
    T::decode(answer).unwrap_or_default().into()
}

/// The specification's retryable codes; `Unknown` is what a transport error becomes.
fn of_status(status: tonic::Status) -> Failure {
    let text = format!("{:?}: {}", status.code(), chain(&status));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted
        | Code::Unknown => Failure::Again(text),
        _ => Failure::Refused(text),
    }
}

fn tls(config: &Otlp, secure: bool) -> Result<rustls::ClientConfig, ConfigError> {
    let mut roots = rustls::RootCertStore::empty();
    match &config.ca_file {
        _ if !secure => {}
        Some(path) => {
            for certificate in certificates("otlp.ca_file", path)? {
                roots.add(certificate).map_err(|error| unreadable("otlp.ca_file", path, &error))?;
            }
            if roots.is_empty() {
                return Err(unreadable("otlp.ca_file", path, &"it has none"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(wrong("otlp.ca_file", "this system has no certificates to trust; say which file has them"));
            }
        }
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("otlp.endpoint", error))?
        .with_root_certificates(roots);
    match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key_file)) => {
            let own = certificates("otlp.cert_file", cert)?;
            let read = PrivateKeyDer::from_pem_file(key_file);
            let key = read.map_err(|error| unreadable("otlp.key_file", key_file, &error))?;
            // A key of no known kind, or of another certificate.
            builder.with_client_auth_cert(own, key).map_err(|error| unreadable("otlp.key_file", key_file, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| unreadable(setting, path, &error))
}

fn unreadable(setting: &str, path: &Path, error: &impl Display) -> ConfigError {
    wrong(setting, format_args!("cannot use certificates or a key of `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_why() {
        let reason = Reason { message: "no such tenant".to_owned() };
        assert_eq!(said(StatusCode::NOT_FOUND, &reason.encode_to_vec()), "404 Not Found: no such tenant");
        assert_eq!(said(StatusCode::NOT_FOUND, b"<h1>Nothing\nhere</h1>\n"), "404 Not Found: <h1>Nothing\\nhere</h1>");
        assert_eq!(said(StatusCode::UNAUTHORIZED, b""), "401 Unauthorized");
    }
}
