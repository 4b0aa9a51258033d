//! `storage-error`: the container failed a request, and a file system that it writes to has stopped at an error.

use super::common::{exchange_evidence, logs_command, server_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::Volume,
    verdict::{Context, Judgement, around, cause},
};

/// An error that the file system recorded within this before the failure is the same trouble.
const RECENT_S: u64 = 60;
const WORDS: [&str; 7] = [
    "input/output error",
    "EIO",
    "read-only file system",
    "EROFS",
    "structure needs cleaning",
    "EUCLEAN",
    "disk i/o error",
];

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    leaf.exchange.status()?;
    let volumes = &chain.around.resources.as_ref()?.volumes;
    let failed_at = i128::from(leaf.exchange.end_ns) + i128::from(context.wall_offset_ns);
    let failed_s = u64::try_from(failed_at / 1_000_000_000).unwrap_or_default();
    let broken = |v: &&Volume| v.refusing.is_some() || v.error_at_s.is_some_and(|at| at + RECENT_S >= failed_s);
    let volume = volumes.iter().find(broken)?;
    let logged = around::logged(chain, &WORDS).is_some();
    // A broken file system beside another error is no more than evidence.
    if !logged && (around::logged_error(chain) || volume.refusing.is_none()) {
        return None;
    }
    let mut confidence = if logged { 0.95 } else { 0.7 };
    if leaf.blind {
        confidence *= 0.7;
    }
    let who = leaf.who.label();
    let what = if volume.refusing.is_some() { "takes no writes since an error" } else { "has errors" };
    let summary = format!("{who} failed the request because the file system of its volume {} {what}", volume.path);
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let mut judgement = Judgement::new(cause::STORAGE_ERROR, confidence, summary)
        .because([around::volume(volume), exchange_evidence(context, &who, &leaf.exchange)])
        .next("dmesg --level err,warn  # on the node");
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}
