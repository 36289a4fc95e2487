//! The protocol of `BOXER_EXEC`: what both ends say to each other, and arbitrary bytes on either. `MUX_INPUTS=N` sets the number of inputs.

#![allow(clippy::unwrap_used)]

mod random;

use mux::exec::*;
use mux::files::Attributes;
use random::Random;

fn to_server(client: &mut Client, server: &mut Server) -> Vec<Vec<u8>> {
    let bytes = client.output().to_vec();
    client.wrote(bytes.len());
    server.space(bytes.len()).get_mut(..bytes.len()).unwrap().copy_from_slice(&bytes);
    server.arrived(bytes.len());
    std::iter::from_fn(|| server.event().unwrap()).collect()
}

fn to_client(server: &mut Server, client: &mut Client) -> Vec<ClientEvent> {
    let bytes = server.output().to_vec();
    server.wrote(bytes.len());
    client.space(bytes.len()).get_mut(..bytes.len()).unwrap().copy_from_slice(&bytes);
    client.arrived(bytes.len()).unwrap();
    std::iter::from_fn(|| client.event()).collect()
}

fn cat() -> Start {
    Start {
        argv: vec![b"cat".to_vec(), b"-".to_vec()],
        env: vec![b"A=1".to_vec()],
        cwd: b"/tmp".to_vec(),
        user: b"nobody:1".to_vec(),
        stdin: true,
        stdout: true,
        stderr: true,
        terminal: None,
    }
}

#[test]
fn a_process_from_start_to_end() {
    let (mut client, mut server) = (Client::new(1 << 24), Server::new());
    let id = client.start(&cat()).unwrap();
    assert_eq!(client.input(id, b"hello"), Some(5));
    client.end_input(id);
    let packets = to_server(&mut client, &mut server);
    let packets: Vec<ToBox<'_>> = packets.iter().map(|p| ToBox::decode(p).unwrap()).collect();
    assert_eq!(packets, [ToBox::Start(id, cat()), ToBox::Input(id, b"hello"), ToBox::InputEnd(id)]);
    server.started(id, 7);
    server.send(id, Stream::Stdout, b"hello");
    server.exited(id, Ended::Exited(3), [0, 2]);
    server.end(id, Stream::Stdout);
    assert!(!server.is_done(id));
    server.end(id, Stream::Stderr);
    assert!(server.is_done(id));
    assert_eq!(
        to_client(&mut server, &mut client),
        [
            ClientEvent::Started(id, 7),
            ClientEvent::Output(id, Stream::Stdout, b"hello".to_vec()),
            ClientEvent::Exited(id, Ended::Exited(3), [0, 2]),
            ClientEvent::End(id, Stream::Stdout),
            ClientEvent::End(id, Stream::Stderr),
        ]
    );
    assert_eq!(client.input(id, b"more"), None);
}

#[test]
fn no_more_is_sent_than_was_granted() {
    let (mut client, mut server) = (Client::new(1 << 24), Server::new());
    let id = client.start(&cat()).unwrap();
    let much = vec![7; 3 * WINDOW as usize];
    assert_eq!(client.input(id, &much), Some(WINDOW as usize));
    assert_eq!(client.input(id, &much), Some(0));
    to_server(&mut client, &mut server);
    server.consumed(id, WINDOW as usize / 2);
    let events = to_client(&mut server, &mut client);
    assert_eq!(events, [ClientEvent::Room(id)]);
    assert_eq!(client.input(id, &much), Some(WINDOW as usize / 2));
    // The other way.
    let mut sent = 0;
    while let Some(room @ 1..) = server.room(id, Stream::Stdout) {
        server.send(id, Stream::Stdout, &vec![1; room]);
        sent += room;
    }
    assert_eq!(sent, WINDOW as usize);
    to_client(&mut server, &mut client);
    client.consumed(id, Stream::Stdout, sent);
    to_server(&mut client, &mut server);
    assert_eq!(server.room(id, Stream::Stdout), Some(MAX_DATA));
    client.close(id, Stream::Stdout);
    to_server(&mut client, &mut server);
    assert_eq!(server.room(id, Stream::Stdout), None);
}

#[test]
fn who_sends_more_than_was_granted_is_not_heard() {
    let mut server = Server::new();
    let mut bytes = Vec::new();
    ToBox::Hello(VERSION).encode(&mut bytes);
    ToBox::Start(1, cat()).encode(&mut bytes);
    for _ in 0..3 {
        ToBox::Input(1, &vec![0; MAX_DATA]).encode(&mut bytes);
    }
    server.space(bytes.len())[..bytes.len()].copy_from_slice(&bytes);
    server.arrived(bytes.len());
    let mut events = 0;
    let error = loop {
        match server.event() {
            Ok(Some(_)) => events += 1,
            Ok(None) => panic!("it is heard"),
            Err(error) => break error,
        }
    };
    assert_eq!((events, error), (3, mux::Broken("more input than was granted")));
}

