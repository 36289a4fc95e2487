//! What a box may reach: judged here, on the host, by names and by addresses.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The address by which a box calls its host, as docker's `host-gateway`. Connections to it go to the host's loopback.
pub const GATEWAY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
];

/// Names that stand for the host's loopback in a rule.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "host-gateway", "host.docker.internal"];

/// Addresses at which clouds tell a machine its secrets, besides the link-local ones: AWS over IPv6, Alibaba, Oracle, Azure.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

const UNSPECIFIED: &str = "unspecified";

/// Addresses that are remembered as those of an allowed name.
const LEARNED: usize = 4096;
/// How long an address stays good for a name after it was looked up: programs keep addresses longer than resolvers do.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// What a box may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Everything but what is special: see [`Policy::judge`].
    everywhere: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    host: Pattern,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    /// A name with something before it: `.example.org`.
    Below(String),
    /// An address and the number of its bits that count.
    Net(IpAddr, u8),
    /// The host's loopback.
    Loopback,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rules do not name it.
    NotAllowed,
    /// It is the host's own, link-local, a cloud's metadata, unspecified, multicast or broadcast, and the rules do not name it
    /// by its address.
    Special(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::NotAllowed => write!(out, "no rule of the network allows it"),
            Refusal::Special(what) => {
                write!(out, "it is {what}; a rule of the network must name it")
            }
        }
    }
}

impl Policy {
    /// Nothing.
    pub fn none() -> Self {
        Policy::default()
    }

    /// What the host reaches, but for what is special.
    pub fn host() -> Self {
        Policy { everywhere: true, rules: Vec::new() }
    }

    /// The loopback of the host may be reached, at [`GATEWAY`].
    pub fn open_loopback(&mut self) {
        self.rules.push(Rule { host: Pattern::Loopback, ports: 0..=u16::MAX });
    }

    /// Adds what one word of the command line grants: `none`, `host`, or `allow=HOST:PORT,…`. HOST is a name, `*.name`, an
    /// address (IPv6 in brackets) or a network (`10.0.0.0/8`); PORT a number, a range or `*`.
    ///
    /// # Errors
    /// What is wrong with the word.
    pub fn grant(&mut self, word: &str) -> Result<(), String> {
        match word {
            "none" => Ok(()),
            "host" => {
                self.everywhere = true;
                Ok(())
            }
            _ => {
                let list = word.strip_prefix("allow=").ok_or_else(|| {
                    format!("{word:?} is neither none nor host nor allow=HOST:PORT,…")
                })?;
                for entry in list.split(',') {
                    self.rules.push(Rule::parse(entry)?);
                }
                Ok(())
            }
        }
    }

    /// Whether nothing at all may be reached.
    pub fn is_none(&self) -> bool {
        !self.everywhere && self.rules.is_empty()
    }

    /// Whether an IPv6 address could be allowed.
    pub fn has_v6(&self) -> bool {
        let v6 = |rule: &Rule| !matches!(rule.host, Pattern::Net(IpAddr::V4(_), _));
        self.everywhere || self.rules.iter().any(v6)
    }

    /// Whether the name may be looked up at all.
    pub fn may_ask(&self, name: &str) -> bool {
        let name = plain(name);
        // Services are named below their domain: `_https._tcp.example.org`.
        let mut names = vec![name.as_str()];
        let mut rest = name.as_str();
        while rest.starts_with('_') {
            match rest.split_once('.') {
                Some((_, below)) => rest = below,
                None => break,
            }
            names.push(rest);
        }
        self.everywhere
            || self.rules.iter().any(|rule| names.iter().any(|name| rule.host.names(name)))
    }

    /// Whether an address may be turned into a name.
    pub fn may_ask_address(&self, ip: IpAddr) -> bool {
        self.everywhere || self.rules.iter().any(|rule| rule.host.holds(ip.to_canonical()))
    }

