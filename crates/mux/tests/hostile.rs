//! Arbitrary bytes on both ends: no panic, bounded memory. `MUX_INPUTS=N` sets the number of inputs.

#![allow(clippy::unwrap_used)]

mod random;

use mux::{Client, Event, Extensions, Families, Limits, Request, Server, Transport, decode};
use random::Random;

const FAMILIES: Families = Families { v4: true, v6: true };

/// A packet that is right in its outer form most of the time.
fn packet(random: &mut Random) -> Vec<u8> {
    const KINDS: [u8; 13] = [0, 1, 2, 3, 4, 5, 6, 0xB0, 0xB1, 0xB2, 0xB3, 0xB4, 0xff];
    let kind = KINDS[random.below(13) as usize];
    let stream = match random.below(8) {
        0 => 0,
        1 => random.next() as u32,
        2..5 => (1 << 31) + random.below(3) as u32,
        _ => 1 + random.below(3) as u32,
    };
    let mut body = vec![kind];
    body.extend_from_slice(&stream.to_le_bytes());
    let len = match random.below(8) {
        0 => random.below(70_000),
        1..4 => random.below(300),
        _ => random.below(24),
    };
    let mut payload = random.bytes(len.min(64));
    payload.resize(len as usize, 1);
    if let (Some(first), true) = (payload.first_mut(), random.below(2) == 0) {
        *first = 1 + (*first & 1);
    }
    if kind == 5 && random.below(2) == 0 {
        // A list of extensions that makes sense.
        payload = vec![2, 0];
        for id in [0x01, 0x05, 0xB1, 0xB2, 0xB3] {
            payload.extend_from_slice(&[id, 0, 0, 0, 0]);
        }
        payload.extend_from_slice(&[0xB0, 4, 0, 0, 0]);
        payload.extend_from_slice(&(random.next() as u32).to_le_bytes());
        payload.extend_from_slice(&[0xB4, 1, 0, 0, 0, 3]);
    }
    body.extend_from_slice(&payload);
    let len = if random.below(64) == 0 { random.next() as u32 } else { body.len() as u32 };
    [&len.to_le_bytes()[..], &body].concat()
}

/// One connection of some packets, on both ends; how many packets there were.
fn trial(seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut client = Client::new(Some("192.0.2.53".to_owned()));
    let limits = Limits { streams: 4, queries: 4 };
    let own = if random.below(2) == 0 { Extensions::all(FAMILIES) } else { Extensions::NONE };
    let mut server = Server::new(own, limits);
    let mut streams = Vec::new();
    let packets = 1 + random.below(40);
    let (mut held_by_client, mut held_by_server) = (0, 0);
    for _ in 0..packets {
        let bytes = packet(&mut random);
        let _ = decode(bytes.get(4..).unwrap_or_default());
        if client.wants_input() {
            client.space(bytes.len()).copy_from_slice(&bytes);
            let _ = client.arrived(bytes.len());
        }
        if server.wants_input() {
            server.space(bytes.len()).copy_from_slice(&bytes);
            let _ = server.arrived(bytes.len());
        }
        match random.below(12) {
            0 => streams.extend(client.connect(Transport::Tcp, "192.0.2.1", 80)),
            1 => streams.extend(client.connect(Transport::Udp, "::1", 80)),
            2 => client.query(random.below(4) as u32, b"q"),
            3 => {
                streams.iter().for_each(|stream| assert!(client.send(*stream, &[7; 9000]) <= 9000))
            }
            4 => streams.drain(..).for_each(|stream| client.close(stream)),
            5 => streams.iter().for_each(|stream| client.finish(*stream)),
            6 => streams.extend(server.incoming(
                Transport::Tcp,
                80,
                std::net::SocketAddr::from(([192, 0, 2, 1], 1)),
            )),
            7 => (1..4).for_each(|stream| server.opened(stream, None)),
            8 => (1..4).for_each(|stream| assert!(server.send(stream, &[7; 9000]) <= 9000)),
            9 => (1..4).for_each(|stream| _ = server.finish(stream)),
            10 => server.answer(random.below(4) as u32, Some(b"a")),
            _ => (1..4).for_each(|stream| server.consumed(stream, 1 << 20)),
        }
        if random.below(2) == 0 {
            while let Some(event) = client.event() {
                if let Event::Data(stream, bytes) = event {
                    held_by_client += bytes.len();
                    client.consumed(stream, random.below(1 << 20) as usize);
                }
            }
            while let Some(request) = server.request() {
                if let Request::Data(_, bytes) = request {
                    held_by_server += bytes.len();
                }
            }
        }
        if random.below(3) == 0 {
            let len = client.output().len();
            client.wrote(len);
            let len = server.output().len();
            server.wrote(len);
        }
        assert!(client.output().len() < 2 << 20 && server.output().len() < 2 << 20);
    }
    assert!(held_by_client.max(held_by_server) < 16 << 20);
    packets
}

#[test]
fn arbitrary_packets_do_no_harm() {
    let inputs: u64 =
        std::env::var("MUX_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let (mut done, mut seed) = (0, 0);
    while done < inputs {
        done += trial(seed);
        seed += 1;
    }
}

/// A peer that never reads, and asks for more than fits.
#[test]
fn an_end_that_nobody_reads_stops_looking() {
    let mut server = Server::new(Extensions::all(FAMILIES), Limits { streams: 1, queries: 1 });
    let refused = [8, 0, 0, 0, 1, 1, 0, 0, 0, 9, 9, 9];
    let mut taken = 0_u64;
    while server.wants_input() && taken < 100_000_000 {
        let space = server.space(refused.len() * 1000);
        for piece in space.chunks_mut(refused.len()) {
            piece.copy_from_slice(&refused);
        }
        server.arrived(refused.len() * 1000).unwrap();
        taken += 12_000;
    }
    assert!(!server.wants_input());
    assert!(server.output().len() < 2 << 20);
    let mut client = Client::new(None);
    for _ in 0..20_000 {
        let _ = client.connect(Transport::Tcp, "a", 1);
        client.query(1, b"q");
    }
    assert!(client.connect(Transport::Tcp, "a", 1).is_err());
}