#[test]
fn calls_survive() {
    let path = b"/a \xff".as_slice();
    let flags = OpenFlags { read: true, create: true, no_follow: true, ..OpenFlags::default() };
    for call in [
        Call::Open { flags, mode: 0o644, path },
        Call::Read { file: 7, offset: 1 << 40, len: 9 },
        Call::Write { file: 7, offset: 3, bytes: b"x" },
        Call::Close { file: 7 },
        Call::List { file: 7 },
        Call::Stat { follow: true, path },
        Call::Mkdir { parents: true, mode: 0o755, path },
        Call::Remove { recursive: false, path },
        Call::Rename { from: path, to: b"b" },
        Call::Symlink { target: b"t", path },
        Call::Link { from: path, to: b"b" },
        Call::Readlink { path },
        Call::Mknod { mode: 0o010644, rdev: 9, path },
        Call::Chmod { mode: 0o4755, path },
        Call::Chown { follow: false, uid: Some(0), gid: None, path },
        Call::SetTimes { follow: true, atime: None, mtime: Some(1), path },
        Call::Watch { recursive: true, path },
        Call::Unwatch { watch: 7 },
        Call::Kill { session: true, pid: 8, signal: 9 },
        Call::Measure { started: true, bound: Bound::InterruptAll, process: 5, most: u64::MAX },
        Call::Measured { measure: 9 },
        Call::Usage,
    ] {
        let mut bytes = Vec::new();
        ToBox::Call(9, b"me", call).encode(&mut bytes);
        assert_eq!(ToBox::decode(&bytes[4..]), Ok(ToBox::Call(9, b"me", call)));
        for len in 0..bytes.len() - 4 {
            assert!(ToBox::decode(&bytes[4..4 + len]).is_err(), "{call:?} {len}");
        }
    }
    let read = |file| ToBox::Call(9, b"", Call::Read { file, offset: 0, len: 1 });
    assert_eq!(
        read(4).map(|n| n + 100),
        ToBox::Call(109, b"", Call::Read { file: 104, offset: 0, len: 1 })
    );
    assert_eq!(ToBox::Signal(FIRST, 15).map(|n| n + 100), ToBox::Signal(FIRST, 15));
}

#[test]
fn entries_survive() {
    let attributes = Attributes { ino: 7, size: 1 << 40, mode: 0o100644, ..Attributes::default() };
    let entries = [b"a".as_slice(), b"\xff b"]
        .map(|name| Entry { name: name.to_vec(), stat: Stat { attributes, rdev: 5 } });
    let mut answer = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut answer));
    let mut rest = answer.as_slice();
    assert_eq!(entries.clone().map(|_| take_entry(&mut rest)), entries.map(Some));
    assert_eq!(take_entry(&mut rest), None);
    assert_eq!(take_entry(&mut &answer[..20]), None);
}

/// A packet that is right in its outer form most of the time.
fn packet(random: &mut Random, kinds: &[u8]) -> Vec<u8> {
    let mut body = vec![kinds[random.below(kinds.len() as u64) as usize]];
    body.extend((random.below(4) as u32).to_le_bytes());
    for _ in 0..random.below(24) {
        // Lengths and counts are small words.
        match random.below(3) {
            0 => body.extend((random.below(9) as u32).to_le_bytes()),
            1 => body.push(random.below(20) as u8),
            _ => body.push(random.next() as u8),
        }
    }
    let len = if random.below(50) == 0 { random.next() as u32 } else { body.len() as u32 };
    [len.to_le_bytes().to_vec(), body].concat()
}

#[test]
fn anything_may_arrive() {
    let inputs = std::env::var("MUX_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    const TO_BOX: [u8; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x10, 0x33];
    const TO_HOST: [u8; 11] = [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x90, 0x91, 0x99];
    let (mut heard, mut broken) = (0, 0);
    for seed in 0..inputs {
        let mut random = Random(seed);
        let (mut client, mut server) = (Client::new(3), Server::new());
        client.start(&cat()).unwrap();
        client.call(b"", Call::Watch { recursive: false, path: b"/" }).unwrap();
        let (mut for_box, mut for_host) = (Vec::new(), Vec::new());
        ToBox::Hello(VERSION).encode(&mut for_box);
        ToHost::Hello(VERSION).encode(&mut for_host);
        for _ in 0..random.below(60) {
            for_box.extend(packet(&mut random, &TO_BOX));
            for_host.extend(packet(&mut random, &TO_HOST));
        }
        for piece in for_box.chunks(1 + random.below(200) as usize) {
            server.space(piece.len())[..piece.len()].copy_from_slice(piece);
            server.arrived(piece.len());
            loop {
                match server.event() {
                    Ok(Some(bytes)) => {
                        heard += 1;
                        if let ToBox::Start(id, _) = ToBox::decode(&bytes).unwrap() {
                            server.started(id, 1);
                            server.end(id, Stream::Stdout);
                            server.exited(id, Ended::Signaled { signal: 9, core: false }, [0, 0]);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {
                        broken += 1;
                        assert!(!server.wants_input());
                        break;
                    }
                }
            }
            assert!(server.output().len() < 2 << 20);
        }
        for piece in for_host.chunks(1 + random.below(200) as usize) {
            client.space(piece.len())[..piece.len()].copy_from_slice(piece);
            if client.arrived(piece.len()).is_err() {
                broken += 1;
                break;
            }
            while client.event().is_some() {
                heard += 1;
            }
        }
    }
    assert!(heard > inputs / 4 && broken > inputs / 4, "{heard} {broken}");
}