    /// Whether an address that a look-up of `name` gave may be connected to at that port.
    pub fn allows_name(&self, name: &str, port: u16) -> bool {
        let name = plain(name);
        self.everywhere
            || self.rules.iter().any(|rule| rule.ports.contains(&port) && rule.host.names(&name))
    }

    /// Judges a connection: where to really go. `names` are those that `to` was looked up as.
    ///
    /// # Errors
    /// It is refused.
    pub fn judge(&self, to: SocketAddr, names: &[String]) -> Result<SocketAddr, Refusal> {
        let (ip, port) = (to.ip().to_canonical(), to.port());
        let named = |ip: IpAddr| {
            self.rules.iter().any(|rule| rule.ports.contains(&port) && rule.host.means(ip))
        };
        if GATEWAY.contains(&ip) {
            let loopback: IpAddr =
                if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            let exactly = [Pattern::Loopback, Pattern::Net(ip, width(ip))];
            let means = |rule: &Rule| rule.ports.contains(&port) && exactly.contains(&rule.host);
            let allowed = self.rules.iter().any(means) || named(loopback);
            return match allowed {
                true => Ok(SocketAddr::new(loopback, port)),
                false => Err(Refusal::Special("the loopback of the host")),
            };
        }
        if named(ip) {
            return Ok(SocketAddr::new(ip, port));
        }
        if let Some(what) = special(ip) {
            return Err(Refusal::Special(what));
        }
        match self.everywhere || names.iter().any(|name| self.allows_name(name, port)) {
            true => Ok(SocketAddr::new(ip, port)),
            false => Err(Refusal::NotAllowed),
        }
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |reason: &str| format!("{text:?}: {reason}");
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && (!host.contains(':') || host.starts_with('[')))
            .ok_or_else(|| wrong("must be of the form HOST:PORT (an IPv6 address in brackets)"))?;
        let number = |text: &str| text.parse::<u16>().ok();
        let ports = match port.split_once('-') {
            _ if port == "*" => Some(0..=u16::MAX),
            Some((first, last)) => number(first).zip(number(last)).map(|(a, b)| a..=b),
            None => number(port).map(|port| port..=port),
        };
        let ports = ports
            .filter(|ports| !ports.is_empty())
            .ok_or_else(|| wrong("the port is a number, a range FIRST-LAST, or *"))?;
        let host = Pattern::parse(host).ok_or_else(|| {
            wrong("the host is a name, *.NAME, an address, or a network such as 10.0.0.0/8")
        })?;
        Ok(Rule { host, ports })
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let bare = bare(text);
        if let Some((address, bits)) = bare.split_once('/') {
            let (ip, bits) =
                (self::bare(address).parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            return (bits <= width(ip)).then_some(Pattern::Net(ip, bits));
        }
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return Some(Pattern::Net(ip, width(ip)));
        }
        let name = plain(bare);
        if LOOPBACK_NAMES.contains(&name.as_str()) {
            return Some(Pattern::Loopback);
        }
        let (rest, below) = match name.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (name.as_str(), false),
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if rest.is_empty() || rest.len() > 253 || !rest.chars().all(letters) {
            return None;
        }
        Some(if below { Pattern::Below(format!(".{rest}")) } else { Pattern::Name(name) })
    }

    fn names(&self, name: &str) -> bool {
        match self {
            Pattern::Name(own) => own == name,
            Pattern::Below(end) => name.len() > end.len() && name.ends_with(end.as_str()),
            Pattern::Net(..) | Pattern::Loopback => false,
        }
    }

    /// Whether the pattern is an address or network with `ip` in it. A special address must be meant: a network that
    /// happens to reach over it does not name it.
    fn means(&self, ip: IpAddr) -> bool {
        let Pattern::Net(net, bits) = self else { return false };
        self.holds(ip)
            && match special(ip) {
                None => true,
                Some(UNSPECIFIED) => *bits == width(ip),
                what => what == special(*net),
            }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        let Pattern::Net(net, bits) = self else { return false };
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let shift = 128 - u32::from(*bits);
        net.is_ipv4() == ip.is_ipv4()
            && (number(*net) ^ number(ip)).checked_shr(shift).unwrap_or(0) == 0
    }
}

