//! Refusals, broken connections and what else becomes of a request, as errors people can act on.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::endpoint::Endpoint;
use crate::Error;

/// How much of an error page is read, in bytes.
const MAX_ERROR_PAGE: usize = 64 << 10;
/// Who asks for more patience than this is not waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The answer is no success.
    Answer {
        /// HTTP status.
        status: u16,
        /// Codes of the registry's errors (OCI distribution spec, "Error Codes").
        codes: Vec<String>,
        /// What the registry says.
        reason: String,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// There is no answer, or it broke off.
    Request(reqwest::Error),
    /// No use asking again.
    Final(Error),
    /// The same, of a cause that may pass.
    Passing(Error),
}

impl Failure {
    /// Reads the error page of an answer.
    pub(super) async fn of(mut answer: reqwest::Response) -> Failure {
        let status = answer.status();
        let retry_after = retry_after(answer.headers(), SystemTime::now());
        let mut page = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            page.extend_from_slice(&chunk);
            if page.len() > MAX_ERROR_PAGE {
                page.clear();
                break;
            }
        }
        let (codes, reason) = read_page(&page);
        let reason = match reason.is_empty() {
            true => status.canonical_reason().unwrap_or_default().to_owned(),
            false => reason,
        };
        Failure::Answer { status: status.as_u16(), codes, reason, retry_after }
    }

    /// The HTTP status, if that is what it is about.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Failure::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether these credentials, or none, do not do.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(400 | 401 | 403))
    }

    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::Answer { status, codes, retry_after, .. } => {
                (matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
                    || codes.iter().any(|code| code == "TOOMANYREQUESTS"))
                    && retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER)
            }
            Failure::Request(e) => tls_reason(e).is_none() && !e.is_builder() && !e.is_redirect(),
            Failure::Final(_) => false,
            Failure::Passing(_) => true,
        }
    }

    /// What to wait before asking again, where that is longer than `backoff`.
    pub(super) fn patience(&self, backoff: Duration) -> Duration {
        match self {
            Failure::Answer { retry_after: Some(wait), .. } => backoff.max(*wait),
            _ => backoff,
        }
    }

    /// In words, for progress.
    pub(super) fn text(&self) -> String {
        match self {
            Failure::Answer { status, reason, .. } => format!("{status} {reason}"),
            Failure::Request(e) => chain(e),
            Failure::Final(e) | Failure::Passing(e) => e.to_string(),
        }
    }

    /// Names the cause.
    pub(super) fn explain(self, endpoint: &Endpoint) -> Error {
        let (reference, registry) = (endpoint.display.clone(), endpoint.host().to_string());
        match self {
            Failure::Answer { status, codes, reason, retry_after } => match status {
                401 | 403 => {
                    let reason = endpoint.session.denied(&reason);
                    Error::Unauthorized { reference, registry, reason }
                }
                _ if codes.iter().any(|code| code == "DENIED" || code == "UNAUTHORIZED") => {
                    let reason = endpoint.session.denied(&reason);
                    Error::Unauthorized { reference, registry, reason }
                }
                404 => Error::NotFound { reference, reason: format!("{registry}: {reason}") },
                _ => {
                    let reason = match retry_after {
                        Some(wait) if wait > MAX_RETRY_AFTER => {
                            format!("{reason} (it asks to come back in {} s)", wait.as_secs())
                        }
                        _ => reason,
                    };
                    Error::Registry { reference, registry, status, reason }
                }
            },
            Failure::Request(e) => network(&registry, &e),
            Failure::Final(e) | Failure::Passing(e) => e,
        }
    }
}

/// Codes and message of an error page.
fn read_page(page: &[u8]) -> (Vec<String>, String) {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    if let Ok(Envelope { errors }) = serde_json::from_slice::<Envelope>(page) {
        let say = |item: &Item| match item.message.as_deref() {
            Some(message) if !message.is_empty() => shorten(message),
            _ => {
                shorten(&item.code.as_deref().unwrap_or_default().replace('_', " ").to_lowercase())
            }
        };
        let reason = errors.iter().take(5).map(say).collect::<Vec<_>>().join("; ");
        return (errors.into_iter().filter_map(|item| item.code).collect(), reason);
    }
    let text = String::from_utf8_lossy(page);
    // Markup helps nobody at a terminal.
    if text.trim_start().starts_with('<') {
        return (Vec::new(), "a web page".into());
    }
    (Vec::new(), shorten(&text))
}

/// `Retry-After`: seconds, or the time itself (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let time = u64::try_from(super::download::http_date(text)?).ok()?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(time.saturating_sub(now)))
}

/// Whether no connection came about. One that broke while it was made is another matter.
pub(super) fn is_unreachable(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let broke = find::<io::Error>(error).is_some_and(|e| {
        matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    });
    error.is_connect() && !broke
}

/// Names the cause of a request that got no answer.
pub(super) fn network(registry: &str, error: &reqwest::Error) -> Error {
    match tls_reason(error) {
        Some(reason) => Error::Tls { registry: registry.into(), reason },
        None => Error::Network { registry: registry.into(), reason: chain(error) },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let page =
            br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"},{"code":"NAME_UNKNOWN"}]}"#;
        let (codes, reason) = read_page(page);
        assert_eq!(codes, ["DENIED", "NAME_UNKNOWN"]);
        assert_eq!(reason, "no [31m; name unknown");
        assert_eq!(read_page(b"<!DOCTYPE html><title>x").1, "a web page");
        assert_eq!(read_page(b"plain\n").1, "plain");
    }

    #[test]
    fn when_to_come_back() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
        };
        assert_eq!(of("12"), Some(Duration::from_secs(12)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1984 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }
}
