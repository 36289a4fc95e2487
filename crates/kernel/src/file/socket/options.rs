//! setsockopt(2) and getsockopt(2) of level `SOL_SOCKET`, the same for every family (socket(7), `net/core/sock.c`).

use std::rc::Rc;

use abi::socket::*;
use abi::{Errno, Timeval};
use net::SocketOptions;

use super::{OptionValue, SocketOps};
use crate::bpf::{NetworkBytes, Program, Use};
use crate::fs::cx::cap;
use crate::fs::{Cx, Res};

/// Most that SO_SNDBUF and SO_RCVBUF give without privilege (`net.core.{w,r}mem_max`).
const BUFFER_MAX: u32 = 212_992;
/// `SOCK_MIN_SNDBUF` and `SOCK_MIN_RCVBUF`.
const SEND_MIN: u32 = 4608;
const RECEIVE_MIN: u32 = 2304;
/// Longest SO_RCVTIMEO: what lies beyond is for ever (`MAX_SCHEDULE_TIMEOUT` ticks).
const FOREVER_SECONDS: i64 = i64::MAX / 1000 - 1;

/// Bytes of `struct sock_fprog`; the value of SO_ATTACH_FILTER are the instructions it names.
const FPROG: usize = 16;

/// A filter of classic BPF.
#[derive(Debug)]
struct SocketFilter(Program);

impl net::Filter for SocketFilter {
    fn keep(&self, packet: &[u8]) -> usize {
        self.0.run(&NetworkBytes(packet)) as usize
    }
}

/// Options that are switched on and off by any number, without privilege.
const FLAGS: &[u32] = &[
    SO_REUSEADDR,
    SO_DONTROUTE,
    SO_BROADCAST,
    SO_KEEPALIVE,
    SO_OOBINLINE,
    SO_NO_CHECK,
    SO_REUSEPORT,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_RXQ_OVFL,
    SO_WIFI_STATUS,
    SO_NOFCS,
    SO_LOCK_FILTER,
    SO_SELECT_ERR_QUEUE,
    SO_RCVMARK,
    SO_PASSPIDFD,
];

