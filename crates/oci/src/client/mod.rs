//! The registry client (OCI distribution spec 1.1): blocking, over reqwest.
//!
//! oci-client, which was under it first, answers challenges only before the first request, gives up a token's session when it
//! expires, and hides status and headers (`Retry-After`, `OCI-Subject`, `Range` of an upload) that decide what comes next.

mod actions;
mod blob;
mod challenge;
mod download;
mod endpoint;
mod failure;
mod form;
mod login;
mod manifest;
mod parts;
mod pull;
mod push;
mod referrers;
mod retry;
mod session;
mod token;
mod upload;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::auth::CredentialSources;
use crate::source::{import_archive, import_layout};
use crate::writer::{Artifact, ImageHandle};
use crate::{BoxHandle, Digest, Error, Progress, Reference, Result, Source, Store};
pub use actions::ActionsCache;
pub use download::Download;
pub use form::{Form, Pulled, Pushed};
pub use parts::Parts;
use pull::Want;

/// How registries are talked to.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Allow plain http and untrusted certificates for every registry. (Loopback registries may always speak http.)
    pub insecure: bool,
    /// Files of PEM certificates to trust besides the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Directories with one of the name `HOST[:PORT]` for each registry, whose `*.crt` are trusted for it
    /// (containers-certs.d(5), Docker's `certs.d`).
    pub cert_dirs: Vec<PathBuf>,
    /// Where credentials come from.
    pub credentials: CredentialSources,
    /// Asked before the registry itself, in order, when pulling.
    pub mirrors: Vec<Mirror>,
    /// Never use the network.
    pub offline: bool,
    /// Blobs transferred at once.
    pub parallel: usize,
    /// How often a failed request is repeated without progress in between.
    pub retries: u32,
    /// The wait before the first repetition; doubled each time, at most 30 s.
    pub backoff: Duration,
    /// The longest silence of a peer.
    pub timeout: Duration,
    /// Once it is set, what is going on ends with [`Error::Interrupted`], and leaves nothing but downloads to be resumed.
    pub interrupt: Arc<AtomicBool>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            insecure: false,
            extra_ca: Vec::new(),
            cert_dirs: Vec::new(),
            credentials: CredentialSources::default(),
            mirrors: Vec::new(),
            offline: false,
            parallel: 4,
            retries: 5,
            backoff: Duration::from_millis(500),
            timeout: Duration::from_secs(60),
            interrupt: Arc::default(),
        }
    }
}

impl ClientOptions {
    /// The defaults, with credentials and certificates from the places people expect.
    pub fn from_env() -> ClientOptions {
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")));
        let mut cert_dirs: Vec<PathBuf> =
            config.map(|dir| dir.join("containers/certs.d")).into_iter().collect();
        cert_dirs.extend(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
        ClientOptions {
            cert_dirs,
            credentials: CredentialSources::from_env(),
            ..ClientOptions::default()
        }
    }
}

/// Another place for the images of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry it stands for (`docker.io`).
    pub registry: String,
    /// Its host and port.
    pub host: String,
    /// Put before the repository's name; empty for most.
    pub prefix: String,
    /// `Some(true)` for `http://`, `Some(false)` for `https://`, `None` where not given.
    pub http: Option<bool>,
}

impl FromStr for Mirror {
    type Err = Error;

    /// `[REGISTRY=][http://|https://]HOST[:PORT][/PREFIX]`; without a registry it is one of docker.io.
    fn from_str(input: &str) -> Result<Mirror> {
        let bad = |reason: &str| Error::BadOption {
            option: format!("mirror \"{input}\""),
            reason: reason.into(),
        };
        let (registry, place) = input.split_once('=').unwrap_or(("docker.io", input));
        let (http, rest) = match place.split_once("://") {
            Some(("http", rest)) => (Some(true), rest),
            Some(("https", rest)) => (Some(false), rest),
            Some(_) => return Err(bad("only http and https are known")),
            None => (None, place),
        };
        let (host, prefix) =
            rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        // The reference grammar knows what a host and a repository may look like.
        let probe =
            if prefix.is_empty() { format!("{host}/x") } else { format!("{host}/{prefix}/x") };
        let parsed = Reference::parse(&probe).map_err(|e| bad(&e.to_string()))?;
        if parsed.registry() != host {
            return Err(bad("expected a host name with a dot or a port"));
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        Ok(Mirror { registry: registry.into(), host: host.into(), prefix: prefix.into(), http })
    }
}

/// Talks to registries. Cheap to make; methods block and may be called from several threads.
#[derive(Clone, Debug)]
pub struct Client {
    options: ClientOptions,
    certificates: Vec<Vec<u8>>,
}

impl Client {
    /// Checks the options; reads the certificates.
    pub fn new(options: ClientOptions) -> Result<Client> {
        let mut certificates = Vec::new();
        for path in &options.extra_ca {
            let pem = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(Error::BadOption {
                    option: format!("certificate {}", path.display()),
                    reason: "no PEM certificate in it".into(),
                });
            }
            certificates.push(pem);
        }
        // An error means that the process has one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Client { options, certificates })
    }

    /// The same client with another interrupt.
    #[must_use]
    pub fn interruptible(&self, interrupt: Arc<AtomicBool>) -> Client {
        let options = ClientOptions { interrupt, ..self.options.clone() };
        Client { options, certificates: self.certificates.clone() }
    }

    /// Whether it never uses the network.
    pub fn is_offline(&self) -> bool {
        self.options.offline
    }