/// An IPv6 address without its brackets.
fn bare(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// A name in small letters, without the dot at its end.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What makes an address one that must be named; addresses that hold an IPv4 address count as that one.
fn special(ip: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&ip) {
        return Some("where clouds tell a machine its secrets");
    }
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some(UNSPECIFIED),
        IpAddr::V4(ip) if ip.is_loopback() => Some("the loopback of the host"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local"),
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Some("no single host"),
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some(UNSPECIFIED),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("the loopback of the host"),
            // NAT64, 6to4, and the old form of IPv4 in IPv6.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
                special(v4(high, low))
            }
            [0x2002, high, low, ..] => special(v4(high, low)),
            [first, ..] if first & 0xffc0 == 0xfe80 => Some("link-local"),
            [first, ..] if first & 0xff00 == 0xff00 => Some("no single host"),
            _ => None,
        },
    }
}

fn v4(high: u16, low: u16) -> IpAddr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
}

/// Which addresses look-ups of allowed names gave.
#[derive(Debug, Default)]
pub struct Learned {
    names: HashMap<IpAddr, Vec<(String, Instant)>>,
    order: VecDeque<(IpAddr, String)>,
}

impl Learned {
    /// A look-up of `name` gave `ip`.
    pub fn add(&mut self, ip: IpAddr, name: &str, now: Instant) {
        let (ip, name) = (ip.to_canonical(), plain(name));
        let names = self.names.entry(ip).or_default();
        if let Some((_, time)) = names.iter_mut().find(|(known, _)| *known == name) {
            *time = now;
            return;
        }
        names.push((name.clone(), now));
        self.order.push_back((ip, name));
        if self.order.len() > LEARNED
            && let Some((ip, name)) = self.order.pop_front()
            && let Some(names) = self.names.get_mut(&ip)
        {
            names.retain(|(known, _)| *known != name);
            if names.is_empty() {
                self.names.remove(&ip);
            }
        }
    }

