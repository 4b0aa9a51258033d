//! File, then environment, then the checks that types can't make.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Config;
use super::settings::{Setting, settings};

/// Names what is wrong by the field's path.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration `{}` is no YAML mapping: {reason}", path.display())]
    Yaml { path: PathBuf, reason: String },
    #[error("configuration, `{field}`{origin}: {reason}")]
    Field { field: String, origin: String, reason: String },
}

/// The configuration of a file and of the given variables (`TRACER_…`), which win.
///
/// # Errors
/// [`ConfigError`] names the field.
pub fn load(file: Option<&Path>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut tree = match file {
        Some(path) => read(path)?,
        None => Value::Object(Map::new()),
    };
    let settings = settings();
    let mut from_environment = Vec::new();
    for (name, text) in variables {
        // Kubernetes makes variables of its own for a Service called `tracer`: what isn't ours is none of our business.
        let Some(setting) = settings.iter().find(|setting| setting.variable() == name) else { continue };
        set(&mut tree, setting, &text);
        from_environment.push((setting.path.clone(), name));
    }
    let origin = |field: &str| {
        // Itself or a part of it: `kube` is no part of `kube_patience`.
        let of =
            |path: &str| field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let named = from_environment.iter().find(|(path, _)| of(path));
        named.map(|(_, name)| format!(" (of {name})")).unwrap_or_default()
    };
    let mut config: Config = serde_path_to_error::deserialize(tree).map_err(|error| {
        let field = error.path().to_string();
        ConfigError::Field { origin: origin(&field), field, reason: error.into_inner().to_string() }
    })?;
    if let Some(path) = &mut config.journal.path {
        // Its directory is what landlock goes on allowing to write.
        *path = std::path::absolute(&*path).map_err(|error| {
            let field = "journal.path";
            ConfigError::Field { origin: origin(field), field: field.to_owned(), reason: error.to_string() }
        })?;
    }
    match fault(&config) {
        Some((field, reason)) => {
            Err(ConfigError::Field { field: field.to_owned(), origin: origin(field), reason: reason.to_owned() })
        }
        None => Ok(config),
    }
}

fn read(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let yaml = |reason: String| ConfigError::Yaml { path: path.to_owned(), reason };
    match serde_saphyr::from_str(&text).map_err(|error| yaml(error.to_string()))? {
        // A file of comments only.
        Value::Null => Ok(Value::Object(Map::new())),
        tree @ Value::Object(_) => Ok(tree),
        _ => Err(yaml("expected `setting: value` lines".to_owned())),
    }
}

/// Puts a variable's text where its setting is: text as it is, anything else as YAML writes it.
fn set(tree: &mut Value, setting: &Setting, text: &str) {
    let value = if setting.is_text {
        Value::String(text.to_owned())
    } else {
        serde_saphyr::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
    };
    let mut at = tree;
    for part in setting.path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[part];
    }
    *at = value;
}

