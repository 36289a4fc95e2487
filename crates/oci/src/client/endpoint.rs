//! One registry (or mirror) for one operation: scheme, TLS, proxy, credentials.

use std::net::IpAddr;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client as OciClient, RegistryOperation};

use super::blob::wait;
use super::failure::{explain, is_transient, is_unreachable, network, speaks_no_tls};
use super::token::exchange;
use super::{Client, Mirror};
use crate::auth::Credentials;
use crate::{Error, Reference, Result};

/// A place that serves one repository.
pub(super) struct Endpoint {
    pub(super) client: OciClient,
    /// For requests oci-client does not make well.
    pub(super) http: reqwest::Client,
    /// `https://host:port`
    pub(super) base: String,
    /// The token the registry wants with each request.
    pub(super) token: Option<String>,
    /// The reference as this place knows it.
    pub(super) target: oci_client::Reference,
    pub(super) auth: RegistryAuth,
    /// The reference as people wrote it.
    pub(super) display: String,
    anonymous: bool,
}

impl Endpoint {
    /// Host and port.
    pub(super) fn host(&self) -> &str {
        self.target.resolve_registry()
    }

    /// A refusal in words that help.
    pub(super) fn denied(&self, reason: &str) -> String {
        let hint = if self.anonymous {
            "no credentials were found for it; it may be private or not exist"
        } else {
            "the credentials were not accepted for it"
        };
        if reason.is_empty() { hint.into() } else { format!("{reason} ({hint})") }
    }

    /// Finds out how the place is reached, and logs in.
    pub(super) async fn open(
        client: &Client,
        reference: &Reference,
        mirror: Option<&Mirror>,
        operation: RegistryOperation,
    ) -> Result<Endpoint> {
        let target = target(reference, mirror);
        let host = target.resolve_registry().to_string();
        let key = mirror.map_or(reference.registry(), |m| m.host.as_str()).to_string();
        let sources = client.options.credentials.clone();
        let repository = target.repository().to_string();
        // A helper may wait for a person.
        let credentials = tokio::task::spawn_blocking(move || sources.lookup(&key, &repository))
            .await
            .map_err(|e| Error::Credentials { origin: "helper".into(), reason: e.to_string() })??;
        let http = client.http_client(&host)?;
        let plain = match mirror.and_then(|m| m.http) {
            Some(plain) => plain,
            None => client.speaks_http(&http, &host).await?,
        };
        let mut endpoint = Endpoint {
            client: client.oci_client(&host, plain, &target)?,
            http,
            base: format!("{}://{host}", if plain { "http" } else { "https" }),
            token: None,
            auth: RegistryAuth::Anonymous,
            display: reference.familiar(),
            anonymous: credentials == Credentials::Anonymous,
            target,
        };
        endpoint.auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user, password),
            Credentials::Bearer(token) => RegistryAuth::Bearer(header_safe(&endpoint, token)?),
            Credentials::Identity(token) => {
                RegistryAuth::Bearer(exchange(&endpoint, &token, operation).await?)
            }
        };
        let mut attempt = 0;
        let token = loop {
            let login = endpoint.client.auth(&endpoint.target, &endpoint.auth, operation);
            match login.await {
                Ok(token) => break token,
                // A registry nobody can connect to is more likely a typing error than passing trouble.
                Err(e)
                    if is_transient(&e)
                        && !is_unreachable(&e)
                        && attempt < client.options.retries =>
                {
                    attempt += 1;
                    tokio::time::sleep(wait(&client.options, attempt)).await;
                }
                Err(e) => return Err(explain(&endpoint, e)),
            }
        };
        if let Some(token) = token {
            endpoint.token = Some(header_safe(&endpoint, token)?);
        }
        Ok(endpoint)
    }
}

/// The reference under the name this place has for it.
fn target(reference: &Reference, mirror: Option<&Mirror>) -> oci_client::Reference {
    let Some(mirror) = mirror else { return reference.as_client().clone() };
    let repository = match mirror.prefix.as_str() {
        "" => reference.repository().to_string(),
        prefix => format!("{prefix}/{}", reference.repository()),
    };
    match reference.as_client().digest() {
        Some(digest) => {
            oci_client::Reference::with_digest(mirror.host.clone(), repository, digest.into())
        }
        None => {
            let tag = reference.tag().unwrap_or("latest");
            oci_client::Reference::with_tag(mirror.host.clone(), repository, tag.into())
        }
    }
}

/// oci-client panics on a token that is no header value.
pub(super) fn header_safe(endpoint: &Endpoint, token: String) -> Result<String> {
    if token.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(token);
    }
    Err(Error::Registry {
        reference: endpoint.display.clone(),
        registry: endpoint.host().into(),
        status: 0,
        reason: "its token has characters that cannot be sent".into(),
    })
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// `localhost`, 127.0.0.0/8.
fn is_loopback(host: &str) -> bool {
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

    /// The PEM files to trust for this host besides the system's.
    fn trusted(&self, host: &str) -> Result<Vec<Vec<u8>>> {
        let mut files = self.certificates.clone();
        for dir in &self.options.cert_dirs {
            let dir = dir.join(host);
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
            paths.retain(|p| p.extension().is_some_and(|e| e == "crt"));
            paths.sort();
            for path in paths {
                files.push(std::fs::read(&path).map_err(|e| Error::io(&path, e))?);
            }
        }
        Ok(files)
    }

    pub(super) fn http_client(&self, host: &str) -> Result<reqwest::Client> {
        let failed = |e: reqwest::Error| network(host, &e);
        let mut roots = Vec::new();
        for pem in &self.trusted(host)? {
            roots.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(failed)?);
        }
        let mut builder = reqwest::Client::builder()
            .tls_certs_merge(roots)
            .tls_danger_accept_invalid_certs(self.options.insecure)
            .read_timeout(self.options.timeout)
            .connect_timeout(self.options.timeout.min(std::time::Duration::from_secs(20)))
            .user_agent(USER_AGENT);
        if is_loopback(host) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(failed)
    }

    fn oci_client(
        &self,
        host: &str,
        http: bool,
        target: &oci_client::Reference,
    ) -> Result<OciClient> {
        let mut config = ClientConfig {
            protocol: if http { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates: self.options.insecure,
            // One PUT of known length: every registry takes it, and chunks would need memory for each.
            use_monolithic_push: true,
            extra_root_certificates: self
                .trusted(host)?
                .into_iter()
                .map(|data| Certificate { encoding: CertificateEncoding::Pem, data })
                .collect(),
            platform_resolver: None,
            read_timeout: Some(self.options.timeout),
            connect_timeout: Some(self.options.timeout.min(std::time::Duration::from_secs(20))),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        if is_loopback(host) {
            // A proxy from the environment cannot reach our loopback. Any explicit proxy turns those off, and the
            // exception for this host turns the explicit one off.
            config.http_proxy = Some("http://127.0.0.1:9".into());
            config.https_proxy = Some("http://127.0.0.1:9".into());
            config.no_proxy = Some(host_name(host).into());
        }
        OciClient::try_from(config).map_err(|e| Error::Registry {
            reference: target.to_string(),
            registry: host.into(),
            status: 0,
            reason: format!("the client cannot be set up: {e}"),
        })
    }
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
