//! What TCP tells of a connection: `struct tcp_info` and segment sizes (tcp(7), `<linux/tcp.h>`).

use crate::net::Net;
use crate::socket::{Link, Socket, SocketId, State};

/// Segment size before a connection stands.
const SEGMENT_START: u32 = 536;
/// Header of TCP with timestamps.
const HEADER: u32 = 32;
/// Seconds after which an unanswered segment is sent again, at first.
const RETRY_SECONDS: u32 = 1;
const RETRY_SECONDS_MAX: u32 = 120;

/// TCP_MAXSEG.
pub fn segment(socket: &Socket) -> u32 {
    let tcp = &socket.tcp;
    let waiting = matches!(tcp.state, State::Close | State::Listen | State::SynSent);
    match (waiting, tcp.max_segment) {
        (true, 0) => SEGMENT_START,
        (true, set) => set,
        (false, set) => {
            let ip = if socket.local.is_ipv4() { 20 } else { 40 };
            let mtu = if matches!(tcp.link, Link::Outside(_)) { 1500 } else { 65535 };
            let own = mtu - ip - HEADER;
            if set == 0 { own } else { own.min(set.saturating_sub(12)) }
        }
    }
}

/// TCP_DEFER_ACCEPT as it is shown: rounded up to when a retransmission would come (`secs_to_retrans`).
pub fn deferred_seconds(seconds: u32) -> u32 {
    if seconds == 0 {
        return 0;
    }
    let (mut timeout, mut period, mut tries) = (RETRY_SECONDS, RETRY_SECONDS, 1);
    while seconds > period && tries < 255 {
        tries += 1;
        timeout = (timeout * 2).min(RETRY_SECONDS_MAX);
        period += timeout;
    }
    period
}

/// `struct tcp_info`: what a connection without loss would show.
pub fn tcp_info(net: &Net, id: SocketId, socket: &Socket) -> Vec<u8> {
    let tcp = &socket.tcp;
    let established = !matches!(tcp.state, State::Close | State::Listen | State::SynSent);
    let mut out = vec![tcp.state as u8, 0, 0, 0, 0];
    // Timestamps, SACK, window scaling by 7 in both directions.
    out.extend_from_slice(if established { &[0x7, 0x77] } else { &[0, 0] });
    out.push(0);
    let mss = segment(socket);
    let sent_segments = tcp.moved.0.div_ceil(u64::from(mss.max(1))) as u32;
    let got_segments = tcp.moved.1.div_ceil(u64::from(mss.max(1))) as u32;
    let idle = net.clock.0.saturating_sub(tcp.since) / 1_000_000;
    let (queued, max) = match &tcp.backlog {
        Some(backlog) => ((backlog.ready.len()) as u32, backlog.max as u32),
        None => (0, 0),
    };
    let rto = if established { 201_000 } else { 1_000_000 };
    let words: [u32; 24] = [
        rto,                                           // rto, µs
        if established { 40_000 } else { 0 },          // ato
        mss,                                           // snd_mss
        if established { mss } else { SEGMENT_START }, // rcv_mss
        queued,                              // unacked: the backlog's length while listening
        max,                                 // sacked: the backlog's size while listening
        0,                                   // lost
        0,                                   // retrans
        0,                                   // fackets
        idle as u32,                         // last_data_sent, ms
        0,                                   // last_ack_sent
        idle as u32,                         // last_data_recv
        idle as u32,                         // last_ack_recv
        if established { 65535 } else { 0 }, // pmtu
        if established { 65476 } else { 0 }, // rcv_ssthresh
        if established { 50 } else { 0 },    // rtt, µs
        if established { 25 } else { 250_000 }, // rttvar
        i32::MAX as u32,                     // snd_ssthresh
        10,                                  // snd_cwnd
        mss,                                 // advmss
        3,                                   // reordering
        0,                                   // rcv_rtt
        if established { 65495 } else { 0 }, // rcv_space
        0,                                   // total_retrans
    ];
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let longs = [u64::MAX, u64::MAX, tcp.moved.0 + u64::from(established), tcp.moved.1];
    longs.iter().for_each(|long| out.extend_from_slice(&long.to_le_bytes()));
    let waiting = net.unsent_bytes(id).unwrap_or(0) as u32;
    for word in [sent_segments + 2, got_segments + 2, waiting, 0, got_segments, sent_segments] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.resize(232, 0);
    out
}
