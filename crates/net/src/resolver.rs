//! The name server inside a box, at 127.0.0.11 port 53, over UDP and TCP (RFC 1035, RFC 6891, RFC 7766). It knows the box's
//! own name and `localhost`; other questions go to the host as they are ([`Outside::query`]).
//!
//! It holds no socket: whoever carries its packets names its clients by values of a type `C` and brings back to them what
//! the calls here return.

use crate::Outside;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where it listens, as docker's does.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

/// Questions that may wait for the host at a time; more are refused with SERVFAIL.
const OUTSTANDING_MAX: usize = 256;
/// How long one waits, ns.
const TIMEOUT_NS: u64 = 10_000_000_000;
/// Largest UDP answer to a client that does not say more (RFC 1035 §4.2.1).
const UDP_SIZE: usize = 512;
/// Longest query that makes sense: one question and an OPT record.
const QUERY_MAX: usize = 4096;
const HEADER: usize = 12;
/// Longest name with its length bytes (RFC 1035 §3.1).
const NAME_MAX: usize = 255;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
/// Seconds for which answers of our own hold (docker's).
const TTL: u32 = 600;

/// Response codes (RFC 1035 §4.1.1).
#[derive(Clone, Copy)]
enum Code {
    None = 0,
    Format = 1,
    Failure = 2,
    NoName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// One question on its way.
#[derive(Debug)]
struct Pending<C> {
    client: C,
    /// The query, for its number and question.
    query: Vec<u8>,
    /// Largest answer that the client takes.
    size: usize,
    /// Monotonic ns at which nobody waits any longer.
    until: u64,
}

/// The name server.
#[derive(Debug)]
pub struct Resolver<C> {
    /// The box's host name, in lower case.
    hostname: Vec<u8>,
    /// The box's own addresses.
    own: Vec<IpAddr>,
    pending: BTreeMap<u32, Pending<C>>,
    next: u32,
}

impl<C> Default for Resolver<C> {
    fn default() -> Resolver<C> {
        Resolver { hostname: Vec::new(), own: Vec::new(), pending: BTreeMap::new(), next: 0 }
    }
}

impl<C> Resolver<C> {
    /// Tells it the box's name and the addresses that the name means.
    pub fn set_own(&mut self, hostname: &[u8], addresses: Vec<IpAddr>) {
        self.hostname = hostname.to_ascii_lowercase();
        self.own = addresses;
    }

    /// A query has come, over a `stream` (without the length before it) or as a datagram, at `now` (monotonic ns). The
    /// answer, if it is known at once; nothing for what is not a query at all.
    pub fn ask(
        &mut self,
        client: C,
        stream: bool,
        query: &[u8],
        now: u64,
        outside: Option<&mut (dyn Outside + '_)>,
    ) -> Option<(C, Vec<u8>)> {
        // Whoever sends answers to a server gets none: two servers would talk for ever.
        if query.len() < HEADER || query[2] & 0x80 != 0 {
            return None;
        }
        let question = match parse(query) {
            Ok(question) => question,
            Err(code) => return Some((client, reply(query, HEADER, code))),
        };
        let size = if stream { usize::from(u16::MAX) } else { question.size };
        if let Some(answer) = self.known(query, &question) {
            return Some((client, fit(answer, question.end, size)));
        }
        let Some(outside) = outside.filter(|_| self.pending.len() < OUTSTANDING_MAX) else {
            return Some((client, reply(query, question.end, Code::Failure)));
        };
        while self.pending.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let until = now.saturating_add(TIMEOUT_NS);
        self.pending.insert(number, Pending { client, query: query.to_vec(), size, until });
        outside.query(number, query);
        None
    }

    /// The numbers of the questions that wait for the host.
    pub fn outstanding(&self) -> Vec<u32> {
        self.pending.keys().copied().collect()
    }

    /// The host has answered ([`Event::Answer`](crate::Event::Answer)): what goes to whom.
    pub fn answer(&mut self, number: u32, message: Option<Vec<u8>>) -> Option<(C, Vec<u8>)> {
        let Pending { client, query, size, .. } = self.pending.remove(&number)?;
        let end = parse(&query).map_or(HEADER, |q| q.end);
        // An answer is one: it says so, asks what was asked, and is no longer than a message can be.
        let fits = |m: &Vec<u8>| {
            m.len() <= usize::from(u16::MAX)
                && m.get(2).is_some_and(|flags| flags & 0x80 != 0)
                && m.len() >= HEADER
        };
        let answer = match message.filter(fits) {
            Some(mut message) => {
                message[..2].copy_from_slice(&query[..2]);
                // The question ends where the query's does only if it is the same one.
                let same = message.get(HEADER..end).is_some_and(|q| {
                    q.eq_ignore_ascii_case(query.get(HEADER..end).unwrap_or_default())
                });
                if message.len() <= size {
                    message
                } else if same {
                    fit(message, end, size)
                } else {
                    truncated(&query, end)
                }
            }
            None => reply(&query, end, Code::Failure),
        };
        Some((client, answer))
    }

    /// Gives up on what the host has not answered by `now`.
    pub fn expire(&mut self, now: u64) -> Vec<(C, Vec<u8>)> {
        let late: Vec<u32> =
            self.pending.iter().filter(|(_, p)| p.until <= now).map(|(n, _)| *n).collect();
        late.into_iter().filter_map(|number| self.answer(number, None)).collect()
    }

    /// Monotonic ns at which [`Resolver::expire`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        self.pending.values().map(|p| p.until).min()
    }

