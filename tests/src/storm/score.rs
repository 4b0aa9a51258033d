//! What the tracer made of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::{Site, calm};
use crate::{
    capture::Incidents,
    cluster::Plan,
    scenario::{Expected, expect},
};

/// More sites than this in a hundred faults without a score: the machine is too busy.
const VOID_PERCENT: usize = 10;

/// What became of one fault, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Missed,
    Unknown,
    Right,
    WrongCause,
    WrongOrigin,
}

/// One expected incident, with what was said.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    pub site: String,
    pub expected: Expected,
    pub outcome: Outcome,
    /// The incidents that are neither right nor unknown.
    pub wrong: Vec<Value>,
}

#[derive(Debug, Default)]
pub struct Score {
    pub faults: Vec<Fault>,
    pub false_alarms: Vec<Value>,
    /// Sites whose clients saw something else than their scenarios say, so that nobody knows what should be told of them.
    pub void: BTreeSet<String>,
}

impl Score {
    pub fn of(plan: &Plan, sites: &[Site], void: BTreeSet<String>, incidents: &Incidents) -> Result<Self> {
        let mut score = Self { void, ..Self::default() };
        for site in sites.iter().filter(|site| !score.void.contains(&site.name)) {
            for expected in &site.scenario.expect {
                // What burdens the node burdens all of them, and looks at it are limited: evidence isn't compared.
                let expected = Expected { evidence: BTreeMap::new(), ..expected.expanded(plan)? };
                let site = site.name.clone();
                score.faults.push(Fault { site, expected, outcome: Outcome::Missed, wrong: vec![] });
            }
        }
        for incident in incidents.iter() {
            score.add(plan, sites, incident)?;
        }
        Ok(score)
    }

    fn add(&mut self, plan: &Plan, sites: &[Site], incident: &Value) -> Result<()> {
        let Some(site) = site_of(sites, incident) else {
            self.false_alarms.push(incident.clone());
            return Ok(());
        };
        if self.void.contains(&site.name) {
            return Ok(());
        }
        let faults: Vec<&mut Fault> = self.faults.iter_mut().filter(|fault| fault.site == site.name).collect();
        let mut best: Option<(Outcome, &mut Fault)> = None;
        for fault in faults {
            let Some(outcome) = judge(plan, &site.scenario.expect, fault, incident)? else { continue };
            // What fits is meant; among what doesn't, the nearest.
            let nearer = |known: &Outcome| rank(outcome) < rank(*known);
            if best.as_ref().is_none_or(|(known, _)| nearer(known)) {
                best = Some((outcome, fault));
            }
        }
        match best {
            Some((outcome, fault)) => {
                fault.outcome = fault.outcome.max(outcome);
                if outcome > Outcome::Right {
                    fault.wrong.push(incident.clone());
                }
            }
            None => self.false_alarms.push(incident.clone()),
        }
        Ok(())
    }

    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.faults.iter().filter(|fault| fault.outcome == outcome).count()
    }

    /// Nobody blamed wrongly, nothing missed, and no more left unexplained, or void, than allowed.
    #[must_use]
    pub fn is_good(&self, unknown_percent: usize) -> bool {
        let none = [Outcome::WrongCause, Outcome::WrongOrigin, Outcome::Missed].iter().all(|o| self.count(*o) == 0);
        let few = |count: usize, percent: usize| count * 100 <= self.faults.len() * percent;
        none && self.false_alarms.is_empty()
            && few(self.count(Outcome::Unknown), unknown_percent)
            && few(self.void.len(), VOID_PERCENT)
    }
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Right => 0,
        Outcome::Unknown => 1,
        Outcome::WrongOrigin => 2,
        Outcome::WrongCause | Outcome::Missed => 3,
    }
}

/// What the incident says of the fault; nothing if it is about something else.
fn judge(plan: &Plan, all: &[Expected], fault: &Fault, incident: &Value) -> Result<Option<Outcome>> {
    let expected = &fault.expected;
    let about = |wanted: &Expected| match wanted.symptom.get("path") {
        Some(path) => *path == incident["symptom"]["path"],
        None => incident["symptom"]["path"].is_null(),
    };
    if expected.differences(plan, incident)?.is_empty() || expect::is_inner(plan, expected, incident)? {
        return Ok(Some(Outcome::Right));
    }
    // Nobody's path is the path of an inner hop: any fault of the site may be meant.
    if !about(expected) && all.iter().any(about) {
        return Ok(None);
    }
    let wrong = |field: &str, value: &String| incident["cause"]["origin"][field] != value.as_str();
    Ok(Some(match incident["cause"]["id"].as_str() {
        Some("unknown") => Outcome::Unknown,
        Some(cause) if cause != expected.cause => Outcome::WrongCause,
        _ if expected.origin.iter().any(|(field, value)| wrong(field, value)) => Outcome::WrongOrigin,
        // Cause and origin are right, and the way there isn't.
        _ => Outcome::WrongCause,
    }))
}

/// Whose fault the incident may be about: nobody's if healthy traffic heads its path.
fn site_of<'a>(sites: &'a [Site], incident: &Value) -> Option<&'a Site> {
    let path = incident["path"].as_array().map_or(&[][..], Vec::as_slice);
    let namespaces = path.iter().chain([&incident["cause"]["origin"]]).flat_map(|hop| {
        let service =
            hop["service"].as_str().and_then(|service| service.split_once('/')).map(|(namespace, _)| namespace);
        hop["namespace"].as_str().into_iter().chain(service)
    });
    let names: Vec<&str> = namespaces.collect();
    if names.first() == Some(&calm::NAMESPACE) {
        return None;
    }
    names.iter().find_map(|name| sites.iter().find(|site| site.has(name)))
}
