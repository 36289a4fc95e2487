//! Looking up names by the host: addresses, and nothing else.

use super::values;
use net::resolver::{Found, answer_with, wanted};
use std::net::IpAddr;
use std::rc::Rc;
use wasip2::io::poll::Pollable;
use wasip2::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use wasip2::sockets::network::{ErrorCode, Network};

/// Addresses in one answer.
const ADDRESSES_MAX: usize = 64;

/// A look-up on its way.
pub struct Lookup {
    // Children are dropped before what they are of.
    pub ready: Rc<Pollable>,
    stream: ResolveAddressStream,
    query: Vec<u8>,
    found: Vec<IpAddr>,
}

impl Lookup {
    /// Starts to look up what a DNS query asks for; otherwise the answer, as [`Lookup::look`] gives it.
    pub fn start(network: &Network, query: &[u8]) -> Result<Lookup, Option<Vec<u8>>> {
        let Some((name, _)) = wanted(query) else {
            return Err(answer_with(query, &Found::NotAnAddress));
        };
        match resolve_addresses(network, &name) {
            Ok(stream) => Ok(Lookup {
                ready: Rc::new(stream.subscribe()),
                stream,
                query: query.to_vec(),
                found: Vec::new(),
            }),
            Err(code) => Err(failed(query, code)),
        }
    }

    /// The answer, once it is there: a DNS message, or none if the host gave none.
    pub fn look(&mut self) -> Option<Option<Vec<u8>>> {
        loop {
            match self.stream.resolve_next_address() {
                Ok(Some(address)) if self.found.len() < ADDRESSES_MAX => {
                    self.found.push(values::ip(address));
                }
                Ok(_) => {
                    let found = Found::Addresses(std::mem::take(&mut self.found));
                    return Some(answer_with(&self.query, &found));
                }
                Err(ErrorCode::WouldBlock) => return None,
                Err(code) => return Some(failed(&self.query, code)),
            }
        }
    }
}

fn failed(query: &[u8], code: ErrorCode) -> Option<Vec<u8>> {
    match code {
        ErrorCode::NameUnresolvable => answer_with(query, &Found::NoName),
        ErrorCode::AccessDenied | ErrorCode::PermanentResolverFailure => {
            answer_with(query, &Found::Refused)
        }
        ErrorCode::InvalidArgument => answer_with(query, &Found::NoName),
        _ => None,
    }
}
