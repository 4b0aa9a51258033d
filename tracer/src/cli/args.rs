//! Argument types that several commands share.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::k8s::Snapshot;
use crate::k8s::dump::{self, DumpError};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One object per line, flushed
    Json,
}

/// `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName(pub String);

impl FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err("expected `NAMESPACE/NAME`, such as `shop/cart`".to_owned()),
        }
    }
}

/// Where the cluster's state comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kube {
    /// A dump, if one is given; else what the node itself knows.
    #[default]
    Auto,
    /// Nothing, not even a dump.
    Off,
}

impl FromStr for Kube {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err("reading a live cluster through a kubeconfig is not supported yet; save its state with \
                      `kubectl get … -A -o yaml` and give the file with `--kube-dump`"
                .to_owned()),
        }
    }
}

/// `30s`, `1m30s`, `500ms`, `2h`.
///
/// # Errors
/// Anything else, and nothing at all.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a duration with units, such as `30s`, `1m30s` or `500ms`".to_owned())
}

/// The cluster's state out of dumps; none without.
///
/// # Errors
/// [`DumpError`] names file, document and field.
pub fn snapshot(dumps: &[PathBuf]) -> Result<Option<Snapshot>, DumpError> {
    if dumps.is_empty() {
        return Ok(None);
    }
    let dump = dump::load(dumps)?;
    if !dump.skipped.is_empty() {
        let kinds: Vec<_> = dump.skipped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        tracing::info!("objects of kinds that aren't read: {}", kinds.join(", "));
    }
    Ok(Some(Snapshot::new(dump.objects)))
}

/// Whether standard error shows colours.
pub fn is_colored_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "30", "0s", "-3s", "soon", "1 fortnight"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_and_sources() {
        assert!("shop/cart".parse::<NamespacedName>().is_ok());
        for wrong in ["cart", "/cart", "shop/", "a/b/c"] {
            assert!(wrong.parse::<NamespacedName>().is_err(), "{wrong}");
        }
        assert!("/root/.kube/config".parse::<Kube>().unwrap_err().contains("--kube-dump"));
    }
}