/// The first field whose value makes no sense, and what would.
fn fault(config: &Config) -> Option<(&'static str, &'static str)> {
    let otlp = &config.otlp;
    let endpoint = otlp.endpoint.as_deref();
    let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    let checks = [
        ((100..=599).contains(&config.min_status), "min_status", "expected 100 to 599"),
        ((4..=10_000).contains(&config.max_connections), "max_connections", "expected 4 to 10000"),
        ((10..=100_000).contains(&config.incidents.max), "incidents.max", "expected 10 to 100000"),
        (config.journal.max_bytes >= 65_536, "journal.max_bytes", "expected at least 65536"),
        ((10..=100_000).contains(&config.metrics.series_limit), "metrics.series_limit", "expected 10 to 100000"),
        (
            matches!(config.kube.as_str(), "auto" | "off") || config.kube_dump.is_empty(),
            "kube_dump",
            "it is in place of a live cluster: leave `kube` at `auto` or `off`, or leave this out",
        ),
        (endpoint.is_none_or(is_url), "otlp.endpoint", "expected `http://HOST:PORT` or `https://HOST:PORT`"),
        ((1..=100_000).contains(&otlp.queue), "otlp.queue", "expected 1 to 100000"),
        (
            endpoint.is_none() || !otlp.signals.is_empty(),
            "otlp.signals",
            "expected `traces`, `logs` or both; to export nothing leave out `otlp.endpoint`",
        ),
        (
            otlp.cert_file.is_some() == otlp.key_file.is_some(),
            "otlp.key_file",
            "a certificate needs its key and a key its certificate: give both `otlp.cert_file` and `otlp.key_file`",
        ),
    ];
    checks.into_iter().find(|(fine, ..)| !fine).map(|(_, field, reason)| (field, reason))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::config::MetricLabel;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn error(text: &str, pairs: &[(&str, &str)]) -> String {
        load(Some(file(text).path()), variables(pairs)).unwrap_err().to_string()
    }

    #[test]
    fn the_environment_wins_and_foreign_variables_are_ignored() {
        let file = file("node_name: a\nmetrics: {series_limit: 50}\njournal: {path: j}\nincidents:\n  max_age: 2h\n");
        let pairs = [
            ("TRACER_NODE_NAME", "123"),
            ("TRACER_METRICS_LABELS", "[pod, peer]"),
            ("TRACER_OTLP_HEADERS", "{authorization: Bearer x}"),
            ("TRACER_SERVICE_HOST", "10.96.0.7"),
            ("TRACER_LOG", "debug"),
        ];
        let config = load(Some(file.path()), variables(&pairs)).unwrap();
        assert_eq!(config.node_name.as_deref(), Some("123"));
        assert_eq!(config.metrics.series_limit, 50);
        assert_eq!(config.journal.max_bytes, 16 << 20);
        assert_eq!(config.journal.path, Some(std::env::current_dir().unwrap().join("j")));
        assert_eq!(config.metrics.labels, [MetricLabel::Pod, MetricLabel::Peer]);
        assert_eq!(config.incidents.max_age.0, Duration::from_secs(7200));
        assert_eq!(config.otlp.headers["authorization"], "Bearer x");
        let printed = serde_json::to_string(&config).unwrap();
        assert!(!printed.contains("Bearer") && printed.contains("authorization"), "{printed}");
        assert!(printed.contains("\"2h\""), "{printed}");
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(load(None, []).unwrap(), Config::default());
        assert_eq!(load(Some(file("# nothing\n").path()), []).unwrap(), Config::default());
    }

    #[test]
    fn errors_name_the_field() {
        assert!(error("metrics: {series_limit: many}", &[]).contains("`metrics.series_limit`"));
        assert!(error("metrics: {serieslimit: 5}", &[]).contains("serieslimit"));
        assert!(error("metrics: {series_limit: 5}", &[]).contains("`metrics.series_limit`: expected 10 to 100000"));
        assert!(error("otlp: {signals: [metrics]}", &[]).contains("`otlp.signals[0]`"));
        assert!(error("incidents: {max_age: soon}", &[]).contains("`incidents.max_age`"));
        assert!(error("listen: here", &[]).contains("`listen`"));
        assert!(error("journal: {path: ''}", &[]).contains("`journal.path`: "));
        assert!(error("kube: a.conf\nkube_dump: [b.yaml]", &[]).contains("`kube_dump`: "));
        assert!(error("otlp: {endpoint: collector}", &[]).contains("`otlp.endpoint`: expected `http://"));
        let of = error("", &[("TRACER_MIN_STATUS", "5oo")]);
        assert!(of.contains("`min_status` (of TRACER_MIN_STATUS)"), "{of}");
        let of = error("", &[("TRACER_METRICS_LABELS", "[cluster]")]);
        assert!(of.contains("`metrics.labels[0]` (of TRACER_METRICS_LABELS)"), "{of}");
        let file = error("kube_patience: soon", &[("TRACER_KUBE", "off")]);
        assert!(file.contains("`kube_patience`: "), "{file}");
        assert!(error("- a\n- b\n", &[]).contains("no YAML mapping"));
    }
}
