//! What goes through a socket in one piece: data, addresses, control data, files.

use std::rc::Rc;

use crate::file::OpenFile;
use crate::fs::walk::PathCx;
use crate::wait::WaitKey;

/// One control message (cmsg(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`.
    pub level: u32,
    /// `cmsg_type`.
    pub kind: u32,
    /// The payload.
    pub data: Vec<u8>,
}

/// A message to be sent (sendmsg(2)).
#[derive(Default)]
pub struct Outgoing<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// The `struct sockaddr` to send it to.
    pub to: Option<&'a [u8]>,
    /// Control messages but SCM_RIGHTS.
    pub control: &'a [Control],
    /// The files of SCM_RIGHTS.
    pub files: &'a [Rc<OpenFile>],
    /// `MSG_*`.
    pub flags: u32,
    /// Where paths in addresses start.
    pub at: Option<&'a PathCx>,
    /// After `EAGAIN`: what to wait for besides the socket's own keys.
    pub keys: Vec<WaitKey>,
}

/// A message that was received (recvmsg(2)).
#[derive(Default)]
pub struct Incoming {
    /// Bytes stored.
    pub len: usize,
    /// Bytes that the whole message has (datagrams may be cut).
    pub full_len: usize,
    /// The sender's `struct sockaddr`, if there is one to tell.
    pub from: Option<Vec<u8>>,
    /// Control messages but SCM_RIGHTS.
    pub control: Vec<Control>,
    /// The files of SCM_RIGHTS.
    pub files: Vec<Rc<OpenFile>>,
    /// `MSG_*` to report besides `MSG_TRUNC`.
    pub flags: u32,
}
