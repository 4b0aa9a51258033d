//! Every setting by its path, from the types: what variables there are, and `docs/configuration.md`.

use std::fmt::Write;

use serde_json::Value;

use super::Config;

/// A leaf of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `metrics.series_limit`.
    pub path: String,
    pub about: String,
    /// As YAML writes it.
    pub default: String,
    /// Its value is text, however it looks.
    pub is_text: bool,
}

impl Setting {
    /// `TRACER_METRICS_SERIES_LIMIT`.
    pub fn variable(&self) -> String {
        format!("TRACER_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// Every setting, in the order of the types.
pub fn settings() -> Vec<Setting> {
    let schema = schemars::schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut found = Vec::new();
    walk(&schema, &schema, &defaults, "", &mut found);
    found
}

fn walk(root: &Value, schema: &Value, defaults: &Value, prefix: &str, found: &mut Vec<Setting>) {
    let empty = serde_json::Map::new();
    for (name, property) in schema["properties"].as_object().unwrap_or(&empty) {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let target = resolve(root, property);
        let default = &defaults[name];
        if target["properties"].is_object() {
            walk(root, target, default, &path, found);
            continue;
        }
        let about = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        let is_text = match &target["type"] {
            Value::Array(types) => types.contains(&"string".into()),
            kind => *kind == "string" || target["oneOf"].is_array() || target["enum"].is_array(),
        };
        let default = match default {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        found.push(Setting { path, about, default, is_text });
    }
}

/// The schema that a reference names.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.map_or(schema, |name| &root["$defs"][name])
}

const HEAD: &str = "\
<!-- Generated: `cargo run -p tracer -- agent --print-reference > docs/configuration.md`; a test compares. -->
# Configuration of `tracer agent`

A YAML file (`tracer agent --config FILE`), and a variable for every setting, which wins over the file: text as it is, anything
else as YAML writes it (`TRACER_METRICS_LABELS='[pod]'`). `tracer agent --config FILE --print-config` shows what results. A
setting that doesn't exist in the file, or a value that makes no sense, ends the start with exit code 2 and the field's path;
variables that name no setting are ignored, since Kubernetes makes some for a Service called `tracer`. Durations have units:
`30s`, `1m30s`, `24h`. `TRACER_LOG` sets what the tracer logs of itself (`warn` by default).

```yaml
listen: 0.0.0.0:9464
journal: {path: /var/lib/tracer/journal}
metrics: {labels: [pod]}
otlp: {endpoint: 'http://otel-collector.monitoring:4317'}
```

| setting | variable | default | |
|---|---|---|---|
";

/// The document.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for setting in settings() {
        let variable = setting.variable();
        let Setting { path, about, default, .. } = setting;
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let _infallible = writeln!(text, "| `{path}` | `{variable}` | {default} | {about} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_that_is_checked_in_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        assert!(
            std::fs::read_to_string(path).unwrap() == markdown(),
            "regenerate it: cargo run -p tracer -- agent --print-reference > docs/configuration.md"
        );
    }

    #[test]
    fn every_setting_has_a_variable_of_its_own_and_a_description() {
        let settings = settings();
        assert!(settings.len() > 25, "{settings:?}");
        for setting in &settings {
            assert!(!setting.about.is_empty(), "{}", setting.path);
            let same = settings.iter().filter(|other| other.variable() == setting.variable()).count();
            assert_eq!(same, 1, "{}", setting.path);
        }
        let text = |path: &str| settings.iter().find(|setting| setting.path == path).unwrap().is_text;
        assert!(text("node_name") && text("listen") && text("otlp.protocol") && text("grace") && text("otlp.ca_file"));
        assert!(!text("otlp.headers") && !text("max_connections") && !text("metrics.labels"));
    }
}
