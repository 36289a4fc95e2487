//! The network inside a box: interfaces, loopback, TCP and UDP state, resolver; and [`Outside`], the way out.
//! It knows neither tasks nor files nor hosts: the kernel's socket files are thin rows over it.

pub mod interface;
pub mod options;
pub mod outside;
pub mod resolver;

pub use interface::{Interface, Interfaces, Path, RouteKind};
pub use options::SocketOptions;
pub use outside::{Conn, Event, Outside, Transport};
