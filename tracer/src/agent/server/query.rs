//! `?since=15m&namespace=shop`: what is asked for, or which parameter is wrong.

use crate::agent::store::Query;
use crate::cli::args::duration;
use crate::sink::rfc3339;

/// Incidents in one answer, unless asked otherwise.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// A query and how many incidents it may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) query: Query,
    pub(super) limit: usize,
}

impl Asked {
    /// # Errors
    /// A sentence that names the parameter.
    pub(super) fn parse(parameters: &[(String, String)], now_ns: i64) -> Result<Self, String> {
        let mut asked = Self { query: Query::default(), limit: LIMIT };
        for (index, (name, value)) in parameters.iter().enumerate() {
            if parameters[..index].iter().any(|(other, _)| other == name) {
                return Err(format!("parameter `{name}` is given more than once"));
            }
            match name.as_str() {
                "since" => asked.query.since = Some(since(value, now_ns)?),
                "namespace" if !value.is_empty() => asked.query.namespace = Some(value.clone()),
                "cause" if !value.is_empty() => asked.query.cause = Some(value.clone()),
                "namespace" | "cause" => return Err(format!("parameter `{name}` is empty")),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    asked.limit = limit.ok_or_else(|| format!("parameter `limit`: expected 1 to {MAX_LIMIT}"))?;
                }
                other => {
                    return Err(format!(
                        "there is no parameter `{other}`; there are `since`, `namespace`, `cause` and `limit`"
                    ));
                }
            }
        }
        Ok(asked)
    }
}

/// A time, or a duration before now; as incidents write times, so that the texts compare.
fn since(value: &str, now_ns: i64) -> Result<String, String> {
    if let Ok(time) = value.parse::<jiff::Timestamp>() {
        return Ok(format!("{time:.3}"));
    }
    match duration(value) {
        Ok(age) => Ok(rfc3339(now_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))),
        Err(_) => {
            Err("parameter `since`: expected a time such as `2026-03-01T14:03:11Z` or a duration such as `15m`"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parameters: &[(&str, &str)]) -> Result<Asked, String> {
        let owned: Vec<_> = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Asked::parse(&owned, 1_700_000_000_000_000_000)
    }

    #[test]
    fn what_is_asked() {
        let asked = parse(&[("since", "15m"), ("namespace", "shop"), ("limit", "5")]).unwrap();
        assert_eq!(asked.query.since.as_deref(), Some("2023-11-14T21:58:20.000Z"));
        assert_eq!((asked.query.namespace.as_deref(), asked.limit), (Some("shop"), 5));
        let time = parse(&[("since", "2026-03-01T15:03:11.5+01:00")]).unwrap();
        assert_eq!(time.query.since.as_deref(), Some("2026-03-01T14:03:11.500Z"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (parameters, named) in [
            (&[("since", "yesterday")][..], "`since`"),
            (&[("limit", "0")], "`limit`"),
            (&[("limit", "many")], "`limit`"),
            (&[("namespace", "")], "`namespace`"),
            (&[("cause", "a"), ("cause", "b")], "`cause`"),
            (&[("pod", "a")], "`pod`"),
        ] {
            let error = parse(parameters).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
