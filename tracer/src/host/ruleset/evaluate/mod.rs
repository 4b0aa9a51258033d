//! A ruleset as `nft -j` prints it (libnftables-json(5)) against one dropped packet. What a rule asks for is met, not met,
//! or can't be told; a rule is named only if every other one that drops is excluded.

use std::net::IpAddr;

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::event::Flow;

/// Jumps followed one into another.
const DEPTH: usize = 16;
/// Rules looked at; longer rulesets aren't judged.
const RULES: usize = 50_000;

/// A rule, or a chain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    /// None: the chain's policy.
    pub(super) handle: Option<u64>,
    /// Its place among the chain's rules.
    pub(super) index: usize,
    pub(super) comment: Option<String>,
    /// Made by iptables: nft shows only a part of it.
    pub(super) foreign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Yes,
    Maybe,
    No,
}

impl Met {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::Maybe => Self::Maybe,
            Self::No => Self::Yes,
        }
    }

    fn known(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Family, table and chain.
type Name<'a> = (&'a str, &'a str, &'a str);

/// A chain and its rules.
#[derive(Debug, Default)]
struct Chain<'a> {
    itself: Option<&'a Value>,
    rules: Vec<&'a Value>,
}

/// How a packet leaves a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Or it may have been dropped: those are listed.
    On,
    Accepted,
    Dropped,
}

struct Ruleset<'a> {
    items: &'a [Value],
    chains: FxHashMap<Name<'a>, Chain<'a>>,
    flow: &'a Flow,
    found: Vec<Found>,
    looked_at: usize,
}

/// The only rule (or policy) that can have dropped the packet.
pub(super) fn the_one(listing: &Value, flow: &Flow) -> Option<Found> {
    let items = listing["nftables"].as_array()?;
    let mut chains: Vec<&Value> =
        items.iter().filter_map(|item| item.get("chain")).filter(|chain| is_base(chain, flow)).collect();
    chains.sort_by_key(|chain| chain["prio"].as_i64());
    let mut ruleset = Ruleset { items, chains: by_name(items), flow, found: Vec::new(), looked_at: 0 };
    for chain in chains {
        let way = ruleset.walk(chain, Met::Yes, 0)?;
        if way == Way::On && chain["policy"] == "drop" {
            ruleset.found.push(at(chain, None, 0));
            break;
        }
        if way == Way::Dropped {
            break;
        }
    }
    ruleset.found.dedup();
    <[Found; 1]>::try_from(ruleset.found).ok().map(|[only]| only)
}

fn by_name(items: &[Value]) -> FxHashMap<Name<'_>, Chain<'_>> {
    let mut chains: FxHashMap<Name<'_>, Chain<'_>> = FxHashMap::default();
    for item in items {
        if let Some(chain) = item.get("chain")
            && let Some(name) = name(chain, "name")
        {
            chains.entry(name).or_default().itself = Some(chain);
        } else if let Some(rule) = item.get("rule")
            && let Some(name) = name(rule, "chain")
        {
            chains.entry(name).or_default().rules.push(rule);
        }
    }
    chains
}

fn name<'a>(item: &'a Value, chain: &str) -> Option<Name<'a>> {
    Some((item["family"].as_str()?, item["table"].as_str()?, item[chain].as_str()?))
}

fn is_base(chain: &Value, flow: &Flow) -> bool {
    let family = chain["family"].as_str().unwrap_or_default();
    let own = if flow.destination.is_ipv4() { "ip" } else { "ip6" };
    (family == "inet" || family == own)
        && chain["hook"].as_str().is_some_and(|hook| flow.hook.eq_ignore_ascii_case(hook))
}

fn at(chain: &Value, rule: Option<&Value>, index: usize) -> Found {
    let text = |field: &str| chain[field].as_str().unwrap_or_default().to_owned();
    let expressions = rule.and_then(|rule| rule["expr"].as_array());
    Found {
        family: text("family"),
        table: text("table"),
        chain: text("name"),
        handle: rule.and_then(|rule| rule["handle"].as_u64()),
        index,
        comment: rule.and_then(|rule| rule["comment"].as_str()).map(str::to_owned),
        foreign: expressions.is_some_and(|all| all.iter().any(|one| one.get("xt").is_some())),
    }
}

