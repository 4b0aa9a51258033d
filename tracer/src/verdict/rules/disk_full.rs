//! `disk-full`: the container failed a request, and a volume that it writes to is full.

use super::common::{exchange_evidence, logs_command, server_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::Volume,
    verdict::{Context, Judgement, around, cause},
};

/// Free space below this is none, in thousandths: blocks are handed out in clusters.
const FREE_PER_MILLE: u64 = 5;
const WORDS: [&str; 7] = [
    "no space left on device",
    "ENOSPC",
    "disk quota exceeded",
    "EDQUOT",
    "disk is full",
    "disk full",
    "not enough space on",
];

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    leaf.exchange.status()?;
    let volumes = &chain.around.resources.as_ref()?.volumes;
    let logged = around::logged(chain, &WORDS).is_some();
    let (volume, mut confidence) = if logged {
        (volumes.iter().find(|v| is_full(v))?, 0.95)
    } else {
        // A full volume beside another error is no more than evidence.
        if around::logged_error(chain) {
            return None;
        }
        (volumes.iter().find(|v| has_nothing_left(v))?, 0.7)
    };
    if leaf.blind {
        confidence *= 0.7;
    }
    let who = leaf.who.label();
    let what = if out_of_files(volume) { "has no room for another file" } else { "is full" };
    let summary = format!("{who} failed the request because its volume {} {what}", volume.path);
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let mut judgement = Judgement::new(cause::DISK_FULL, confidence, summary)
        .because([around::volume(volume), exchange_evidence(context, &who, &leaf.exchange)]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        let container = origin.container.as_ref().map(|name| format!(" -c {name}")).unwrap_or_default();
        judgement = judgement.next(format!("kubectl -n {namespace} exec {pod}{container} -- df -h {}", volume.path));
    }
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}

fn is_full(volume: &Volume) -> bool {
    out_of_files(volume) || volume.available.saturating_mul(1000) <= volume.size.saturating_mul(FREE_PER_MILLE)
}

fn has_nothing_left(volume: &Volume) -> bool {
    out_of_files(volume) || volume.available == 0
}

fn out_of_files(volume: &Volume) -> bool {
    volume.files > 0 && volume.files_available == 0
}