/// setsockopt(2).
pub fn set(socket: &dyn SocketOps, cx: &mut Cx, option: u32, value: &OptionValue) -> Res<()> {
    let int = value.int()?;
    let admin = cx.cred.capable(cap::NET_ADMIN);
    let raw = cx.cred.capable(cap::NET_RAW);
    let mut o = socket.options().borrow_mut();
    match option {
        SO_DEBUG if int != 0 && !admin => return Err(Errno::EACCES),
        SO_DEBUG => o.set(SO_DEBUG, int != 0),
        SO_TYPE | SO_PROTOCOL | SO_DOMAIN | SO_ERROR => return Err(Errno::ENOPROTOOPT),
        SO_RCVMARK if !raw && !admin => return Err(Errno::EPERM),
        SO_LOCK_FILTER if int == 0 && o.is_on(SO_LOCK_FILTER) => return Err(Errno::EPERM),
        _ if passes_less(socket, option) => return Err(Errno::EOPNOTSUPP),
        _ if FLAGS.contains(&option) => o.set(option, int != 0),
        SO_BSDCOMPAT => {}
        SO_SNDBUF => set_send_buffer(&mut o, int, BUFFER_MAX),
        SO_RCVBUF => set_receive_buffer(&mut o, int, BUFFER_MAX),
        SO_SNDBUFFORCE | SO_RCVBUFFORCE if !admin => return Err(Errno::EPERM),
        SO_SNDBUFFORCE => set_send_buffer(&mut o, int.max(0), u32::MAX),
        SO_RCVBUFFORCE => set_receive_buffer(&mut o, int.max(0), u32::MAX),
        SO_PRIORITY if !(0..=6).contains(&int) && !admin && !raw => return Err(Errno::EPERM),
        SO_PRIORITY => o.priority = int as u32,
        SO_LINGER => {
            let record = value.record(8)?;
            let seconds = record.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
            o.linger_seconds = if int != 0 { seconds.unwrap_or(0) } else { o.linger_seconds };
            o.linger = (int != 0).then_some(seconds.unwrap_or(0));
        }
        SO_RCVLOWAT => o.low_water = if int < 0 { i32::MAX as u32 } else { (int as u32).max(1) },
        SO_SNDLOWAT => return Err(Errno::ENOPROTOOPT),
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => o.receive_timeout = timeout(value)?,
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => o.send_timeout = timeout(value)?,
        SO_TIMESTAMP | SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            for other in [SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW] {
                o.set(other, other == option && int != 0);
            }
        }
        SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
            // OPT_ID_TCP makes sense with OPT_ID only.
            if int as u32 & !0x7_ffff != 0 || int & 1 << 16 != 0 && int & 1 << 7 == 0 {
                return Err(Errno::EINVAL);
            }
            o.timestamping = int as u32;
        }
        SO_MARK if !raw && !admin => return Err(Errno::EPERM),
        SO_MARK => o.mark = int as u32,
        SO_INCOMING_CPU => o.incoming_cpu = int,
        SO_PEEK_OFF => return Err(Errno::EOPNOTSUPP),
        SO_BUSY_POLL if int < 0 => return Err(Errno::EINVAL),
        SO_BUSY_POLL => o.busy_poll = int as u32,
        SO_PREFER_BUSY_POLL if int != 0 && !admin => return Err(Errno::EPERM),
        SO_BUSY_POLL_BUDGET if int > 0 && !admin => return Err(Errno::EPERM),
        SO_BUSY_POLL_BUDGET if int < 0 => return Err(Errno::EINVAL),
        SO_PREFER_BUSY_POLL | SO_BUSY_POLL_BUDGET => {}
        SO_RESERVE_MEM if int < 0 => return Err(Errno::EINVAL),
        SO_RESERVE_MEM => return Err(Errno::EOPNOTSUPP),
        SO_MAX_PACING_RATE => {
            o.pacing_rate = match value.record(8) {
                Ok(b) => b.try_into().map_or(0, u64::from_le_bytes),
                Err(_) if int == -1 => u64::MAX,
                Err(_) => u64::from(int as u32),
            };
        }
        SO_TXREHASH if !is_tcp(socket) => return Err(Errno::EOPNOTSUPP),
        SO_TXREHASH if !(-1..=1).contains(&int) => return Err(Errno::EINVAL),
        SO_TXREHASH => o.rehash = if int == -1 { 1 } else { int as u32 },
        SO_BUF_LOCK if int & !3 != 0 => return Err(Errno::EINVAL),
        SO_BUF_LOCK => o.buffer_lock = int as u32,
        SO_ZEROCOPY if !(0..=1).contains(&int) => return Err(Errno::EINVAL),
        SO_TXTIME if value.len != 8 => return Err(Errno::EINVAL),
        SO_ZEROCOPY | SO_TXTIME => return Err(Errno::EOPNOTSUPP),
        SO_ATTACH_FILTER | SO_DETACH_FILTER if o.is_on(SO_LOCK_FILTER) => return Err(Errno::EPERM),
        SO_DETACH_FILTER => {
            o.filter.take().ok_or(Errno::ENOENT)?;
        }
        // A stream has no packets here.
        SO_ATTACH_FILTER if socket.kind() == SOCK_STREAM => return Err(Errno::EOPNOTSUPP),
        SO_ATTACH_FILTER => {
            if value.len != FPROG {
                return Err(Errno::EINVAL);
            }
            o.filter =
                Some(Rc::new(SocketFilter(Program::from_bytes(value.whole()?, Use::Socket)?)));
        }
        SO_ATTACH_BPF => return Err(Errno::EINVAL),
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn is_tcp(socket: &dyn SocketOps) -> bool {
    matches!(socket.family(), AF_INET | AF_INET6) && socket.kind() == SOCK_STREAM
}

/// Whether the family cannot pass on what the option asks for (`sk_may_scm_recv`).
fn passes_less(socket: &dyn SocketOps, option: u32) -> bool {
    match option {
        SO_PASSCRED | SO_PASSSEC => !matches!(socket.family(), AF_UNIX | AF_NETLINK),
        SO_PASSPIDFD => socket.family() != AF_UNIX,
        _ => false,
    }
}

fn set_send_buffer(o: &mut SocketOptions, bytes: i32, max: u32) {
    // A negative size counts as a very large one (`min_t(u32, …)`).
    let bytes = (bytes as u32).min(max).min(i32::MAX as u32 / 2);
    o.send_buffer = (bytes * 2).max(SEND_MIN);
    o.buffer_lock |= 1;
}

fn set_receive_buffer(o: &mut SocketOptions, bytes: i32, max: u32) {
    let bytes = (bytes as u32).min(max).min(i32::MAX as u32 / 2);
    o.receive_buffer = (bytes * 2).max(RECEIVE_MIN);
    o.buffer_lock |= 2;
}

