//! An agent's end of the protocol (draft-ietf-sshm-ssh-agent): it lists keys and signs, and nobody changes what it has.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::key::Key;
use super::wire::{Fields, Malformed, put_string};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// The longest message, as OpenSSH's agent has it.
const LONGEST: usize = 256 << 10;

/// Some keys.
pub struct Keyring(Vec<Key>);

impl Keyring {
    pub fn new(keys: Vec<Key>) -> Keyring {
        Keyring(keys)
    }

    /// Answers one connection until its end.
    pub fn serve(&self, mut socket: UnixStream) {
        while let Ok(message) = read_message(&mut socket) {
            let answer = self.answer(&message).unwrap_or_else(|Malformed| vec![FAILURE]);
            let mut framed = Vec::with_capacity(answer.len() + 4);
            put_string(&mut framed, &answer);
            if socket.write_all(&framed).is_err() {
                return;
            }
        }
    }

    fn answer(&self, message: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut fields = Fields(message);
        match fields.take(1)? {
            [REQUEST_IDENTITIES] => {
                let mut answer = vec![IDENTITIES_ANSWER];
                answer.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
                for key in &self.0 {
                    put_string(&mut answer, &key.public);
                    // What its owner calls it is nobody's business, as in BuildKit.
                    put_string(&mut answer, b"");
                }
                Ok(answer)
            }
            [SIGN_REQUEST] => {
                let (public, data) = (fields.string()?, fields.string()?);
                let flags = fields.u32()?;
                let key = self.0.iter().find(|key| key.public == public).ok_or(Malformed)?;
                let mut answer = vec![SIGN_RESPONSE];
                put_string(&mut answer, &key.sign(data, flags).ok_or(Malformed)?);
                Ok(answer)
            }
            _ => Ok(vec![FAILURE]),
        }
    }
}

fn read_message(socket: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; len];
    socket.read_exact(&mut message)?;
    Ok(message)
}