    /// Pulls a linux/amd64 image into the store under its name. The registry is always asked, except for a digest the
    /// store has and when offline.
    pub fn pull(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<ImageHandle> {
        match self.pull_want(reference, store, progress, Want::Image)?.artifact {
            Artifact::Image(image) => Ok(image),
            Artifact::Box(_) => Err(Error::not_an_image(reference, "it is a WebAssembly artifact")),
        }
    }

    /// Pulls a box into the store under its name.
    pub fn pull_box(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<BoxHandle> {
        match self.pull_want(reference, store, progress, Want::Box)?.artifact {
            Artifact::Box(handle) => Ok(handle),
            Artifact::Image(_) => Err(Error::NotABox {
                reference: reference.familiar(),
                reason: "it is a container image".into(),
            }),
        }
    }

    /// Pulls whichever of the two it is. A container image with a module (`wasi/wasm`) is a box, too.
    pub fn pull_any(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        self.pull_want(reference, store, progress, Want::Any)
    }

    /// The image from the store if it is there, else pulled.
    pub fn ensure(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<ImageHandle> {
        match store.image(reference) {
            Err(Error::NotInStore { .. } | Error::CorruptStore { .. }) => {
                self.pull(reference, store, progress)
            }
            other => other,
        }
    }

    /// Brings an image from any source into the store: a registry's under its name, others under `name` if given.
    pub fn fetch(
        &self,
        source: &Source,
        name: Option<&Reference>,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<ImageHandle> {
        let artifact = match source {
            Source::Registry(reference) => return self.pull(reference, store, progress),
            Source::Layout { path, selector } => {
                import_layout(path, selector.as_ref(), store, name, progress)?
            }
            Source::Archive { path, selector } => {
                import_archive(path, selector.as_ref(), store, name, progress)?
            }
        };
        match artifact {
            Artifact::Image(image) => Ok(image),
            Artifact::Box(_) => Err(Error::not_an_image(source, "it is a WebAssembly artifact")),
        }
    }

    /// Pushes the image or box with this manifest, from the store to the reference's repository and tag.
    pub fn push(
        &self,
        reference: &Reference,
        store: &Store,
        manifest: &Digest,
        progress: &dyn Progress,
    ) -> Result<()> {
        if self.options.offline {
            return Err(Error::Offline { reference: reference.familiar() });
        }
        if reference.digest().is_some() {
            return Err(Error::InvalidReference {
                input: reference.familiar(),
                reason: "push to a tag; the digest follows from the content".into(),
            });
        }
        self.run(reference, async || self.push_artifact(reference, store, manifest, progress).await)
    }

    fn pull_want(
        &self,
        reference: &Reference,
        store: &Store,
        progress: &dyn Progress,
        want: Want,
    ) -> Result<Pulled> {
        // Content named by digest cannot have changed, so that the network has nothing to add.
        if self.options.offline || reference.digest().is_some() {
            let kept = match want {
                Want::Image => store.image(reference).map(Artifact::Image),
                Want::Box | Want::Any => store.artifact(reference),
            };
            match kept {
                Ok(artifact) => {
                    let digest = reference.digest().unwrap_or_else(|| artifact.digest().clone());
                    return Ok(Pulled { artifact, digest });
                }
                Err(Error::NotInStore { .. }) if self.options.offline => {
                    return Err(Error::Offline { reference: reference.familiar() });
                }
                Err(Error::NotInStore { .. } | Error::CorruptStore { .. })
                    if !self.options.offline => {}
                Err(e) => return Err(e),
            }
        }
        let descriptor = self
            .run(reference, async || self.pull_artifact(reference, store, progress, want).await)?;
        let name = reference.familiar();
        let artifact = match want {
            // A base is an image, also where it holds but a module.
            Want::Image => Artifact::Image(store.load_image(&name, &descriptor)?),
            Want::Box | Want::Any => store.load_artifact(&name, &descriptor)?,
        };
        store.tag(reference, artifact.descriptor())?;
        Ok(Pulled { artifact, digest: descriptor.digest })
    }

    /// Runs network work to its end on a thread of its own: the caller may itself be inside a runtime, and an answer
    /// that makes a library panic becomes an error.
    fn run<T: Send>(
        &self,
        reference: &Reference,
        work: impl AsyncFnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        self.run_for(reference.registry(), work)
    }

    fn run_for<T: Send>(
        &self,
        host: &str,
        work: impl AsyncFnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let failed = |reason: String| Error::Network { registry: host.into(), reason };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|e| failed(format!("cannot start: {e}")))?
                    .block_on(async {
                        tokio::select! {
                            result = work() => result,
                            () = self.interrupted() => Err(Error::Interrupted),
                        }
                    })
            });
            thread.join().unwrap_or_else(|_| {
                Err(failed("the answer could not be handled (internal error)".into()))
            })
        })
    }
}

impl Client {
    /// Waits until the work is to end.
    async fn interrupted(&self) {
        const PAUSE: Duration = Duration::from_millis(50);
        while !self.options.interrupt.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_parse() {
        let mirror: Mirror = "docker.io=http://127.0.0.1:5000/hub".parse().unwrap();
        assert_eq!(
            mirror,
            Mirror {
                registry: "docker.io".into(),
                host: "127.0.0.1:5000".into(),
                prefix: "hub".into(),
                http: Some(true)
            }
        );
        assert_eq!("https://m.example/".parse::<Mirror>().unwrap().registry, "docker.io");
        for bad in ["", "ftp://x.example", "docker.io=", "http://", "a b", "nohost"] {
            assert!(matches!(bad.parse::<Mirror>(), Err(Error::BadOption { .. })), "{bad}");
        }
    }
}
