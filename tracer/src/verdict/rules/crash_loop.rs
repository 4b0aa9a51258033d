//! `crash-loop`: a container ends again and again, and the kubelet waits longer each time before it starts it.

use super::missing::Missing;
use crate::{
    correlate::Chain,
    verdict::{Context, Judgement, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let missing = Missing::by(cause::CRASH_LOOP, chain, context)?;
    let found = missing.judgement(context, cause::CRASH_LOOP, 0.96, "keeps crashing");
    let logs = found.origin.as_ref().and_then(super::common::logs_command);
    Some(match logs {
        Some(logs) => found.next(format!("{logs} --previous")),
        None => found,
    })
}
