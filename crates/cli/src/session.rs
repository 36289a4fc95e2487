//! The store, the registry client and the runtime, as the options say.

use std::path::PathBuf;
use std::sync::Arc;

use build::{Events, Workshop};
use oci::{Client, ClientOptions, Mirror, Store};
use runtime::{Interrupt, Runtime};

use crate::args::Global;
use crate::failure::Failure;

/// Opens the store.
pub fn store(global: &Global) -> Result<Store, Failure> {
    let path = match &global.store {
        Some(path) => path.clone(),
        None => Store::default_path()?,
    };
    Ok(Store::open(path)?)
}

/// A registry client.
pub fn client(global: &Global) -> Result<Client, Failure> {
    let mut options = ClientOptions::from_env();
    options.insecure = global.insecure;
    options.extra_ca.clone_from(&global.ca_file);
    options.offline = global.offline;
    if let Some(file) = &global.authfile {
        options.credentials.required = Some(file.clone());
    }
    options.mirrors =
        global.mirror.iter().map(|text| text.parse::<Mirror>()).collect::<Result<_, _>>()?;
    Ok(Client::new(options)?)
}

/// A runtime that keeps compiled code in the user's cache directory.
pub fn runtime() -> Result<Runtime, Failure> {
    Runtime::with_cache_dir(&cache_folder()).map_err(Failure::new)
}

/// What of the user's cache directory is ours.
pub fn cache_folder() -> PathBuf {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache =
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("boxer")
}

/// Everything a build needs.
pub fn workshop(
    global: &Global,
    events: Arc<dyn Events>,
    interrupt: Interrupt,
) -> Result<Workshop, Failure> {
    Ok(Workshop {
        store: store(global)?,
        client: client(global)?,
        runtime: runtime()?,
        guest: link::guest_wasm().ok(),
        events,
        interrupt,
    })
}
