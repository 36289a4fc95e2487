//! What `RUN --mount=type=ssh` leads to: an agent of this host, or one of our own that has the keys of some files.
//!
//! A key never leaves this process: programs in a step see a socket and get signatures.

mod agent;
mod key;
mod wire;

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::Door;

use agent::Keyring;

/// The largest file that is taken for a key.
const LARGEST_KEY: u64 = 1 << 20;

/// Where an agent is.
#[derive(Clone)]
pub enum Agent {
    /// Behind a socket of this host.
    Socket(PathBuf),
    /// Here.
    Keys(Arc<Keyring>),
}

/// Keys are not for logs.
impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Agent::Socket(path) => f.debug_tuple("Socket").field(path).finish(),
            Agent::Keys(_) => f.write_str("Keys(..)"),
        }
    }
}

impl Agent {
    /// The agent at `paths`: one socket, or private keys.
    ///
    /// # Errors
    /// What is wrong with which path.
    pub fn at(paths: &[PathBuf]) -> Result<Agent, String> {
        let mut keys = Vec::new();
        for path in paths {
            let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let found = std::fs::metadata(path).map_err(|error| failed(&error))?;
            if found.file_type().is_socket() {
                if paths.len() > 1 {
                    return Err("one agent's socket, or files with keys, but not both".to_owned());
                }
                return Ok(Agent::Socket(path.clone()));
            }
            let text = read(path, &found).map_err(|error| failed(&error))?;
            keys.push(key::parse(&text).map_err(|reason| failed(&reason))?);
        }
        Ok(Agent::Keys(Arc::new(Keyring::new(keys))))
    }

    /// Opens connections to it.
    pub(crate) fn door(&self) -> Door {
        match self.clone() {
            Agent::Socket(path) => Arc::new(move || UnixStream::connect(&path)),
            Agent::Keys(keys) => Arc::new(move || {
                let (ours, theirs) = UnixStream::pair()?;
                let keys = keys.clone();
                let serve = move || keys.serve(ours);
                std::thread::Builder::new().name("ssh agent".to_owned()).spawn(serve)?;
                Ok(theirs)
            }),
        }
    }
}

fn read(path: &Path, found: &std::fs::Metadata) -> io::Result<String> {
    if !found.is_file() || found.len() > LARGEST_KEY {
        return Err(io::Error::other("it is neither an agent's socket nor a file with a key"));
    }
    std::fs::read_to_string(path)
}