impl<'a> Ruleset<'a> {
    /// Follows a chain, given whether the packet gets there. `None` where that is too much.
    fn walk(&mut self, chain: &'a Value, reached: Met, depth: usize) -> Option<Way> {
        if depth > DEPTH {
            return None;
        }
        let rules = self.chains.get(&name(chain, "name")?)?.rules.clone();
        for (index, rule) in rules.into_iter().enumerate() {
            self.looked_at += 1;
            if self.looked_at > RULES {
                return None;
            }
            let mut met = reached;
            for expression in rule["expr"].as_array()? {
                let (name, body) = expression.as_object()?.iter().next()?;
                match name.as_str() {
                    "match" => met = met.and(self.matches(body)),
                    // It counts what came so far, and nothing did.
                    "counter" if body["packets"] == 0 => met = Met::No,
                    "counter" | "log" | "mangle" | "notrack" | "meta" | "comment" => {}
                    "drop" | "reject" | "queue" => {
                        if met != Met::No {
                            self.found.push(at(chain, Some(rule), index));
                        }
                        if met == Met::Yes {
                            return Some(Way::Dropped);
                        }
                        break;
                    }
                    "accept" | "return" => {
                        if met == Met::Yes {
                            return Some(if name == "accept" { Way::Accepted } else { Way::On });
                        }
                        break;
                    }
                    "jump" | "goto" => {
                        let way = self.jump(chain, &body["target"], met, depth)?;
                        if met == Met::Yes && (way != Way::On || name == "goto") {
                            return Some(way);
                        }
                        break;
                    }
                    "vmap" => met = met.and(self.vmap(chain, rule, index, body, met, depth)?),
                    "xt" if body["type"] == "target" => {
                        if matches!(body["name"].as_str(), Some("REJECT" | "DROP" | "NFQUEUE" | "SYNPROXY"))
                            && met != Met::No
                        {
                            self.found.push(at(chain, Some(rule), index));
                        }
                        // Whether it ends the rule isn't shown.
                        met = met.and(Met::Maybe);
                    }
                    // Limits, matches of xtables, what is new: unknown.
                    _ => met = met.and(Met::Maybe),
                }
                if met == Met::No {
                    break;
                }
            }
        }
        Some(Way::On)
    }

    fn jump(&mut self, from: &'a Value, target: &'a Value, met: Met, depth: usize) -> Option<Way> {
        if met == Met::No {
            return Some(Way::On);
        }
        let chain = self.chains.get(&(from["family"].as_str()?, from["table"].as_str()?, target.as_str()?))?.itself?;
        self.walk(chain, met, depth + 1)
    }

    /// A verdict map: each verdict may be the one. Whether the rule goes on is unknown then.
    fn vmap(
        &mut self,
        chain: &'a Value,
        rule: &'a Value,
        index: usize,
        body: &'a Value,
        met: Met,
        depth: usize,
    ) -> Option<Met> {
        let elements = self.elements(&body["data"])?;
        for element in elements {
            let (key, verdict) = (element.get(0)?, element.get(1)?.as_object()?.iter().next()?);
            let met = met.and(self.equals(&body["key"], key)).and(Met::Maybe);
            if met == Met::No {
                continue;
            }
            match verdict.0.as_str() {
                "drop" | "queue" => self.found.push(at(chain, Some(rule), index)),
                "jump" | "goto" => {
                    self.jump(chain, &verdict.1["target"], met, depth)?;
                }
                _ => {}
            }
        }
        Some(Met::Maybe)
    }

