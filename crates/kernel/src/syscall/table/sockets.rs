//! Sockets.

use abi::socket::*;

use super::{Arg::*, Row};
use crate::syscall::file::{msg, socket};

const FAMILY: &[(u64, &str)] = &[
    (AF_UNSPEC as u64, "AF_UNSPEC"),
    (AF_UNIX as u64, "AF_UNIX"),
    (AF_INET as u64, "AF_INET"),
    (AF_INET6 as u64, "AF_INET6"),
    (AF_NETLINK as u64, "AF_NETLINK"),
    (AF_PACKET as u64, "AF_PACKET"),
];
const TYPE: &[(u64, &str)] = &[
    (SOCK_SEQPACKET as u64, "SOCK_SEQPACKET"),
    (SOCK_RAW as u64, "SOCK_RAW"),
    (SOCK_STREAM as u64, "SOCK_STREAM"),
    (SOCK_DGRAM as u64, "SOCK_DGRAM"),
    (SOCK_NONBLOCK as u64, "SOCK_NONBLOCK"),
    (SOCK_CLOEXEC as u64, "SOCK_CLOEXEC"),
];
const MSG: &[(u64, &str)] = &[
    (MSG_OOB as u64, "MSG_OOB"),
    (MSG_PEEK as u64, "MSG_PEEK"),
    (MSG_TRUNC as u64, "MSG_TRUNC"),
    (MSG_DONTWAIT as u64, "MSG_DONTWAIT"),
    (MSG_WAITALL as u64, "MSG_WAITALL"),
    (MSG_NOSIGNAL as u64, "MSG_NOSIGNAL"),
    (MSG_CMSG_CLOEXEC as u64, "MSG_CMSG_CLOEXEC"),
];
const SHUT: &[(u64, &str)] = &[(0, "SHUT_RD"), (1, "SHUT_WR"), (2, "SHUT_RDWR")];

pub(super) static ROWS: &[Row] = crate::syscall_rows! {
    41 socket(family: Enum(FAMILY), kind: Flags(TYPE), protocol: Int) = socket::socket, Partial, "AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (no raw TCP); EAFNOSUPPORT otherwise";
    42 connect(fd: Fd, address: Ptr, len: Int) = socket::connect, Full, "";
    43 accept(fd: Fd, address: Ptr, len: Ptr) = socket::accept, Full, "";
    44 sendto(fd: Fd, buf: InBuf, len: Size, flags: Flags(MSG), address: Ptr, address_len: Int) = msg::sendto, Full, "";
    45 recvfrom(fd: Fd, buf: OutBuf, len: Size, flags: Flags(MSG), address: Ptr, address_len: Ptr) = msg::recvfrom, Full, "";
    46 sendmsg(fd: Fd, msg: Ptr, flags: Flags(MSG)) = msg::sendmsg, Full, "";
    47 recvmsg(fd: Fd, msg: Ptr, flags: Flags(MSG)) = msg::recvmsg, Full, "";
    48 shutdown(fd: Fd, how: Enum(SHUT)) = socket::shutdown, Full, "";
    49 bind(fd: Fd, address: Ptr, len: Int) = socket::bind, Full, "";
    50 listen(fd: Fd, backlog: Int) = socket::listen, Full, "";
    51 getsockname(fd: Fd, address: Ptr, len: Ptr) = socket::getsockname, Full, "";
    52 getpeername(fd: Fd, address: Ptr, len: Ptr) = socket::getpeername, Full, "";
    53 socketpair(family: Enum(FAMILY), kind: Flags(TYPE), protocol: Int, fds: OutFdPair) = socket::socketpair, Full, "";
    54 setsockopt(fd: Fd, level: Int, option: Int, value: Ptr, len: Int) = socket::setsockopt, Partial, "no SO_PEEK_OFF, SO_ZEROCOPY, SO_TXTIME, TCP_ULP, filters of streams";
    55 getsockopt(fd: Fd, level: Int, option: Int, value: Ptr, len: Ptr) = socket::getsockopt, Full, "";
    288 accept4(fd: Fd, address: Ptr, len: Ptr, flags: Flags(TYPE)) = socket::accept4, Full, "";
    299 recvmmsg(fd: Fd, msgs: Ptr, count: Int, flags: Flags(MSG), timeout: Timespec) = msg::recvmmsg, Full, "";
    307 sendmmsg(fd: Fd, msgs: Ptr, count: Int, flags: Flags(MSG)) = msg::sendmmsg, Full, "";
};
