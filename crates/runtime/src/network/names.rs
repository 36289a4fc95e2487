//! Looking up names for a box: A, AAAA and PTR as this system does it, its `/etc/hosts` included; everything else, and
//! what the system does not know, from its name server (RFC 1035, RFC 7766).

use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

/// Seconds that an answer of the system's resolver, which does not say, may be kept.
const TTL: u32 = 30;
/// Name servers that are asked, as resolv.conf(5) has it.
const MAX_SERVERS: usize = 3;
/// How long a name server may take, each of two times.
const PATIENCE: Duration = Duration::from_secs(4);
const DOMAIN: u16 = 53;
/// Addresses in one answer.
const MAX_ADDRESSES: usize = 64;

/// What a query asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, without a dot at its end.
    pub name: String,
    /// What of it.
    pub kind: Kind,
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    /// The name of an address.
    NameOf(IpAddr),
    Other,
}

/// Understands a query with one question.
pub fn question(message: &[u8]) -> Option<Question> {
    let packet = Packet::parse(message).ok()?;
    let [asked] = packet.questions.as_slice() else { return None };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let name = text(&asked.qname);
    let kind = match asked.qtype {
        QTYPE::TYPE(TYPE::A) => Kind::V4,
        QTYPE::TYPE(TYPE::AAAA) => Kind::V6,
        QTYPE::TYPE(TYPE::PTR) => reverse(&name).map_or(Kind::Other, Kind::NameOf),
        _ => Kind::Other,
    };
    Some(Question { name, kind })
}

/// The answer to a query that is not carried out (RCODE 5).
pub fn refusal(message: &[u8]) -> Option<Vec<u8>> {
    reply(message, Vec::new(), RCODE::Refused)
}

/// Addresses that an answer gives.
pub fn addresses(answer: &[u8]) -> Vec<IpAddr> {
    let Ok(packet) = Packet::parse(answer) else { return Vec::new() };
    let address = |record: &ResourceRecord<'_>| match &record.rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from_bits(a.address))),
        _ => None,
    };
    packet.answers.iter().filter_map(address).take(MAX_ADDRESSES).collect()
}

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// Ask the system first.
    system: bool,
}

impl Resolver {
    /// The system's resolver, or only these name servers.
    pub fn new(servers: &[IpAddr]) -> Self {
        let system = servers.is_empty();
        let servers = if system { system_servers() } else { servers.to_vec() };
        let servers = servers.into_iter().take(MAX_SERVERS).map(|ip| (ip, DOMAIN).into()).collect();
        Resolver { servers, system }
    }

    /// Whether packets to this address are questions to a name server.
    pub fn is_server(&self, address: SocketAddr) -> bool {
        !self.system && self.servers.contains(&address)
    }

    /// Answers a query: a whole message, or none if nobody answered.
    pub async fn answer(&self, message: &[u8], question: &Question) -> Option<Vec<u8>> {
        if self.system
            && let Some(answer) = self.ask_system(message, question).await
        {
            return Some(answer);
        }
        for _ in 0..2 {
            for server in &self.servers {
                if let Ok(Some(answer)) = timeout(PATIENCE, ask(*server, message)).await {
                    return Some(answer);
                }
            }
        }
        None
    }

    async fn ask_system(&self, message: &[u8], question: &Question) -> Option<Vec<u8>> {
        let records: Vec<RData<'static>> = match question.kind {
            Kind::V4 | Kind::V6 => {
                let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if question.name.is_empty() || !question.name.chars().all(usual) {
                    return None;
                }
                let found = lookup_host((question.name.as_str(), 0)).await.ok()?;
                let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                let of_kind = found.iter().filter_map(|ip| match (question.kind, ip) {
                    (Kind::V4, IpAddr::V4(ip)) => Some(RData::A(A { address: ip.to_bits() })),
                    (Kind::V6, IpAddr::V6(ip)) => Some(RData::AAAA(AAAA { address: ip.to_bits() })),
                    _ => None,
                });
                let of_kind: Vec<_> = of_kind.take(MAX_ADDRESSES).collect();
                if found.is_empty() {
                    return None;
                }
                of_kind
            }
            Kind::NameOf(ip) => {
                let hosts = tokio::fs::read_to_string("/etc/hosts").await.ok()?;
                let name = name_in_hosts(&hosts, ip)?;
                vec![RData::PTR(PTR(Name::new(&name).ok()?.into_owned()))]
            }
            Kind::Other => return None,
        };
        reply(message, records, RCODE::NoError)
    }
}

/// The reply to a query, with records for the name that it asks.
fn reply(message: &[u8], records: Vec<RData<'static>>, rcode: RCODE) -> Option<Vec<u8>> {
    let query = Packet::parse(message).ok()?;
    let asked = query.questions.first()?.clone();
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = rcode;
    let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, TTL, data);
    reply.answers = records.into_iter().map(record).collect();
    reply.questions.push(asked);
    reply.build_bytes_vec_compressed().ok()
}

