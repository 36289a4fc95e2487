//! Archives made header by header, right and wrong ones.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;

/// An archive being made.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

/// A header block; its checksum is filled in by `encode`.
#[derive(Clone)]
pub struct Header(pub [u8; 512]);

impl Header {
    pub fn new(typeflag: u8, name: &[u8]) -> Header {
        let mut h = Header([0; 512]);
        h.set(0, &name[..name.len().min(100)])
            .octal(100, 7, 0o644)
            .octal(108, 7, 0)
            .octal(116, 7, 0);
        h.octal(124, 11, 0).octal(136, 11, 1_600_000_000).set(257, b"ustar\x0000");
        h.0[156] = typeflag;
        h
    }

    pub fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Header {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn octal(&mut self, at: usize, digits: usize, value: u64) -> &mut Header {
        self.set(at, format!("{value:0digits$o}").as_bytes())
    }

    pub fn link(&mut self, target: &str) -> &mut Header {
        self.set(157, target.as_bytes())
    }

    pub fn encode(&self) -> [u8; 512] {
        let mut h = self.clone();
        h.set(148, b"        ");
        let sum: u64 = h.0.iter().map(|b| u64::from(*b)).sum();
        h.octal(148, 6, sum).set(154, b"\0 ");
        h.0
    }
}

impl Raw {
    pub fn header(mut self, header: &Header) -> Raw {
        self.0.extend_from_slice(&header.encode());
        self
    }

    pub fn data(mut self, data: &[u8]) -> Raw {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Raw {
        let mut h = Header::new(b'0', name.as_bytes());
        h.octal(124, 11, content.len() as u64);
        self.header(&h).data(content)
    }

    pub fn dir(self, name: &str) -> Raw {
        let mut h = Header::new(b'5', name.as_bytes());
        h.octal(100, 7, 0o755);
        self.header(&h)
    }

    pub fn link(self, typeflag: u8, name: &str, target: &str) -> Raw {
        self.header(Header::new(typeflag, name.as_bytes()).link(target))
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Raw {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (1..).find(|n| *n == rest + n.to_string().len()).unwrap();
            write!(data, "{len} {key}=").unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.extended(b'x', &data)
    }

    pub fn extended(self, typeflag: u8, data: &[u8]) -> Raw {
        let mut h = Header::new(typeflag, b"extended");
        h.octal(124, 11, data.len() as u64);
        self.header(&h).data(data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}
