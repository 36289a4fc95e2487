//! Generic netlink: a controller that knows no family but itself (`Documentation/userspace-api/netlink`).

use abi::Errno;
use abi::netlink::NLM_F_DUMP;

use super::NetlinkSocket;
use super::message::{Answer, Message, Request};
use crate::fs::{Cx, Res};

/// The controller's family, its commands and attributes (`<linux/genetlink.h>`).
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_NEWFAMILY: u8 = 1;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_VERSION: u16 = 3;
const CTRL_ATTR_HDRSIZE: u16 = 4;
const CTRL_ATTR_MAXATTR: u16 = 5;
/// Bytes of `struct genlmsghdr`.
const GENL_HEADER: usize = 4;

fn controller() -> Message {
    let mut message = Message::new(GENL_ID_CTRL, &[CTRL_CMD_NEWFAMILY, 2, 0, 0]);
    message
        .put_text(CTRL_ATTR_FAMILY_NAME, "nlctrl")
        .put(CTRL_ATTR_FAMILY_ID, &GENL_ID_CTRL.to_le_bytes())
        .put_u32(CTRL_ATTR_VERSION, 2)
        .put_u32(CTRL_ATTR_HDRSIZE, 0)
        .put_u32(CTRL_ATTR_MAXATTR, 10);
    message
}

/// Answers a request.
pub fn answer(_cx: &mut Cx, _: &NetlinkSocket, request: &Request) -> Res<Answer> {
    if request.kind != GENL_ID_CTRL {
        return Err(Errno::ENOENT);
    }
    if request.payload().len() < GENL_HEADER {
        return Err(Errno::EINVAL);
    }
    if request.payload()[0] != CTRL_CMD_GETFAMILY {
        return Err(Errno::EOPNOTSUPP);
    }
    if request.flags & NLM_F_DUMP != 0 {
        return Ok(Answer::Dump(vec![controller()]));
    }
    let name = request.attribute(GENL_HEADER, CTRL_ATTR_FAMILY_NAME);
    let id = request.attribute(GENL_HEADER, CTRL_ATTR_FAMILY_ID);
    match (name, id) {
        (Some(b"nlctrl\0"), _) | (None, Some([0x10, 0, ..])) => Ok(Answer::One(controller())),
        (None, None) => Err(Errno::EINVAL),
        _ => Err(Errno::ENOENT),
    }
}
