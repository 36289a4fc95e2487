//! One registry (or mirror) for one operation: scheme, TLS, proxy, credentials.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::failure::{network, speaks_no_tls};
use super::session::Session;
use super::token::header_safe;
use super::{Client, Mirror};
use crate::auth::Credentials;
use crate::{Digest, Error, Reference, Result};

/// What will be done at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Pull,
    Push,
}

/// A place that serves one repository.
pub(super) struct Endpoint {
    /// Its requests end when the peer is silent for too long.
    pub(super) http: reqwest::Client,
    /// For sending what is large: there the peer is silent until it has everything.
    pub(super) upload: reqwest::Client,
    /// `https://host:port`
    pub(super) base: String,
    host: String,
    /// The repository's name there.
    pub(super) repository: String,
    /// Tag or digest of the manifest.
    pub(super) manifest: String,
    /// The reference as people wrote it.
    pub(super) display: String,
    pub(super) session: Session,
    /// It has answered.
    pub(super) reached: AtomicBool,
}

impl Endpoint {
    /// Host and port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// `BASE/v2/REPOSITORY/PLACE`
    pub(super) fn url(&self, place: &str) -> String {
        format!("{}/v2/{}/{place}", self.base, self.repository)
    }

    /// A place named by an answer of this registry to `base`. Over TLS it stays over TLS.
    pub(super) fn resolve(&self, base: &str, place: &str) -> Option<String> {
        let base = reqwest::Url::parse(base).ok()?;
        let mut url = base.join(place).ok()?;
        if base.scheme() == "https" && url.scheme() == "http" && url.host() == base.host() {
            // Behind a proxy that ends TLS, registries tell their inner address.
            url.set_scheme("https").ok()?;
            url.set_port(base.port()).ok()?;
        }
        Some(url.into())
    }

    /// The registry does not keep to the protocol.
    pub(super) fn broken_protocol(&self, reason: &str) -> Error {
        Error::Registry {
            reference: self.display.clone(),
            registry: self.host.clone(),
            status: 0,
            reason: reason.into(),
        }
    }

    /// Finds out how the place is reached, and with which credentials.
    pub(super) async fn open(
        client: &Client,
        reference: &Reference,
        mirror: Option<&Mirror>,
        operation: Operation,
    ) -> Result<Endpoint> {
        let host = match mirror {
            Some(mirror) => mirror.host.clone(),
            None => reference.as_client().resolve_registry().to_string(),
        };
        let repository = match mirror.map(|mirror| mirror.prefix.as_str()) {
            None | Some("") => reference.repository().to_string(),
            Some(prefix) => format!("{prefix}/{}", reference.repository()),
        };
        let key = mirror.map_or(reference.registry(), |m| m.host.as_str()).to_string();
        let sources = client.options.credentials.clone();
        let asked = repository.clone();
        // A helper may wait for a person.
        let credentials = tokio::task::spawn_blocking(move || sources.lookup(&key, &asked))
            .await
            .map_err(|e| Error::Credentials { origin: "helper".into(), reason: e.to_string() })??;
        if let Credentials::Bearer(token) | Credentials::Identity(token) = &credentials {
            header_safe(&host, token.clone())?;
        }
        let http = client.http_client(&host)?;
        let plain = match mirror.and_then(|m| m.http) {
            Some(plain) => plain,
            None => client.speaks_http(&http, &host).await?,
        };
        let actions = if operation == Operation::Push { "pull,push" } else { "pull" };
        let digest = reference.digest().as_ref().map(Digest::to_string);
        Ok(Endpoint {
            upload: client.http_builder(&host)?.build().map_err(|e| network(&host, &e))?,
            http,
            base: format!("{}://{host}", if plain { "http" } else { "https" }),
            manifest: digest.unwrap_or_else(|| reference.tag().unwrap_or("latest").to_owned()),
            display: reference.familiar(),
            session: Session::new(credentials, format!("repository:{repository}:{actions}")),
            reached: AtomicBool::new(false),
            host,
            repository,
        })
    }
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// `localhost`, 127.0.0.0/8.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host_name(host);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Client {
    /// Whether plain http is what `host` speaks. Only asked where that is allowed; a certificate that is not trusted
    /// is an error and never a reason to fall back.
    pub(super) async fn speaks_http(&self, probe: &reqwest::Client, host: &str) -> Result<bool> {
        if !self.options.insecure && !is_loopback(host) {
            return Ok(false);
        }
        match probe.get(format!("https://{host}/v2/")).send().await {
            Ok(_) => Ok(false),
            Err(e) if speaks_no_tls(&e) || e.is_timeout() || e.is_connect() => {
                if super::failure::tls_reason(&e).is_some() && !speaks_no_tls(&e) {
                    return Err(network(host, &e));
                }
                Ok(true) // whether it answers at all, the first request tells
            }
            Err(e) => Err(network(host, &e)),
        }
    }

    /// The files of this kind in the host's directories (containers-certs.d(5)).
    fn certificate_files(&self, host: &str, kind: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for dir in &self.options.cert_dirs {
            let Ok(entries) = std::fs::read_dir(dir.join(host)) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
            paths.retain(|p| p.extension().is_some_and(|e| e == kind));
            paths.sort();
            files.append(&mut paths);
        }
        files
    }

    /// The PEM files to trust for this host besides the system's.
    fn trusted(&self, host: &str) -> Result<Vec<Vec<u8>>> {
        let mut files = self.certificates.clone();
        for path in self.certificate_files(host, "crt") {
            files.push(read(&path)?);
        }
        Ok(files)
    }

    /// The certificate and key that this host gets to see (`NAME.cert`, `NAME.key`), in one PEM.
    fn identity(&self, host: &str) -> Result<Option<reqwest::Identity>> {
        let Some(cert) = self.certificate_files(host, "cert").into_iter().next() else {
            return Ok(None);
        };
        let key = cert.with_extension("key");
        let bad = |reason: String| Error::BadOption {
            option: format!("client certificate {}", cert.display()),
            reason,
        };
        if !key.is_file() {
            return Err(bad(format!("its key {} is missing", key.display())));
        }
        let pem = [read(&cert)?, b"\n".to_vec(), read(&key)?].concat();
        reqwest::Identity::from_pem(&pem)
            .map(Some)
            .map_err(|e| bad(format!("it and its key cannot be used: {e}")))
    }

    pub(super) fn http_client(&self, host: &str) -> Result<reqwest::Client> {
        let builder = self.http_builder(host)?.read_timeout(self.options.timeout);
        builder.build().map_err(|e| network(host, &e))
    }

    pub(super) fn http_builder(&self, host: &str) -> Result<reqwest::ClientBuilder> {
        let failed = |e: reqwest::Error| network(host, &e);
        let mut roots = Vec::new();
        for pem in &self.trusted(host)? {
            roots.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(failed)?);
        }
        let mut builder = reqwest::Client::builder()
            .tls_certs_merge(roots)
            .tls_danger_accept_invalid_certs(self.options.insecure)
            .connect_timeout(self.options.timeout.min(std::time::Duration::from_secs(20)))
            .user_agent(USER_AGENT);
        if let Some(identity) = self.identity(host)? {
            builder = builder.identity(identity);
        }
        if is_loopback(host) {
            builder = builder.no_proxy();
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, e))
}

const USER_AGENT: &str = concat!("boxer/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_only_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.3.2.1:80", "a.localhost:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "128.0.0.1:5000", "docker.io", "0.0.0.0:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
