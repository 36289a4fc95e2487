//! A real registry for tests: Debian's `docker-registry`, on a loopback port the kernel chooses.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PROGRAM: &str = "docker-registry";

/// How the registry is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Serve https with a certificate of a CA made for this registry.
    pub tls: bool,
    /// The one user and password it accepts.
    pub htpasswd: Option<(&'a str, &'a str)>,
}

/// A running registry. Dropped, it is killed and its storage removed.
pub struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    host: String,
    tls: bool,
}

impl Registry {
    /// Starts it with an empty storage and waits until it listens. Panics, naming the package to install, where there
    /// is no `docker-registry`.
    pub fn start(options: Options) -> Registry {
        Registry::start_with(options, false)
    }

    /// Serves https to those alone who show a certificate of its CA.
    pub fn start_for_clients() -> Registry {
        Registry::start_with(Options { tls: true, htpasswd: None }, true)
    }

    fn start_with(options: Options, for_clients: bool) -> Registry {
        let dir = tempfile::tempdir().unwrap();
        let mut http = "http:\n  addr: 127.0.0.1:0\n  secret: test\n".to_string();
        if options.tls {
            write_certificates(dir.path());
            http += &format!(
                "  tls:\n    certificate: {0}/server.pem\n    key: {0}/server.key\n",
                dir.path().display()
            );
            if for_clients {
                http += &format!("    clientcas:\n      - {}/ca.pem\n", dir.path().display());
            }
        }
        let mut auth = String::new();
        if let Some((user, password)) = options.htpasswd {
            let hash = bcrypt::hash_with_result(password, 4)
                .unwrap()
                .format_for_version(bcrypt::Version::TwoY);
            fs::write(dir.path().join("htpasswd"), format!("{user}:{hash}\n")).unwrap();
            auth = format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n",
                dir.path().display()
            );
        }
        // No cache of blob descriptors, so that tests can tamper with the storage.
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    \
             rootdirectory: {}/storage\n{http}{auth}",
            dir.path().display()
        );
        let path = dir.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let mut child = match Command::new(PROGRAM)
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
        {
            Ok(child) => child,
            Err(e) => {
                panic!("cannot run {PROGRAM}: {e}; install it with: apt-get install {PROGRAM}")
            }
        };
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = listening(&line) {
                    let _ = send.send(Ok(address));
                }
                log += &line;
                log.push('\n');
            }
            let _ = send.send(Err(log)); // it ended
        });
        let host = match receive.recv_timeout(Duration::from_secs(60)) {
            Ok(Ok(host)) => host,
            other => {
                let _ = child.kill();
                panic!("{PROGRAM} did not start: {other:?}");
            }
        };
        Registry { child, dir, host, tls: options.tls }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `HOST/NAME`
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The CA's certificate (PEM), with TLS.
    pub fn ca(&self) -> PathBuf {
        assert!(self.tls, "the registry was started without TLS");
        self.dir.path().join("ca.pem")
    }

    /// Certificate and key (PEM) of a client that the CA vouches for.
    pub fn client_identity(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.pem"), self.dir.path().join("client.key"))
    }

    /// The file that holds a blob, to be tampered with. `digest` is `sha256:…`.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.dir
            .path()
            .join(format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `… msg="listening on 127.0.0.1:41234[, tls]" …`.
fn listening(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
    address.contains(':').then_some(address)
}

fn write_certificates(dir: &Path) {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_string(), "localhost".to_string()];
    let mut server = CertificateParams::new(names).unwrap();
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let server_pem = server.signed_by(&key, &issuer).unwrap().pem();
    let client_key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(Vec::new()).unwrap();
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let client_pem = client.signed_by(&client_key, &issuer).unwrap().pem();
    fs::write(dir.join("client.pem"), client_pem).unwrap();
    fs::write(dir.join("client.key"), client_key.serialize_pem()).unwrap();
    fs::write(dir.join("ca.pem"), ca_pem).unwrap();
    fs::write(dir.join("server.pem"), server_pem).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_address_from_the_log() {
        let line =
            r#"time="2026" level=info msg="listening on 127.0.0.1:41234, tls" go.version=go1.19"#;
        assert_eq!(listening(line).as_deref(), Some("127.0.0.1:41234"));
        assert_eq!(listening("msg=starting"), None);
    }

    #[test]
    fn starts_and_stops() {
        let registry = Registry::start(Options::default());
        assert!(std::net::TcpStream::connect(registry.host()).is_ok());
    }
}