    /// Forgets questions of clients that are gone.
    pub fn forget(&mut self, gone: impl Fn(&C) -> bool) {
        self.pending.retain(|_, p| !gone(&p.client));
    }

    /// An answer to what is known here: the box's name, `localhost` and all below it (RFC 6761 §6.3), and the names of
    /// their addresses.
    fn known(&self, query: &[u8], question: &Question) -> Option<Vec<u8>> {
        if question.class != CLASS_IN {
            return None;
        }
        let name = &question.name;
        let addresses: Vec<IpAddr> = if name == b"localhost" || name.ends_with(b".localhost") {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else if !self.hostname.is_empty() && *name == self.hostname {
            self.own.clone()
        } else if question.kind == TYPE_PTR {
            let address = reversed(name)?;
            let target = if address.is_loopback() {
                &b"localhost"[..]
            } else if self.own.contains(&address) {
                &self.hostname
            } else {
                return None;
            };
            let mut data = Vec::new();
            for label in target.split(|b| *b == b'.') {
                data.push(u8::try_from(label.len()).ok().filter(|n| *n < 64)?);
                data.extend_from_slice(label);
            }
            data.push(0);
            let mut out = reply(query, question.end, Code::None);
            record(&mut out, TYPE_PTR, &data);
            return Some(out);
        } else {
            return None;
        };
        let mut out = reply(query, question.end, Code::None);
        for address in addresses {
            let all = question.kind == TYPE_ANY;
            match address {
                IpAddr::V4(ip) if all || question.kind == TYPE_A => {
                    record(&mut out, TYPE_A, &ip.octets());
                }
                IpAddr::V6(ip) if all || question.kind == TYPE_AAAA => {
                    record(&mut out, TYPE_AAAA, &ip.octets());
                }
                _ => {}
            }
        }
        Some(out)
    }
}

/// The addresses that a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An A record.
    V4,
    /// An AAAA record.
    V6,
}

/// What a query asks of a host that can look up nothing but addresses: the name, in lower case. None for other questions.
pub fn wanted(query: &[u8]) -> Option<(String, Wanted)> {
    let question = parse(query).ok().filter(|question| question.class == CLASS_IN)?;
    let wanted = match question.kind {
        TYPE_A => Wanted::V4,
        TYPE_AAAA => Wanted::V6,
        _ => return None,
    };
    Some((String::from_utf8(question.name).ok()?, wanted))
}

/// What came of such a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These addresses, of any family.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The host does not look it up.
    Refused,
    /// The host looks up only addresses.
    NotAnAddress,
}

/// The answer to a query: the addresses of the family that it asks for.
pub fn answer_with(query: &[u8], found: &Found) -> Option<Vec<u8>> {
    let question = parse(query).ok()?;
    let code = match found {
        Found::Addresses(_) => Code::None,
        Found::NoName => Code::NoName,
        Found::Refused => Code::Refused,
        Found::NotAnAddress => Code::NotImplemented,
    };
    let mut out = reply(query, question.end, code);
    let Found::Addresses(addresses) = found else { return Some(out) };
    for address in addresses {
        match address {
            IpAddr::V4(ip) if question.kind == TYPE_A => record(&mut out, TYPE_A, &ip.octets()),
            IpAddr::V6(ip) if question.kind == TYPE_AAAA => {
                record(&mut out, TYPE_AAAA, &ip.octets());
            }
            _ => {}
        }
    }
    Some(out)
}

