//! Netlink messages: reading requests, writing answers (netlink(7)).

use abi::Errno;
use abi::netlink::{NLM_F_CAPPED, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR};

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Bytes of a dump that go into one datagram (`NLMSG_GOODSIZE`): programs with a buffer of one page get them whole.
const CHUNK: usize = 3776;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// The whole message as far as it goes.
    pub whole: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first request of a datagram and what follows it; `None` at the end or where the length makes no sense
    /// (`netlink_rcv_skb`).
    pub fn split(data: &'a [u8]) -> Option<(Request<'a>, &'a [u8])> {
        let len = u32::from_le_bytes(data.get(..4)?.try_into().ok()?) as usize;
        let whole = data.get(..len).filter(|_| len >= HEADER)?;
        let half = |at: usize| u16::from_le_bytes([whole[at], whole[at + 1]]);
        let sequence = u32::from_le_bytes([whole[8], whole[9], whole[10], whole[11]]);
        let request = Request { kind: half(4), flags: half(6), sequence, whole };
        Some((request, data.get(len.next_multiple_of(4)..).unwrap_or_default()))
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.whole.get(HEADER..).unwrap_or_default()
    }

    /// The value of attribute `kind` behind a family header of `skip` bytes.
    pub fn attribute(&self, skip: usize, kind: u16) -> Option<&'a [u8]> {
        let mut rest = self.payload().get(skip.next_multiple_of(4)..)?;
        loop {
            let len = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
            let found = u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
            let value = rest.get(4..len)?;
            if found == kind {
                return Some(value);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
    }

    /// An attribute that is a u32.
    pub fn attribute_u32(&self, skip: usize, kind: u16) -> Option<u32> {
        let value = self.attribute(skip, kind)?.get(..4)?;
        value.try_into().ok().map(u32::from_le_bytes)
    }
}

/// One answer being written.
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of type `kind` with its family header.
    pub fn new(kind: u16, header: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(header);
        Message { bytes }
    }

    /// Adds an attribute (`struct nlattr`).
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Message {
        // Values are short: names of sockets are the longest.
        let len = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds attributes inside of one.
    pub fn put_nested(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) -> &mut Message {
        let mut inside = Message { bytes: Vec::new() };
        fill(&mut inside);
        self.put(kind, &inside.bytes)
    }

    /// Adds a u32.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Message {
        self.put(kind, &value.to_le_bytes())
    }

    /// Adds a string with its NUL.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Message {
        self.put(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// The bytes, with the header filled in.
    fn finish(mut self, flags: u16, sequence: u32, port: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&port.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes
    }
}

/// What a request is answered with.
pub enum Answer {
    /// One message.
    One(Message),
    /// A dump.
    Dump(Vec<Message>),
    /// A dump that failed at once: NLMSG_DONE carries the error.
    Failed(Errno),
    /// Nothing but an acknowledgement, if that was asked for.
    Nothing,
}

impl Answer {
    /// The datagrams of the answer to `request` for the socket with this port id.
    pub fn datagrams(self, request: &Request, port: u32) -> Vec<Vec<u8>> {
        match self {
            Answer::Nothing => Vec::new(),
            Answer::Failed(error) => {
                let done = Message::new(NLMSG_DONE, &(-error.raw()).to_le_bytes());
                vec![done.finish(NLM_F_MULTI, request.sequence, port)]
            }
            Answer::One(message) => vec![message.finish(0, request.sequence, port)],
            Answer::Dump(messages) => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                let done = Message::new(NLMSG_DONE, &[0; 4]);
                for message in messages.into_iter().chain([done]) {
                    let bytes = message.finish(NLM_F_MULTI, request.sequence, port);
                    match all.last_mut() {
                        Some(last) if last.len() + bytes.len() <= CHUNK => last.extend(bytes),
                        _ => all.push(bytes),
                    }
                }
                all
            }
        }
    }
}

/// The acknowledgement of a request, or its failure (`netlink_ack`). `capped`: NETLINK_CAP_ACK.
pub fn acknowledge(request: &Request, error: Option<Errno>, capped: bool, port: u32) -> Vec<u8> {
    let code = error.map_or(0, |e| -e.raw());
    let whole = error.is_some() && !capped;
    let mut header = code.to_le_bytes().to_vec();
    let quoted =
        if whole { request.whole } else { request.whole.get(..HEADER).unwrap_or_default() };
    header.extend_from_slice(quoted);
    let flags = if whole { 0 } else { NLM_F_CAPPED };
    Message::new(NLMSG_ERROR, &header).finish(flags, request.sequence, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_their_length_makes_no_sense() {
        let mut data = vec![20, 0, 0, 0, 18, 0, 1, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        data.extend([17, 0, 0, 0, 22, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        let (first, rest) = Request::split(&data).unwrap();
        assert_eq!((first.kind, first.flags, first.sequence), (18, 0x301, 7));
        let (second, rest) = Request::split(rest).unwrap();
        assert_eq!((second.kind, second.payload()), (22, &[9][..]));
        assert!(Request::split(rest).is_none());
        for len in [0u32, 15, 21, u32::MAX] {
            data[..4].copy_from_slice(&len.to_le_bytes());
            assert!(Request::split(&data[..20]).is_none());
        }
    }

    #[test]
    fn attributes_with_lengths_that_lie_are_not_there() {
        let attribute = |bytes: &[u8]| {
            let mut data = vec![0; HEADER];
            data.extend_from_slice(bytes);
            let len = data.len() as u32;
            data[..4].copy_from_slice(&len.to_le_bytes());
            let (request, _) = Request::split(&data).unwrap();
            request.attribute_u32(0, 3)
        };
        assert_eq!(attribute(&[5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0]), Some(1));
        assert_eq!(attribute(&[0, 0, 3, 0]), None);
        assert_eq!(attribute(&[9, 0, 3, 0, 1, 0, 0, 0]), None);
        assert_eq!(attribute(&[3, 0, 1, 0, 8, 0, 3, 0, 1, 0, 0, 0]), None);
        assert_eq!(attribute(&[6, 0, 3, 0, 1, 0]), None);
    }

    #[test]
    fn dumps_come_in_pieces_of_less_than_a_page() {
        let messages = (0..300).map(|i| Message::new(20, &[i as u8; 40])).collect();
        let request = Request { kind: 22, flags: 0x301, sequence: 5, whole: &[] };
        let pieces = Answer::Dump(messages).datagrams(&request, 77);
        assert!(pieces.len() > 3 && pieces.iter().all(|p| p.len() <= CHUNK));
        let last = pieces.last().unwrap();
        assert_eq!(
            &last[last.len() - 20..],
            [20, 0, 0, 0, 3, 0, 2, 0, 5, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}
