//! Options with a number as their value at the levels of IP, IPv6, TCP and UDP: what they take and what they start with
//! (ip(7), ipv6(7), tcp(7), udp(7)). Those that are more than a number are in `set`.

use abi::Errno;
use abi::inet::*;
use std::collections::BTreeMap;

/// What it takes to set an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nobody,
    /// CAP_NET_ADMIN or CAP_NET_RAW.
    Raw,
    /// CAP_NET_ADMIN.
    Admin,
}

/// One option.
pub struct Row {
    /// `IPPROTO_*`.
    pub level: u32,
    /// Its number there.
    pub option: u32,
    /// Smallest and largest value; others are EINVAL.
    pub range: (i32, i32),
    /// Value of a new socket.
    pub start: i32,
    /// Any value counts as 0 or 1.
    pub flag: bool,
    /// Privilege.
    pub need: Need,
}

const fn number(level: u32, option: u32, low: i32, high: i32, start: i32) -> Row {
    Row { level, option, range: (low, high), start, flag: false, need: Need::Nobody }
}

const fn flag(level: u32, option: u32, start: i32) -> Row {
    Row { level, option, range: (i32::MIN, i32::MAX), start, flag: true, need: Need::Nobody }
}

/// All of them.
pub const ROWS: &[Row] = &[
    number(IPPROTO_IP, IP_TOS, i32::MIN, i32::MAX, 0),
    number(IPPROTO_IP, IP_TTL, -1, 255, -1),
    flag(IPPROTO_IP, IP_RECVOPTS, 0),
    flag(IPPROTO_IP, IP_RETOPTS, 0),
    flag(IPPROTO_IP, IP_PKTINFO, 0),
    number(IPPROTO_IP, IP_MTU_DISCOVER, 0, 5, 1),
    flag(IPPROTO_IP, IP_RECVERR, 0),
    flag(IPPROTO_IP, IP_RECVTTL, 0),
    flag(IPPROTO_IP, IP_RECVTOS, 0),
    flag(IPPROTO_IP, IP_FREEBIND, 0),
    flag(IPPROTO_IP, IP_PASSSEC, 0),
    Row { need: Need::Raw, ..flag(IPPROTO_IP, IP_TRANSPARENT, 0) },
    flag(IPPROTO_IP, IP_ORIGDSTADDR, 0),
    number(IPPROTO_IP, IP_MINTTL, 0, 255, 0),
    flag(IPPROTO_IP, IP_CHECKSUM, 0),
    flag(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0),
    flag(IPPROTO_IP, IP_RECVFRAGSIZE, 0),
    number(IPPROTO_IP, IP_RECVERR_RFC4884, 0, 1, 0),
    number(IPPROTO_IP, IP_MULTICAST_TTL, -1, 255, 1),
    flag(IPPROTO_IP, IP_MULTICAST_LOOP, 1),
    number(IPPROTO_IP, IP_MULTICAST_ALL, 0, 1, 1),
    number(IPPROTO_IP, IP_LOCAL_PORT_RANGE, i32::MIN, i32::MAX, 0),
    flag(IPPROTO_IPV6, IPV6_V6ONLY, 0),
    number(IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1, 255, -1),
    number(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1, 255, -1),
    number(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, 1, 1),
    flag(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 1),
    number(IPPROTO_IPV6, IPV6_MTU_DISCOVER, 0, 5, 1),
    flag(IPPROTO_IPV6, IPV6_RECVERR, 0),
    flag(IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 0),
    flag(IPPROTO_IPV6, IPV6_RECVPKTINFO, 0),
    flag(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0),
    flag(IPPROTO_IPV6, IPV6_RECVHOPOPTS, 0),
    flag(IPPROTO_IPV6, IPV6_RECVRTHDR, 0),
    flag(IPPROTO_IPV6, IPV6_RECVDSTOPTS, 0),
    flag(IPPROTO_IPV6, IPV6_RECVPATHMTU, 0),
    flag(IPPROTO_IPV6, IPV6_DONTFRAG, 0),
    flag(IPPROTO_IPV6, IPV6_RECVTCLASS, 0),
    number(IPPROTO_IPV6, IPV6_TCLASS, -1, 255, 0),
    flag(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1),
    number(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 0, i32::MAX, 0x500),
    number(IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0, 255, 0),
    flag(IPPROTO_IPV6, IPV6_ORIGDSTADDR, 0),
    Row { need: Need::Raw, ..flag(IPPROTO_IPV6, IPV6_TRANSPARENT, 0) },
    flag(IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 0),
    flag(IPPROTO_IPV6, IPV6_FREEBIND, 0),
    number(IPPROTO_IPV6, IPV6_RECVERR_RFC4884, 0, 1, 0),
    flag(IPPROTO_TCP, TCP_NODELAY, 0),
    flag(IPPROTO_TCP, TCP_CORK, 0),
    number(IPPROTO_TCP, TCP_KEEPIDLE, 1, 32767, 7200),
    number(IPPROTO_TCP, TCP_KEEPINTVL, 1, 32767, 75),
    number(IPPROTO_TCP, TCP_KEEPCNT, 1, 127, 9),
    number(IPPROTO_TCP, TCP_SYNCNT, 1, 127, 6),
    number(IPPROTO_TCP, TCP_USER_TIMEOUT, 0, i32::MAX, 0),
    number(IPPROTO_TCP, TCP_FASTOPEN, 0, i32::MAX, 0),
    number(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0, 1, 0),
    number(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 0, 1, 0),
    number(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, 1, 0),
    number(IPPROTO_TCP, TCP_SAVE_SYN, 0, 2, 0),
    number(IPPROTO_TCP, TCP_INQ, 0, 1, 0),
    number(IPPROTO_TCP, TCP_NOTSENT_LOWAT, i32::MIN, i32::MAX, 0),
    flag(IPPROTO_UDP, UDP_CORK, 0),
    number(IPPROTO_UDP, UDP_SEGMENT, 0, 65535, 0),
    flag(IPPROTO_UDP, UDP_GRO, 0),
    number(IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, 0, 65535, 0),
    number(IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, 0, 65535, 0),
    flag(IPPROTO_UDP, UDP_NO_CHECK6_TX, 0),
    flag(IPPROTO_UDP, UDP_NO_CHECK6_RX, 0),
];

/// The row of an option.
pub fn row(level: u32, option: u32) -> Option<&'static Row> {
    ROWS.iter().find(|r| (r.level, r.option) == (level, option))
}

/// The options of one socket that are not as they were at first.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<(u32, u32), i32>);

impl Values {
    /// Value of an option.
    pub fn get(&self, level: u32, option: u32) -> i32 {
        let start = || row(level, option).map_or(0, |r| r.start);
        self.0.get(&(level, option)).copied().unwrap_or_else(start)
    }

    /// Whether a flag is on.
    pub fn is_on(&self, level: u32, option: u32) -> bool {
        self.get(level, option) != 0
    }

    /// Sets an option. EINVAL out of its range.
    pub fn set(&mut self, row: &Row, value: i32) -> Result<(), Errno> {
        if !(row.range.0..=row.range.1).contains(&value) {
            return Err(Errno::EINVAL);
        }
        let value = if row.flag { i32::from(value != 0) } else { value };
        // -1 stands for the default again.
        let value = if value == -1 && row.range.0 == -1 { row.start } else { value };
        self.0.insert((row.level, row.option), value);
        Ok(())
    }
}
