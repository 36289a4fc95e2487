//! Packet sockets (packet(7)).
#![allow(missing_docs)] // the names are those of <linux/if_packet.h>

pub const SOL_PACKET: u32 = 263;
pub const PACKET_ADD_MEMBERSHIP: u32 = 1;
pub const PACKET_DROP_MEMBERSHIP: u32 = 2;
pub const PACKET_RX_RING: u32 = 5;
pub const PACKET_STATISTICS: u32 = 6;
pub const PACKET_COPY_THRESH: u32 = 7;
pub const PACKET_AUXDATA: u32 = 8;
pub const PACKET_ORIGDEV: u32 = 9;
pub const PACKET_VERSION: u32 = 10;
pub const PACKET_HDRLEN: u32 = 11;
pub const PACKET_RESERVE: u32 = 12;
pub const PACKET_LOSS: u32 = 14;
pub const PACKET_TIMESTAMP: u32 = 17;
pub const PACKET_QDISC_BYPASS: u32 = 20;
pub const PACKET_IGNORE_OUTGOING: u32 = 23;

pub const TPACKET_V1: u32 = 0;
pub const TPACKET_V2: u32 = 1;
pub const TP_STATUS_KERNEL: u32 = 0;
pub const TP_STATUS_USER: u32 = 1;
