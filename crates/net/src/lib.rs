//! The network inside a box: interfaces, loopback, TCP and UDP state, resolver; and [`Outside`], the way out.
//! It knows neither tasks nor files nor hosts: the kernel's socket files are thin rows over it.

pub mod address;
mod bind;
mod capture;
mod checksum;
pub mod control;
pub mod datagram;
mod flows;
pub mod info;
pub mod interface;
pub mod net;
pub mod options;
pub mod outside;
mod packet;
pub mod resolver;
mod serve;
pub mod set;
pub mod socket;
mod stream;
pub mod tap;
pub mod tcp;
pub mod values;

pub use address::Family;
pub use datagram::Hints;
pub use interface::{Interface, Interfaces, Path, RouteKind};
pub use net::Net;
pub use options::{Filter, OptionValue, SocketOptions};
pub use outside::{Conn, Event, Outside, Transport};
pub use socket::{Kind, Socket, SocketId, State};