    /// The names that stand for an address.
    pub fn names(&self, ip: IpAddr, now: Instant) -> Vec<String> {
        let names = self.names.get(&ip.to_canonical()).map(Vec::as_slice).unwrap_or_default();
        let good = |(_, time): &&(String, Instant)| now.saturating_duration_since(*time) < GOOD_FOR;
        names.iter().filter(good).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(words: &[&str]) -> Policy {
        let mut policy = Policy::none();
        for word in words {
            assert_eq!(policy.grant(word), Ok(()), "{word}");
        }
        policy
    }

    fn to(text: &str) -> SocketAddr {
        text.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    #[test]
    fn host_means_everything_but_what_is_special() {
        let policy = policy(&["host"]);
        for open in ["93.184.216.34:443", "10.1.2.3:22", "[2001:db8::1]:80", "192.168.1.1:53"] {
            assert_eq!(policy.judge(to(open), &[]), Ok(to(open)), "{open}");
        }
        for shut in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "[::]:80",
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "224.0.0.251:5353",
            "255.255.255.255:67",
            "[ff02::1]:80",
            "172.17.0.1:80",
            "[fd00::1]:80",
        ] {
            let found = policy.judge(to(shut), &["example.org".to_owned()]);
            assert!(matches!(found, Err(Refusal::Special(_))), "{shut}: {found:?}");
        }
    }

    #[test]
    fn rules_name_hosts_and_ports() {
        let words = ["allow=Example.org:443,*.deb.example:80-81,10.0.0.0/8:*,[2001:db8::]/32:22"];
        let policy = policy(&words);
        let name = |name: &str| [name.to_owned()];
        let far = |port: u16| SocketAddr::from(([203, 0, 113, 9], port));
        assert_eq!(policy.judge(far(443), &name("example.org")), Ok(far(443)));
        assert_eq!(policy.judge(far(80), &name("example.org")), Err(Refusal::NotAllowed));
        assert_eq!(policy.judge(far(443), &[]), Err(Refusal::NotAllowed), "never looked up");
        assert_eq!(policy.judge(far(443), &name("www.example.org")), Err(Refusal::NotAllowed));
        assert_eq!(policy.judge(far(81), &name("a.deb.example")), Ok(far(81)));
        assert_eq!(policy.judge(far(81), &name("deb.example")), Err(Refusal::NotAllowed));
        assert_eq!(policy.judge(far(81), &name("xdeb.example")), Err(Refusal::NotAllowed));
        assert!(policy.judge(to("10.255.0.1:9"), &[]).is_ok());
        assert!(policy.judge(to("11.0.0.1:9"), &[]).is_err());
        assert!(policy.judge(to("[2001:db8:ffff::1]:22"), &[]).is_ok());
        assert!(policy.judge(to("[2001:db9::1]:22"), &[]).is_err());
        // A name that points at the host's own does not open it.
        assert!(policy.judge(to("127.0.0.1:443"), &name("example.org")).is_err());
        assert!(policy.judge(to("169.254.169.254:443"), &name("example.org")).is_err());
        assert!(policy.may_ask("EXAMPLE.org.") && policy.may_ask("_https._tcp.example.org"));
        assert!(!policy.may_ask("example.com") && !policy.may_ask("x.example.org"));
    }

    #[test]
    fn the_hosts_loopback_is_reached_where_it_is_named() {
        for word in ["127.0.0.1:5432", "localhost:5432", "host-gateway:5432", "127.0.0.0/8:*"] {
            let policy = policy(&[&format!("allow={word}")]);
            let found = policy.judge(to("172.17.0.1:5432"), &[]);
            assert_eq!(found, Ok(to("127.0.0.1:5432")), "{word}");
            if !word.ends_with('*') {
                assert!(policy.judge(to("172.17.0.1:5433"), &[]).is_err());
            }
        }
        let policy = policy(&["host", "allow=169.254.169.254:80"]);
        assert!(policy.judge(to("169.254.169.254:80"), &[]).is_ok());
        assert!(policy.judge(to("169.254.169.254:81"), &[]).is_err());
        assert!(policy.judge(to("169.254.1.1:80"), &[]).is_err());
        let policy = self::policy(&["allow=0.0.0.0/0:*"]);
        assert!(policy.judge(to("198.51.100.1:80"), &[]).is_ok());
        for shut in ["0.0.0.0:80", "169.254.169.254:80", "172.17.0.1:80", "127.0.0.1:80"] {
            assert!(policy.judge(to(shut), &[]).is_err(), "{shut}");
        }
    }

    #[test]
    fn words_that_are_none_say_what_is_wrong() {
        for word in [
            "bridge",
            "allow=",
            "allow=example.org",
            "allow=:80",
            "allow=example.org:http",
            "allow=example.org:90-80",
            "allow=::1:80",
            "allow=10.0.0.0/33:80",
            "allow=exa mple:80",
            "allow=*.:80",
        ] {
            assert!(Policy::none().grant(word).is_err(), "{word}");
        }
    }

    #[test]
    fn what_was_learned_is_forgotten_in_time_and_bounded() {
        let mut learned = Learned::default();
        let start = Instant::now();
        let ip = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        learned.add(ip(1), "a.", start);
        learned.add(ip(1), "B", start);
        assert_eq!(learned.names(ip(1), start), ["a", "b"]);
        assert!(learned.names(ip(1), start + GOOD_FOR).is_empty());
        for n in 0..20_000 {
            learned.add(ip(n), "many", start);
        }
        assert!(learned.names.len() <= LEARNED && learned.order.len() <= LEARNED);
        assert_eq!(learned.names(ip(19_999), start), ["many"]);
    }
}