    /// What a set or map holds, named or not.
    fn elements(&self, data: &'a Value) -> Option<&'a [Value]> {
        if let Some(name) = data.as_str().and_then(|name| name.strip_prefix('@')) {
            let sets = self.items.iter().filter_map(|item| item.get("set").or_else(|| item.get("map")));
            // The same name in two tables: which is meant isn't known here.
            let mut named = sets.filter(|set| set["name"] == name);
            let set = named.next()?;
            return named.next().is_none().then(|| set["elem"].as_array().map_or(&[][..], Vec::as_slice));
        }
        data["set"].as_array().map(Vec::as_slice)
    }

    fn matches(&self, body: &'a Value) -> Met {
        let (left, right) = (&body["left"], &body["right"]);
        // A question about another protocol is answered by no.
        if !self.applies(left) {
            return Met::No;
        }
        match body["op"].as_str() {
            Some("==") => self.equals(left, right),
            Some("!=") => self.equals(left, right).not(),
            _ => Met::Maybe,
        }
    }

    /// Whether the packet has such a header.
    fn applies(&self, left: &Value) -> bool {
        match left["payload"]["protocol"].as_str() {
            Some("ip") => self.flow.destination.is_ipv4(),
            Some("ip6") => self.flow.destination.is_ipv6(),
            Some("tcp") => self.flow.protocol == 6,
            Some("udp") => self.flow.protocol == 17,
            Some("icmp" | "icmpv6" | "sctp" | "dccp" | "esp" | "ah") => !matches!(self.flow.protocol, 6 | 17),
            _ => true,
        }
    }

    fn equals(&self, left: &Value, right: &'a Value) -> Met {
        if right.as_str().is_some_and(|text| text.starts_with('@')) || right.get("set").is_some() {
            let Some(elements) = self.elements(right) else { return Met::Maybe };
            let any =
                elements.iter().map(|element| self.equals(left, element.get("elem").map_or(element, |e| &e["val"])));
            return any.fold(Met::No, |met, one| met.not().and(one.not()).not());
        }
        if let (Some(left), Some(right)) = (left["concat"].as_array(), right["concat"].as_array()) {
            return left.iter().zip(right).map(|(l, r)| self.equals(l, r)).fold(Met::Yes, Met::and);
        }
        let Flow { source, destination, protocol, .. } = self.flow;
        let payload = &left["payload"];
        match (payload["protocol"].as_str(), payload["field"].as_str(), left["meta"]["key"].as_str()) {
            (Some("ip" | "ip6"), Some("saddr"), _) => is_address(source.ip(), right),
            (Some("ip" | "ip6"), Some("daddr"), _) => is_address(destination.ip(), right),
            (Some("tcp" | "udp" | "th"), Some("sport"), _) => is_number(source.port().into(), right),
            (Some("tcp" | "udp" | "th"), Some("dport"), _) => is_number(destination.port().into(), right),
            (Some("ip"), Some("protocol"), _) | (Some("ip6"), Some("nexthdr"), _) | (_, _, Some("l4proto")) => {
                match (right.as_str(), right.as_u64()) {
                    (Some("tcp"), _) => Met::known(*protocol == 6),
                    (Some("udp"), _) => Met::known(*protocol == 17),
                    (Some("icmp" | "icmpv6" | "ipv6-icmp" | "sctp"), _) => Met::known(!matches!(protocol, 6 | 17)),
                    (_, Some(number)) => Met::known(u64::from(*protocol) == number),
                    _ => Met::Maybe,
                }
            }
            (_, _, Some("nfproto")) => match right.as_str() {
                Some("ipv4") => Met::known(destination.is_ipv4()),
                Some("ipv6") => Met::known(destination.is_ipv6()),
                _ => Met::Maybe,
            },
            _ => Met::Maybe,
        }
    }
}

fn is_number(number: u64, right: &Value) -> Met {
    if let Some([from, to]) = right["range"].as_array().map(Vec::as_slice) {
        return match (from.as_u64(), to.as_u64()) {
            (Some(from), Some(to)) => Met::known((from..=to).contains(&number)),
            _ => Met::Maybe,
        };
    }
    right.as_u64().map_or(Met::Maybe, |right| Met::known(right == number))
}

fn is_address(address: IpAddr, right: &Value) -> Met {
    let parse = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let prefix = &right["prefix"];
    if let (Some(network), Some(length)) = (parse(&prefix["addr"]), prefix["len"].as_u64()) {
        let network = u8::try_from(length).ok().and_then(|length| ipnet::IpNet::new(network, length).ok());
        return network.map_or(Met::Maybe, |network| Met::known(network.contains(&address)));
    }
    if let Some([from, to]) = right["range"].as_array().map(Vec::as_slice) {
        return match (parse(from), parse(to)) {
            (Some(from), Some(to)) => Met::known(from <= address && address <= to),
            _ => Met::Maybe,
        };
    }
    parse(right).map_or(Met::Maybe, |right| Met::known(right == address))
}

#[cfg(test)]
mod tests;
