//! Names as they were asked for, out of names with search domains behind them.

use std::hash::BuildHasher as _;

use rustc_hash::FxBuildHasher;

/// The domain that nearly every cluster uses; others are learned from `.svc.` in the names themselves.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// Tells a name's first label from others, which all expansions of a name share.
pub(super) fn label(name: &str) -> u64 {
    FxBuildHasher.hash_one(name.split('.').next())
}

/// `long` is `short` with a search domain behind it.
pub(super) fn extends(long: &str, short: &str) -> bool {
    long.len() > short.len() && long.starts_with(short) && long.as_bytes()[short.len()] == b'.' && !short.is_empty()
}

/// The name that was asked for, without the kubelet's search domains (`NS.svc.DOMAIN`, `svc.DOMAIN`, `DOMAIN`).
pub(super) fn base(name: &str, namespace: Option<&str>) -> String {
    let domain = name.rfind(".svc.").map_or(CLUSTER_DOMAIN, |at| &name[at + 5..]);
    let mut rest = name;
    loop {
        let before = rest;
        if let Some(namespace) = namespace {
            rest = rest.strip_suffix(&format!(".{namespace}.svc.{domain}")).unwrap_or(rest);
        }
        rest = rest.strip_suffix(&format!(".svc.{domain}")).unwrap_or(rest);
        rest = rest.strip_suffix(&format!(".{domain}")).unwrap_or(rest);
        if rest == before {
            break;
        }
    }
    // `cart.shop`, asked for in `shop`, is `cart` in one search domain and `cart.shop` in another.
    let own = namespace.filter(|_| rest != name).and_then(|namespace| rest.strip_suffix(namespace)?.strip_suffix('.'));
    own.unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_fold_into_the_name_that_was_asked_for() {
        let ns = Some("shop");
        for name in ["cart.shop.svc.cluster.local", "cart.svc.cluster.local", "cart.cluster.local", "cart"] {
            assert_eq!(base(name, ns), "cart", "{name}");
        }
        for name in ["cart.shop.shop.svc.cluster.local", "cart.shop.svc.cluster.local", "cart.shop.cluster.local"] {
            assert_eq!(base(name, ns), "cart", "{name}");
        }
        assert_eq!(base("cart.shop", ns), "cart.shop", "it may be a name of the world");
        assert_eq!(base("cart.other.svc.cluster.local", ns), "cart.other");
        assert_eq!(base("cart.other.svc.cluster.local.shop.svc.cluster.local", ns), "cart.other");
        assert_eq!(base("api.example.com.shop.svc.cluster.local", ns), "api.example.com");
        assert_eq!(base("cart.shop.svc.corp.example", ns), "cart");
    }

    #[test]
    fn a_node_domain_behind_a_name_extends_it() {
        assert!(extends("api.example.com.ec2.internal", "api.example.com"));
        assert!(!extends("api.example.community", "api.example.com"));
    }
}