/// Asks a name server, over TCP if the answer does not fit a datagram. Anything but an answer to this query is passed over.
async fn ask(server: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(message).await.ok()?;
    let mut buffer = vec![0; mux::MAX_DATAGRAM];
    let answer = loop {
        let len = socket.recv(&mut buffer).await.ok()?;
        let answer = buffer.get(..len)?;
        if answers(message, answer) {
            break answer.to_vec();
        }
    };
    // TC (RFC 1035 §4.1.1).
    if answer.get(2)? & 2 == 0 {
        return Some(answer);
    }
    Some(ask_tcp(server, message).await.unwrap_or(answer))
}

async fn ask_tcp(server: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let len = u16::try_from(message.len()).ok()?;
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await.ok()?;
    let len = stream.read_u16().await.ok()?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await.ok()?;
    answers(message, &answer).then_some(answer)
}

/// Whether a message is the answer to a query: same number, and the same question.
fn answers(query: &[u8], answer: &[u8]) -> bool {
    let (Ok(query), Ok(answer)) = (Packet::parse(query), Packet::parse(answer)) else {
        return false;
    };
    let asked = |packet: &Packet<'_>| {
        packet.questions.first().map(|q| (text(&q.qname).to_ascii_lowercase(), q.qtype))
    };
    let same = answer.questions.is_empty() || asked(&query) == asked(&answer);
    query.id() == answer.id() && answer.has_flags(PacketFlag::RESPONSE) && same
}

fn text(name: &Name<'_>) -> String {
    name.to_string().trim_end_matches('.').to_owned()
}

/// The address that a name such as `1.2.0.192.in-addr.arpa` stands for (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets: Vec<u8> =
            labels.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        octets.reverse();
        return <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    }
    let nibbles: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').collect();
    if nibbles.len() != 32 {
        return None;
    }
    let mut bits = 0_u128;
    for nibble in nibbles.iter().rev() {
        let digit = u128::from(u8::from_str_radix(nibble, 16).ok().filter(|_| nibble.len() == 1)?);
        bits = bits << 4 | digit;
    }
    Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

/// hosts(5): the first name of an address.
fn name_in_hosts(hosts: &str, ip: IpAddr) -> Option<String> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        (address == ip).then(|| words.next().map(str::to_owned))?
    })
}

/// resolv.conf(5): the name servers of this system.
fn system_servers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = |line: &str| {
        let address = line.strip_prefix("nameserver")?.trim();
        // `fe80::1%eth0`
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use simple_dns::{QCLASS, Question as Asked};

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let class = QCLASS::CLASS(CLASS::IN);
        packet.questions.push(Asked::new(
            Name::new_unchecked(name),
            QTYPE::TYPE(kind),
            class,
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn queries_are_understood() {
        let of = |name: &str, kind| question(&query(name, kind)).unwrap();
        let expected = Question { name: "example.org".to_owned(), kind: Kind::V4 };
        assert_eq!(of("example.org", TYPE::A), expected);
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(of("1.2.0.192.in-addr.arpa", TYPE::PTR).kind, Kind::NameOf(ip));
        assert_eq!(of("2.0.192.in-addr.arpa", TYPE::PTR).kind, Kind::Other);
        let name = format!("1.{}ip6.arpa", "0.".repeat(31));
        assert_eq!(of(&name, TYPE::PTR).kind, Kind::NameOf(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(question(b"nonsense"), None);
        assert_eq!(question(&[0; 12]), None);
    }

    #[test]
    fn answers_belong_to_their_query() {
        let asked = query("localhost", TYPE::A);
        let records = vec![RData::A(A { address: 0x7f00_0001 })];
        let answer = reply(&asked, records, RCODE::NoError).unwrap();
        assert!(answers(&asked, &answer));
        assert!(!answers(&query("other", TYPE::A), &answer));
        assert!(!answers(&asked, &asked), "a query is no answer");
        assert_eq!(addresses(&answer), [IpAddr::from([127, 0, 0, 1])]);
        let refused = refusal(&asked).unwrap();
        assert_eq!(Packet::parse(&refused).unwrap().rcode(), RCODE::Refused);
    }

    #[test]
    fn hosts_are_read_as_the_system_does() {
        let hosts = "# 10.0.0.1 no\n127.0.0.1\tlocalhost lo # x\n::1 six\n";
        assert_eq!(name_in_hosts(hosts, [127, 0, 0, 1].into()), Some("localhost".to_owned()));
        assert_eq!(name_in_hosts(hosts, Ipv6Addr::LOCALHOST.into()), Some("six".to_owned()));
        assert_eq!(name_in_hosts(hosts, [10, 0, 0, 1].into()), None);
    }
}