/// A `struct timeval` as ns; 0 = none.
fn timeout(value: &OptionValue) -> Res<u64> {
    let record = value.record(16)?;
    let word = |at: usize| {
        let bytes = record.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map_or(0, i64::from_le_bytes)
    };
    let (seconds, micros) = (word(0), word(8));
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM);
    }
    if seconds < 0 {
        // As sock_set_timeout: at once, which is one tick.
        return Ok(1);
    }
    if seconds >= FOREVER_SECONDS {
        return Ok(0);
    }
    Ok((seconds as u64).saturating_mul(1_000_000_000).saturating_add(micros as u64 * 1000))
}

/// getsockopt(2): the whole value.
pub fn get(socket: &dyn SocketOps, cx: &mut Cx, option: u32) -> Res<Vec<u8>> {
    let int = |value: u32| Ok(value.to_le_bytes().to_vec());
    if option == SO_ERROR {
        let errno = socket.take_error(cx);
        return int(errno.map_or(0, |e| e.raw() as u32));
    }
    let o = socket.options().borrow();
    match option {
        SO_TYPE => int(socket.kind()),
        SO_DOMAIN => int(u32::from(socket.family())),
        SO_PROTOCOL => int(socket.protocol()),
        SO_ACCEPTCONN => int(u32::from(socket.is_listening())),
        SO_SNDBUF => int(o.send_buffer),
        SO_RCVBUF => int(o.receive_buffer),
        SO_PRIORITY => int(o.priority),
        SO_LINGER => {
            let on = u32::from(o.linger.is_some());
            Ok([on, o.linger_seconds].iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        SO_BSDCOMPAT => int(0),
        SO_RCVLOWAT => int(o.low_water),
        SO_SNDLOWAT => int(1),
        SO_RCVTIMEO | SO_RCVTIMEO_NEW => Ok(timeval(o.receive_timeout)),
        SO_SNDTIMEO | SO_SNDTIMEO_NEW => Ok(timeval(o.send_timeout)),
        SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
            Ok([o.timestamping, 0].iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        SO_DEBUG | SO_TIMESTAMP | SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            int(u32::from(o.is_on(option)))
        }
        _ if passes_less(socket, option) => Err(Errno::EOPNOTSUPP),
        _ if FLAGS.contains(&option) => int(u32::from(o.is_on(option))),
        SO_MARK => int(o.mark),
        SO_INCOMING_CPU => int(o.incoming_cpu as u32),
        SO_PEEK_OFF => Err(Errno::EOPNOTSUPP),
        SO_BUSY_POLL => int(o.busy_poll),
        SO_PREFER_BUSY_POLL | SO_INCOMING_NAPI_ID | SO_ZEROCOPY => int(0),
        SO_BINDTODEVICE => Ok(Vec::new()),
        SO_MAX_PACING_RATE => Ok(o.pacing_rate.to_le_bytes().to_vec()),
        SO_BPF_EXTENSIONS => int(64),
        SO_TXTIME => Ok(vec![0; 8]),
        SO_MEMINFO => {
            let words = [0, o.receive_buffer, 0, o.send_buffer, 0, 0, 0, 0, 0];
            Ok(words.iter().flat_map(|v: &u32| v.to_le_bytes()).collect())
        }
        SO_COOKIE | SO_NETNS_COOKIE => {
            Ok(if option == SO_COOKIE { o.cookie } else { 1 }.to_le_bytes().to_vec())
        }
        SO_BINDTOIFINDEX => int(o.device),
        SO_BUF_LOCK => int(o.buffer_lock),
        SO_RESERVE_MEM => int(0),
        SO_TXREHASH if !is_tcp(socket) => Err(Errno::EOPNOTSUPP),
        SO_TXREHASH => int(o.rehash),
        SO_PEERCRED => Ok([0, u32::MAX, u32::MAX].iter().flat_map(|v| v.to_le_bytes()).collect()),
        SO_PEERGROUPS => Err(Errno::ENODATA),
        SO_PEERNAME => {
            drop(o);
            socket.remote(cx)
        }
        _ => Err(Errno::ENOPROTOOPT),
    }
}

fn timeval(ns: u64) -> Vec<u8> {
    let time = Timeval::from_ns(ns);
    [time.tv_sec, time.tv_usec].iter().flat_map(|v| v.to_le_bytes()).collect()
}
