//! Whether a proxy of the environment is meant for the API server.

use std::net::IpAddr;

use ipnet::IpNet;

/// As Go's `golang.org/x/net/http/httpproxy` reads `NO_PROXY`, and so as `kubectl` does: this host is reached without a
/// proxy. kube's client compares it with the proxy's own address.
pub(super) fn is_exempt(no_proxy: &str, host: &str, port: u16) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return address.is_some_and(|ip| network.contains(&ip));
        }
        // A single colon is a port's: IPv6 addresses have more.
        let (name, wanted) = match entry.rsplit_once(':') {
            Some((name, number)) if !name.contains(':') || name.ends_with(']') => (name, number.parse::<u16>().ok()),
            _ => (entry.as_str(), None),
        };
        let name = name.trim_matches(['[', ']']);
        if wanted.is_some_and(|wanted| wanted != port) {
            return false;
        }
        if let Ok(single) = name.parse::<IpAddr>() {
            return address == Some(single);
        }
        let name = name.strip_prefix('*').unwrap_or(name);
        match name.strip_prefix('.') {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
        }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("", "api.example.com", false)]
    #[case::loopback("", "127.0.0.1", true)]
    #[case::loopback_v6("", "[::1]", true)]
    #[case::localhost("", "localhost", true)]
    #[case::everything("*", "api.example.com", true)]
    #[case::name("a.com, api.example.com", "API.example.com.", true)]
    #[case::subdomain("example.com", "api.example.com", true)]
    #[case::only_subdomains(".example.com", "example.com", false)]
    #[case::below_a_dot(".example.com", "api.example.com", true)]
    #[case::not_within_a_word("example.com", "badexample.com", false)]
    #[case::address("10.96.0.1", "10.96.0.1", true)]
    #[case::other_address("10.96.0.1", "10.96.0.10", false)]
    #[case::network("10.0.0.0/8,fd00::/8", "10.96.0.1", true)]
    #[case::network_v6("fd00::/8", "[fd00::1]", true)]
    #[case::port("api.example.com:6443", "api.example.com", true)]
    #[case::other_port("api.example.com:443", "api.example.com", false)]
    #[case::address_v6("[fd00::1]:6443", "[fd00::1]", true)]
    fn hosts_are_exempt(#[case] no_proxy: &str, #[case] host: &str, #[case] expected: bool) {
        assert_eq!(is_exempt(no_proxy, host, 6443), expected);
    }
}