/// Takes one message off the bytes of a stream (RFC 1035 §4.2.2): `Ok(None)` if it is not whole yet, an error for one that
/// is longer than a query can be, which ends the connection.
pub fn take_message(stream: &mut Vec<u8>) -> Result<Option<Vec<u8>>, abi::Errno> {
    let [high, low, rest @ ..] = stream.as_slice() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if !(HEADER..=QUERY_MAX).contains(&len) {
        return Err(abi::Errno::EMSGSIZE);
    }
    let Some(message) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
    stream.drain(..2 + len);
    Ok(Some(message))
}

/// What a query asks.
struct Question {
    /// Labels with dots between them, in lower case.
    name: Vec<u8>,
    kind: u16,
    class: u16,
    /// Where the question ends in the message.
    end: usize,
    /// Largest UDP answer (RFC 6891 §6.2.3).
    size: usize,
}

fn half(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The one question of a query.
fn parse(query: &[u8]) -> Result<Question, Code> {
    if query.len() > QUERY_MAX {
        return Err(Code::Format);
    }
    if query.get(2).is_none_or(|flags| flags & 0x78 != 0) {
        return Err(Code::NotImplemented);
    }
    if half(query, 4) != Some(1) {
        return Err(Code::Format);
    }
    let (name, at) = name(query, HEADER).ok_or(Code::Format)?;
    let (Some(kind), Some(class)) = (half(query, at), half(query, at + 2)) else {
        return Err(Code::Format);
    };
    let end = at + 4;
    let size = edns_size(query, end).unwrap_or(UDP_SIZE).max(UDP_SIZE);
    Ok(Question { name, kind, class, end, size })
}

/// A name without compression, and where it ends. A question has nothing that it could refer to.
fn name(message: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut at) = (Vec::new(), start);
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        if len > 63 || at + len - start > NAME_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(message.get(at..at + len)?.to_ascii_lowercase());
        at += len;
    }
}

/// The size in the OPT record, if the first further record is one.
fn edns_size(query: &[u8], end: usize) -> Option<usize> {
    let only_additional = half(query, 6) == Some(0) && half(query, 8) == Some(0);
    let has = half(query, 10)? > 0 && only_additional && query.get(end) == Some(&0);
    let opt = has && half(query, end + 1) == Some(TYPE_OPT);
    half(query, end + 3).filter(|_| opt).map(usize::from)
}

/// The address that a name below in-addr.arpa or ip6.arpa stands for.
fn reversed(name: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(name).ok()?;
    if let Some(text) = text.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [d, c, b, a] = parts.try_into().ok()?;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let text = text.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut digits = 0;
    for digit in text.split('.').rev() {
        let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
        digits += 1;
        bits = bits << 4 | value;
    }
    (digits == 32).then(|| Ipv6Addr::from(bits).into())
}

/// The head of a reply to `query` with its question (which ends at `end`) and no records.
fn reply(query: &[u8], end: usize, code: Code) -> Vec<u8> {
    let mut out = query.get(..end.max(HEADER)).unwrap_or(query).to_vec();
    if out.len() < HEADER {
        out.resize(HEADER, 0);
    }
    // QR, the opcode and RD as they were, RA.
    out[2] = 0x80 | out[2] & 0x79;
    out[3] = 0x80 | code as u8;
    let questions = u16::from(end > HEADER);
    out[4..6].copy_from_slice(&questions.to_be_bytes());
    out[6..HEADER].fill(0);
    out
}

/// The reply that sends a client to TCP.
fn truncated(query: &[u8], end: usize) -> Vec<u8> {
    let mut out = reply(query, end, Code::None);
    out[2] |= 2;
    out
}

