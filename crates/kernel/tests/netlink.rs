//! Requests of any form to netlink and packet sockets: an answer or an error, and bounded queues.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::Sys;

const SENDTO: u64 = 44;
const RECVFROM: u64 = 45;
const SOCKET: u64 = 41;
const SETSOCKOPT: u64 = 54;
const DONTWAIT: u64 = 0x40;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn requests_of_any_form_are_answered_or_refused() {
    let mut sys = Sys::new();
    let at = sys.map(1 << 16);
    let mut random = Random(0x1234_5678);
    let kinds = [16, 18, 20, 22, 24, 26, 30, 34, 66, 90, 1000];
    for protocol in [0, 4, 15, 16] {
        let fd = sys.ok(SOCKET, &[16, 3, protocol]);
        for round in 0..3000 {
            let len = random.next() % 120;
            let mut bytes: Vec<u8> = (0..len.max(16)).map(|_| random.next() as u8).collect();
            // Mostly a header that makes sense, and often attributes that nearly do.
            if round % 8 != 0 {
                let told = bytes.len() as u32 - (random.next() % 3) as u32;
                bytes[..4].copy_from_slice(&told.to_le_bytes());
                let kind = kinds[random.next() as usize % kinds.len()] as u16;
                bytes[4..6].copy_from_slice(&kind.to_le_bytes());
                let flags = (random.next() & 0x305) as u16 | 1;
                bytes[6..8].copy_from_slice(&flags.to_le_bytes());
                if bytes.len() > 20 {
                    bytes[16] = [0, 1, 2, 7, 10, 16, 17, 99][random.next() as usize % 8];
                    bytes[17] = [0, 6, 17, 255][random.next() as usize % 4];
                }
                for place in (28..bytes.len().saturating_sub(4)).step_by(8) {
                    bytes[place] = (random.next() % 12) as u8;
                    bytes[place + 1] = 0;
                    bytes[place + 2] = (random.next() % 30) as u8;
                    bytes[place + 3] = 0;
                }
            }
            sys.poke(at, &bytes);
            sys.call(SENDTO, &[fd, at, bytes.len() as u64, DONTWAIT, 0, 0]);
            if round % 16 == 0 {
                while sys.call(RECVFROM, &[fd, at + 4096, 8192, DONTWAIT, 0, 0]) > 0 {}
            }
        }
        // Whoever does not read loses answers and is told once.
        let dump = [20, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        sys.poke(at, &dump);
        for _ in 0..2000 {
            sys.call(SENDTO, &[fd, at, dump.len() as u64, DONTWAIT, 0, 0]);
        }
        let mut received = 0;
        loop {
            match sys.call(RECVFROM, &[fd, at + 4096, 8192, DONTWAIT, 0, 0]) {
                -11 => break,
                -105 => {}
                n => received += n,
            }
        }
        assert!(received < 300_000, "{received} bytes were queued");
    }
}

#[test]
fn a_filter_keeps_messages_from_a_socket() {
    let mut sys = Sys::new();
    let at = sys.map(4096);
    let fd = sys.ok(SOCKET, &[16, 3, 0]);
    let request = [20, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    sys.poke(at, &request);
    // "ret #0", and "ret #24".
    for (value, answer) in [(0u64, -11), (24, 24)] {
        sys.poke64(at + 64, 1);
        sys.poke64(at + 72, at + 80);
        sys.poke64(at + 80, 6 | value << 32);
        sys.ok(SETSOCKOPT, &[fd, 1, 26, at + 64, 16]);
        sys.ok(SENDTO, &[fd, at, 20, 0, 0, 0]);
        assert_eq!(sys.call(RECVFROM, &[fd, at + 1024, 2048, DONTWAIT, 0, 0]), answer);
    }
    sys.ok(SETSOCKOPT, &[fd, 1, 27, at, 4]);
    assert_eq!(sys.call(SETSOCKOPT, &[fd, 1, 27, at, 4]), -2);
}

#[test]
fn filters_and_rings_of_any_form_are_taken_or_refused() {
    let mut sys = Sys::new();
    let at = sys.map(1 << 16);
    let mut random = Random(0x9876_5432);
    let fd = sys.ok(SOCKET, &[17, 3, 0x0300]);
    let udp = sys.ok(SOCKET, &[2, 2, 0]);
    // 127.0.0.1, port 9.
    sys.poke(at + 1024, &[2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..3000 {
        let insns = random.next() % 6 + 1;
        for i in 0..insns {
            let code =
                [0x28, 0x30, 0x20, 0x15, 0x06, 0x80, 0xb1, 0x40, 0x07][random.next() as usize % 9];
            let code = if i + 1 == insns { 6 } else { code };
            let k =
                random.next() as u32 & [0xff, 0xffff_ffff, 0xfff0_000f][random.next() as usize % 3];
            let word =
                u64::from(code as u16) | (random.next() & 3) << 16 | (random.next() & 3) << 24;
            sys.poke64(at + 2048 + i * 8, word | u64::from(k) << 32);
        }
        sys.poke64(at, insns);
        sys.poke64(at + 8, at + 2048);
        sys.call(SETSOCKOPT, &[fd, 1, 26, at, 16]);
        for word in 0..4 {
            let value = [0, 1, 16, 52, 64, 2048, 4096, 65536, random.next() as u32];
            sys.poke32(at + 512 + word * 4, value[random.next() as usize % value.len()]);
        }
        sys.call(SETSOCKOPT, &[fd, 263, 10, at + 512, 4]);
        sys.call(SETSOCKOPT, &[fd, 263, 5, at + 512, 16]);
        sys.call(SENDTO, &[udp, at, random.next() % 3000, 0, at + 1024, 16]);
        sys.call(RECVFROM, &[fd, at + 4096, 4096, DONTWAIT, 0, 0]);
        // poll(2) fills the ring.
        sys.poke64(at + 600, fd | 1 << 32);
        sys.call(7, &[at + 600, 1, 0]);
    }
}
