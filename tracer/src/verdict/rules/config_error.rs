//! `config-error`: a container can't be made or started as its pod's configuration says: a ConfigMap, a Secret or a key of
//! one is missing, a mount doesn't fit.

use super::missing::Missing;
use crate::{
    correlate::Chain,
    verdict::{Context, Judgement, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let missing = Missing::by(cause::CONFIG_ERROR, chain, context)?;
    let namespace = missing.first().map(|pod| pod.metadata.namespace.clone()).unwrap_or_default();
    let found = missing.judgement(context, cause::CONFIG_ERROR, 0.97, "can't be started as configured");
    Some(found.next(format!("kubectl -n {namespace} get configmaps,secrets")))
}