/// Adds an answer for the question's name.
fn record(out: &mut Vec<u8>, kind: u16, data: &[u8]) {
    out.extend_from_slice(&[0xc0, HEADER as u8]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&TTL.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    let answers = half(out, 6).unwrap_or(0) + 1;
    out[6..8].copy_from_slice(&answers.to_be_bytes());
}

/// The message, or if it is longer than `size` only its head and question with TC set.
fn fit(message: Vec<u8>, end: usize, size: usize) -> Vec<u8> {
    if message.len() <= size { message } else { truncated(&message, end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conn, Event, Transport};
    use abi::Errno;

    #[derive(Default)]
    struct Asked(Vec<(u32, Vec<u8>)>);

    impl Outside for Asked {
        fn connect(&mut self, _: Transport, _: SocketAddr) -> Result<Conn, Errno> {
            Err(Errno::ENETUNREACH)
        }
        fn send(&mut self, _: Conn, _: &[u8]) -> usize {
            0
        }
        fn consumed(&mut self, _: Conn, _: usize) {}
        fn finish(&mut self, _: Conn) {}
        fn close(&mut self, _: Conn) {}
        fn abort(&mut self, _: Conn) {}
        fn query(&mut self, number: u32, message: &[u8]) {
            self.0.push((number, message.to_vec()));
        }
        fn event(&mut self) -> Option<Event> {
            None
        }
        fn families(&self) -> (bool, bool) {
            (true, false)
        }
    }

    fn query(id: u16, name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut out = id.to_be_bytes().to_vec();
        out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend(label.as_bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        if let Some(size) = edns {
            out.push(0);
            out.extend(TYPE_OPT.to_be_bytes());
            out.extend(size.to_be_bytes());
            out.extend([0; 6]);
        }
        out
    }

    fn answered(query: &[u8], size: usize) -> Vec<u8> {
        let end = parse(query).ok().unwrap().end;
        let mut out = reply(query, end, Code::None);
        out[..2].fill(0xee);
        while out.len() + 16 <= size {
            record(&mut out, TYPE_A, &[1, 2, 3, 4]);
        }
        out
    }

    fn resolver() -> Resolver<u32> {
        let mut resolver = Resolver::default();
        let own = Ipv4Addr::new(172, 17, 0, 2).into();
        resolver.set_own(b"Web", vec![own]);
        resolver
    }

    #[test]
    fn two_questions_at_once_get_their_own_answers() {
        let (mut r, mut host) = (resolver(), Asked::default());
        let (a, aaaa) = (query(7, "example.org", 1, None), query(8, "example.org", 28, None));
        assert_eq!(r.ask(1, false, &a, 0, Some(&mut host)), None);
        assert_eq!(r.ask(1, false, &aaaa, 0, Some(&mut host)), None);
        let numbers: Vec<u32> = host.0.iter().map(|(n, _)| *n).collect();
        assert_eq!(host.0[0].1, a);
        let (client, second) = r.answer(numbers[1], Some(answered(&aaaa, 100))).unwrap();
        assert_eq!((client, &second[..2]), (1, &[0, 8][..]));
        let (_, first) = r.answer(numbers[0], Some(answered(&a, 100))).unwrap();
        assert_eq!(&first[..2], [0, 7]);
        assert_eq!(first[2..], answered(&a, 100)[2..]);
        assert_eq!(r.answer(numbers[0], Some(answered(&a, 100))), None, "once only");
    }

    #[test]
    fn long_answers_send_a_client_to_tcp() {
        let (mut r, mut host) = (resolver(), Asked::default());
        let plain = query(1, "big.example", 1, None);
        let large = query(2, "big.example", 1, Some(1232));
        for (stream, message, cut) in
            [(false, &plain, true), (false, &large, false), (true, &plain, false)]
        {
            assert_eq!(r.ask(1, stream, message, 0, Some(&mut host)), None);
            let number = host.0.last().unwrap().0;
            let (_, answer) = r.answer(number, Some(answered(message, 1200))).unwrap();
            assert_eq!(answer[2] & 2 != 0, cut);
            assert_eq!(answer.len() < 512, cut);
            assert_eq!(half(&answer, 4), Some(1));
        }
    }

    #[test]
    fn silence_is_a_failure_in_the_end() {
        let (mut r, mut host) = (resolver(), Asked::default());
        let message = query(9, "slow.example", 1, None);
        assert_eq!(r.ask(3, false, &message, 5, Some(&mut host)), None);
        assert_eq!(r.deadline(), Some(5 + TIMEOUT_NS));
        assert!(r.expire(6).is_empty());
        let late = r.expire(5 + TIMEOUT_NS);
        assert_eq!((late.len(), late[0].0, late[0].1[3] & 15), (1, 3, Code::Failure as u8));
        assert_eq!(r.deadline(), None);
        let (_, none) = r.ask(3, false, &message, 0, None).unwrap();
        assert_eq!(none[3] & 15, Code::Failure as u8);
        // Garbage from the host is a failure, too.
        for garbage in [vec![], vec![0; 11], vec![0; 40], vec![0x80; 70_000]] {
            assert_eq!(r.ask(3, false, &message, 5, Some(&mut host)), None);
            let number = host.0.last().unwrap().0;
            assert_eq!(r.answer(number, Some(garbage)).unwrap().1[3] & 15, Code::Failure as u8);
        }
    }

    #[test]
    fn outstanding_questions_are_bounded() {
        let (mut r, mut host) = (resolver(), Asked::default());
        let message = query(9, "slow.example", 1, None);
        for client in 0..OUTSTANDING_MAX as u32 {
            assert_eq!(r.ask(client, false, &message, 0, Some(&mut host)), None);
        }
        assert!(r.ask(0, false, &message, 0, Some(&mut host)).is_some());
        r.forget(|client| *client < 10);
        assert_eq!(r.ask(0, false, &message, 0, Some(&mut host)), None);
    }

    #[test]
    fn the_box_knows_itself() {
        let mut r = resolver();
        let mut ask =
            |name: &str, kind| r.ask(0, false, &query(1, name, kind, None), 0, None).unwrap().1;
        assert!(ask("WEB", TYPE_A).ends_with(&[0, 4, 172, 17, 0, 2]));
        assert_eq!(
            half(&ask("web", TYPE_AAAA), 6),
            Some(0),
            "no such address, but the name exists"
        );
        assert!(ask("localhost", TYPE_A).ends_with(&[0, 4, 127, 0, 0, 1]));
        assert!(ask("a.localhost", TYPE_AAAA).ends_with(&[0, 0, 1]));
        assert!(ask("2.0.17.172.in-addr.arpa", TYPE_PTR).ends_with(b"\x03web\0"));
        let one = "1.".to_owned() + &"0.".repeat(31) + "ip6.arpa";
        assert!(ask(&one, TYPE_PTR).ends_with(b"\x09localhost\0"));
    }

    #[test]
    fn what_is_no_question_is_told_so_or_ignored() {
        let mut r = resolver();
        let good = query(1, "web", TYPE_A, Some(4096));
        for len in 0..good.len() {
            let cut = r.ask(0, false, &good[..len], 0, None);
            assert_eq!(cut.is_some(), len >= HEADER, "{len}");
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert!(r.ask(0, false, &response, 0, None).is_none());
        let mut update = good.clone();
        update[2] |= 5 << 3;
        assert_eq!(
            r.ask(0, false, &update, 0, None).unwrap().1[3] & 15,
            Code::NotImplemented as u8
        );
        let mut looped = good.clone();
        looped[HEADER] = 0xc0;
        assert_eq!(r.ask(0, false, &looped, 0, None).unwrap().1[3] & 15, Code::Format as u8);
        let long = query(1, &["x".repeat(60).as_str(); 5].join("."), TYPE_A, None);
        assert_eq!(r.ask(0, false, &long, 0, None).unwrap().1[3] & 15, Code::Format as u8);
    }

    #[test]
    fn streams_carry_messages_behind_their_lengths() {
        let message = query(1, "web", TYPE_A, None);
        let mut stream = (message.len() as u16).to_be_bytes().to_vec();
        stream.extend(&message);
        stream.extend([0]);
        let mut part = stream[..10].to_vec();
        assert_eq!(take_message(&mut part), Ok(None));
        assert_eq!(take_message(&mut stream), Ok(Some(message)));
        assert_eq!(stream, [0]);
        assert_eq!(take_message(&mut vec![0, 3, 1, 2, 3]), Err(Errno::EMSGSIZE));
        assert_eq!(take_message(&mut vec![0xff, 0xff, 1]), Err(Errno::EMSGSIZE));
    }
}
