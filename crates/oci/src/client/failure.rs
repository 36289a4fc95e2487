//! What oci-client and reqwest report, as errors people can act on.

use std::error::Error as StdError;
use std::io;

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use super::endpoint::Endpoint;
use crate::Error;

/// Whether asking again may help.
pub(super) fn is_transient(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(e) => match e.status() {
            Some(status) => transient_status(status.as_u16()),
            None => tls_reason(e).is_none() && !e.is_builder() && !e.is_redirect(),
        },
        OciDistributionError::ServerError { code, .. } => transient_status(*code),
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|e| e.code == OciErrorCode::Toomanyrequests)
        }
        OciDistributionError::IoError(e) => find::<DigestError>(e).is_none(),
        _ => false,
    }
}

fn transient_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Whether no connection came about.
pub(super) fn is_unreachable(error: &OciDistributionError) -> bool {
    matches!(error, OciDistributionError::RequestError(e) if e.is_connect())
}

/// The HTTP status in an error, if that is what it is about.
pub(super) fn status(error: &OciDistributionError) -> Option<u16> {
    match error {
        OciDistributionError::RequestError(e) => e.status().map(|s| s.as_u16()),
        OciDistributionError::ServerError { code, .. } => Some(*code),
        OciDistributionError::UnauthorizedError { .. } => Some(401),
        _ => None,
    }
}

/// Names the cause of an oci-client error.
pub(super) fn explain(endpoint: &Endpoint, error: OciDistributionError) -> Error {
    let reference = endpoint.display.clone();
    let registry = endpoint.host().to_string();
    let answered = |status: u16, reason: String| match status {
        401 | 403 => Error::Unauthorized {
            reference: reference.clone(),
            registry: registry.clone(),
            reason: endpoint.denied(&reason),
        },
        404 => Error::NotFound {
            reference: reference.clone(),
            reason: format!("{registry}: {reason}"),
        },
        _ => Error::Registry {
            reference: reference.clone(),
            registry: registry.clone(),
            status,
            reason,
        },
    };
    match error {
        OciDistributionError::AuthenticationFailure(reason) => answered(401, shorten(&reason)),
        OciDistributionError::UnauthorizedError { .. } => answered(401, String::new()),
        OciDistributionError::ImageManifestNotFoundError(reason) => answered(404, reason),
        OciDistributionError::ServerError { code, message, .. } => {
            answered(code, shorten(&message))
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let reason = envelope.errors.iter().map(describe).collect::<Vec<_>>().join("; ");
            let status = envelope.errors.first().map_or(0, |e| match e.code {
                OciErrorCode::ManifestUnknown
                | OciErrorCode::NameUnknown
                | OciErrorCode::NotFound
                | OciErrorCode::BlobUnknown => 404,
                OciErrorCode::Unauthorized => 401,
                OciErrorCode::Denied => 403,
                OciErrorCode::Toomanyrequests => 429,
                _ => 400,
            });
            answered(status, reason)
        }
        OciDistributionError::RequestError(e) => match e.status() {
            Some(status) => {
                answered(status.as_u16(), status.canonical_reason().unwrap_or("").into())
            }
            None => network(&registry, &e),
        },
        OciDistributionError::DigestError(e) => {
            digest(&reference, &e).unwrap_or_else(|| answered(0, e.to_string()))
        }
        OciDistributionError::IoError(e) => {
            match find::<DigestError>(&e).and_then(|d| digest(&reference, d)) {
                Some(error) => error,
                None => Error::Network { registry, reason: chain(&e) },
            }
        }
        other => answered(0, shorten(&other.to_string())),
    }
}

/// Names the cause of a request that got no answer.
pub(super) fn network(registry: &str, error: &reqwest::Error) -> Error {
    match tls_reason(error) {
        Some(reason) => Error::Tls { registry: registry.into(), reason },
        None => Error::Network { registry: registry.into(), reason: chain(error) },
    }
}

fn digest(reference: &str, error: &DigestError) -> Option<Error> {
    match error {
        DigestError::VerificationError { expected, actual } => Some(Error::WrongDigest {
            reference: reference.into(),
            what: "manifest",
            expected: shorten(expected),
            actual: actual.clone(),
        }),
        _ => None,
    }
}

fn describe(error: &oci_client::errors::OciError) -> String {
    let code =
        serde_json::to_string(&error.code).unwrap_or_default().trim_matches('"').replace('_', " ");
    if error.message.is_empty() { code.to_lowercase() } else { shorten(&error.message) }
}

/// What TLS has to say about a failed request, if it failed there.
pub(super) fn tls_reason(error: &reqwest::Error) -> Option<String> {
    let tls = find::<rustls::Error>(error)?;
    Some(match tls {
        rustls::Error::InvalidMessage(_) => {
            "the registry does not speak TLS; --insecure allows plain http".into()
        }
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(reason))
            if reason.to_string().contains("CaUsedAsEndEntity") =>
        {
            "it presents a CA certificate as its own (`openssl req -x509` makes such a one); give it a certificate \
             with basicConstraints=CA:FALSE, or use --insecure"
                .into()
        }
        rustls::Error::InvalidCertificate(reason) => {
            format!("its certificate is not trusted ({reason}); add its CA or use --insecure")
        }
        other => other.to_string(),
    })
}

/// Whether the peer answered a TLS greeting with something else: it speaks plain http.
pub(super) fn speaks_no_tls(error: &reqwest::Error) -> bool {
    matches!(find::<rustls::Error>(error), Some(rustls::Error::InvalidMessage(_)))
}

/// Whether a body ended before the length its header gave.
pub(super) fn ended_early(error: &(dyn StdError + 'static)) -> bool {
    let mut found = false;
    walk(error, |cause| {
        let early = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
        found = cause.downcast_ref::<io::Error>().is_some_and(early);
        found
    });
    found
}

/// Looks through a chain of causes, including what an [`io::Error`] wraps (whose `source` skips it).
pub(super) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut found = None;
    walk(error, |cause| {
        found = cause.downcast_ref::<T>();
        found.is_some()
    });
    found
}

/// Visits a chain of causes until `stop` says so.
fn walk<'a>(
    error: &'a (dyn StdError + 'static),
    mut stop: impl FnMut(&'a (dyn StdError + 'static)) -> bool,
) {
    let mut next = Some(error);
    for _ in 0..32 {
        let Some(error) = next else { return };
        if stop(error) {
            return;
        }
        next = match error.downcast_ref::<io::Error>().and_then(|e| e.get_ref()) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
}

/// The chain of causes as one line, without what repeats.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..32 {
        let Some(error) = next else { break };
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    shorten(&text)
}

/// A peer's text, fit for one line of a terminal: bounded, without control characters.
fn shorten(text: &str) -> String {
    let clean: String =
        text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.len() < text.trim().len() { format!("{clean}…") } else { clean }
}
