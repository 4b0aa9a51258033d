//! Argument types that several commands share.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use super::failure::Usage;
use crate::k8s::Snapshot;
use crate::k8s::dump::{self, DumpError};
use crate::k8s::watch::Source;

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

/// Whether a live cluster is asked, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kube {
    /// What the environment names, unless a dump is given.
    #[default]
    Auto,
    /// None: dumps, if given, and what the node itself knows.
    Off,
    Kubeconfig(PathBuf),
}

impl FromStr for Kube {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            "off" => Self::Off,
            path => Self::Kubeconfig(path.into()),
        })
    }
}

impl Kube {
    /// The API server to ask, if any.
    ///
    /// # Errors
    /// Where both a kubeconfig and a dump are given.
    pub fn source(&self, dumps: &[PathBuf]) -> Result<Option<Source>, Usage> {
        match self {
            Self::Off => Ok(None),
            Self::Auto if !dumps.is_empty() => Ok(None),
            Self::Auto => Ok(Source::detect()),
            Self::Kubeconfig(_) if !dumps.is_empty() => Err(Usage(
                "`--kube KUBECONFIG` and `--kube-dump` exclude each other: two states of a cluster".to_owned(),
            )),
            Self::Kubeconfig(path) => Ok(Some(Source::Kubeconfig(path.clone()))),
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
        let kube: Kube = "/root/.kube/config".parse().unwrap();
        assert_eq!(kube, Kube::Kubeconfig("/root/.kube/config".into()));
        assert!(kube.source(&["dump.yaml".into()]).is_err() && kube.source(&[]).is_ok_and(|source| source.is_some()));
        assert_eq!(Kube::Off.source(&[]).ok(), Some(None));
    }
}
