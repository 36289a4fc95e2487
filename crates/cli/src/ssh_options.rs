//! `--ssh default|ID[=SOCKET|KEY,…]`, as buildx has it.

use crate::failure::Failure;
use build::Agent;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The agents, by id.
pub fn agents(words: &[String]) -> Result<BTreeMap<String, Agent>, Failure> {
    let mut agents = BTreeMap::new();
    for word in words {
        let wrong = |what: &str| Failure::usage(format!("invalid --ssh {word:?}: {what}"));
        let (id, paths) = word.split_once('=').unwrap_or((word, ""));
        let id = if id.is_empty() { "default" } else { id };
        let mut paths: Vec<PathBuf> =
            paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        if paths.is_empty() {
            let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
            let socket = socket.ok_or_else(|| {
                wrong("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
            })?;
            paths.push(socket.into());
        }
        let agent = Agent::at(&paths).map_err(|reason| wrong(&reason))?;
        if agents.insert(id.to_owned(), agent).is_some() {
            return Err(wrong(&format!("duplicate id {id}")));
        }
    }
    Ok(agents)
}
