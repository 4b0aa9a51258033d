//! `image-error`: a container's image can't be had, or what is to be executed isn't in it or isn't for this machine.

use super::missing::Missing;
use crate::{
    correlate::Chain,
    verdict::{Context, Judgement, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let missing = Missing::by(cause::IMAGE_ERROR, chain, context)?;
    Some(missing.judgement(context, cause::IMAGE_ERROR, 0.97, "can't run its image"))
}
