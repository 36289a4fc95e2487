//! Asking again.

use std::time::Duration;

use super::ClientOptions;
use super::endpoint::Endpoint;
use super::failure::Failure;
use crate::Result;

/// The longest wait between attempts that nobody asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// `backoff`, twice that, four times …
pub(super) fn wait(options: &ClientOptions, attempt: u32) -> Duration {
    let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    options.backoff.saturating_mul(factor).min(MAX_BACKOFF)
}

/// Repeats a request while its failure may pass.
pub(super) async fn retried<T>(
    options: &ClientOptions,
    request: impl AsyncFn() -> std::result::Result<T, Failure>,
) -> std::result::Result<T, Failure> {
    let mut attempt = 0;
    loop {
        match request().await {
            Err(failure) if failure.is_transient() && attempt < options.retries => {
                attempt += 1;
                tokio::time::sleep(failure.patience(wait(options, attempt))).await;
            }
            other => return other,
        }
    }
}

/// As [`retried`], with the failure named.
pub(super) async fn asked<T>(
    endpoint: &Endpoint,
    options: &ClientOptions,
    request: impl AsyncFn() -> std::result::Result<T, Failure>,
) -> Result<T> {
    retried(options, request).await.map_err(|failure| failure.explain(endpoint))
}
