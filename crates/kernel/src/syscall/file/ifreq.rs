//! ioctl(2) of sockets about network interfaces (netdevice(7)). Changes take CAP_NET_ADMIN.

use std::net::{IpAddr, Ipv4Addr};

use abi::Errno;
use abi::socket::{AF_INET, AF_INET6};
use abi::sockios::*;
use net::interface::{Address, Interface};

use crate::file::socket::{Network, SocketOps};
use crate::fs::cx::cap;
use crate::{Kernel, SysResult, ThreadId};

/// Bytes of `struct ifreq`, and of the name at its front.
const IFREQ: usize = 40;
const NAME: usize = 16;
/// Most bytes that SIOCGIFCONF fills.
const CONF_MAX: usize = 1 << 16;

/// Answers a request about interfaces; `None` for any other.
pub fn ioctl(
    k: &mut Kernel,
    tid: ThreadId,
    socket: &dyn SocketOps,
    request: u32,
    arg: u64,
) -> Option<SysResult> {
    let inet = socket.family() == AF_INET;
    let v6 = socket.family() == AF_INET6;
    Some(match request {
        SIOCGIFCONF => list(k, arg),
        SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK | SIOCGIFPFLAGS if !inet => {
            Err(Errno::ENOTTY.into())
        }
        // The family's own requests.
        SIOCSIFBRDADDR | SIOCSIFNETMASK | SIOCSIFPFLAGS | SIOCGARP | SIOCSARP | SIOCDARP
            if !inet =>
        {
            Err(Errno::ENOTTY.into())
        }
        SIOCADDRT | SIOCDELRT | SIOCSIFADDR | SIOCSIFDSTADDR | SIOCDIFADDR if !inet && !v6 => {
            Err(Errno::ENOTTY.into())
        }
        SIOCGIFNAME | SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR
        | SIOCGIFNETMASK | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFSLAVE
        | SIOCGIFINDEX | SIOCGIFTXQLEN | SIOCGIFMAP | SIOCETHTOOL => one(k, request, arg),
        SIOCGIFPFLAGS => Err(Errno::EINVAL.into()),
        SIOCGARP => Err(Errno::ENXIO.into()),
        SIOCADDRT | SIOCDELRT | SIOCSARP | SIOCDARP | SIOCSIFFLAGS | SIOCSIFADDR
        | SIOCSIFDSTADDR | SIOCSIFBRDADDR | SIOCSIFNETMASK | SIOCSIFMETRIC | SIOCSIFMTU
        | SIOCSIFNAME | SIOCSIFHWADDR | SIOCSIFSLAVE | SIOCADDMULTI | SIOCDELMULTI
        | SIOCSIFPFLAGS | SIOCDIFADDR | SIOCSIFHWBROADCAST | SIOCSIFBR | SIOCSIFTXQLEN
        | SIOCSIFMAP => {
            let admin = k.cx(tid).cred.capable(cap::NET_ADMIN);
            Err(if admin { Errno::EOPNOTSUPP } else { Errno::EPERM }.into())
        }
        _ => return None,
    })
}

/// `struct sockaddr_in`.
fn sockaddr(ip: Ipv4Addr) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&AF_INET.to_le_bytes());
    out[4..8].copy_from_slice(&ip.octets());
    out
}

fn record(interface: &Interface, value: &[u8]) -> [u8; IFREQ] {
    let mut out = [0; IFREQ];
    out[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
    out[NAME..NAME + value.len()].copy_from_slice(value);
    out
}

/// SIOCGIFCONF: the IPv4 addresses; without a buffer only how many bytes they take.
fn list(k: &mut Kernel, arg: u64) -> SysResult {
    let len: i32 = k.mm.read_pod(arg)?;
    let buffer: u64 = k.mm.read_pod(arg.wrapping_add(8))?;
    let network = k.shared.registry::<Network>();
    let mut bytes = network.with(&k.wakes, |net| {
        let mut bytes = Vec::new();
        for interface in net.interfaces.all() {
            for address in &interface.addresses {
                if let IpAddr::V4(ip) = address.ip {
                    bytes.extend_from_slice(&record(interface, &sockaddr(ip)));
                }
            }
        }
        bytes
    });
    if buffer != 0 {
        let room = usize::try_from(len).unwrap_or(0).min(CONF_MAX);
        bytes.truncate(room / IFREQ * IFREQ);
        k.mm.write_user(buffer, &bytes)?;
    }
    k.mm.write_pod(arg, &(bytes.len() as i32))?;
    Ok(0)
}

/// A request that reads a `struct ifreq` and fills its value.
fn one(k: &mut Kernel, request: u32, arg: u64) -> SysResult {
    let mut asked = [0; IFREQ];
    k.mm.read_user(arg, &mut asked)?;
    if request == SIOCETHTOOL {
        // Its command is read before the name is looked at.
        let data: u64 = k.mm.read_pod(arg.wrapping_add(NAME as u64))?;
        let _: u32 = k.mm.read_pod(data)?;
    }
    let network = k.shared.registry::<Network>();
    let answer = network.with(&k.wakes, |net| {
        if request == SIOCGIFNAME {
            let index = u32::from_le_bytes([asked[16], asked[17], asked[18], asked[19]]);
            let found = net.interfaces.by_index(index).ok_or(Errno::ENODEV)?;
            let value = asked.get(NAME..).unwrap_or_default();
            return Ok(record(found, value));
        }
        let name = asked.get(..NAME - 1).unwrap_or_default();
        let end = name.iter().position(|b| *b == 0 || *b == b':').unwrap_or(name.len());
        let found = net.interfaces.by_name(&name[..end]).ok_or(Errno::ENODEV)?;
        let mut out = asked;
        // An alias is another name of an address, and none is given.
        let alias = name.get(end) == Some(&b':');
        let value = value(found, request, alias)?;
        out[NAME..NAME + value.len()].copy_from_slice(&value);
        Ok::<_, Errno>(out)
    })?;
    k.mm.write_user(arg, &answer)?;
    Ok(0)
}

/// What goes behind the name: at most 24 bytes.
fn value(interface: &Interface, request: u32, alias: bool) -> Result<Vec<u8>, Errno> {
    let address = |of: fn(&Address) -> Ipv4Addr| {
        let found = interface.ipv4().filter(|_| !alias).ok_or(Errno::EADDRNOTAVAIL)?;
        Ok(sockaddr(of(found)).to_vec())
    };
    let own = |a: &Address| match a.ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let int = |n: u32| Ok(n.to_le_bytes().to_vec());
    match request {
        SIOCGIFFLAGS => Ok((interface.flags as u16).to_le_bytes().to_vec()),
        SIOCGIFADDR | SIOCGIFDSTADDR => address(own),
        SIOCGIFBRDADDR if interface.is_loopback() => address(|_| Ipv4Addr::UNSPECIFIED),
        SIOCGIFBRDADDR => address(|a| a.broadcast().unwrap_or(Ipv4Addr::UNSPECIFIED)),
        SIOCGIFNETMASK => address(Address::netmask),
        SIOCGIFMETRIC => int(0),
        SIOCGIFMTU => int(interface.mtu),
        SIOCGIFINDEX => int(interface.index),
        SIOCGIFTXQLEN => int(interface.txqlen),
        SIOCGIFMAP => Ok(vec![0; 24]),
        SIOCGIFHWADDR => {
            let mut out = interface.hardware().to_le_bytes().to_vec();
            out.extend_from_slice(&interface.mac);
            out.resize(16, 0);
            Ok(out)
        }
        SIOCGIFSLAVE => Err(Errno::EINVAL),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
