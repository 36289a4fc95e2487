//! A file from a URL into the store: what ADD fetches, and layers that a manifest says are elsewhere.

use std::io::Write as _;

use super::Client;
use super::failure::network;
use super::retry::wait;
use crate::{Digest, Error, Progress, Result, Store};

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Digest of its content, which is a blob of the store.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size: u64,
    /// `Last-Modified`, seconds since the epoch.
    pub modified: Option<i64>,
}

/// The largest file that is fetched, in bytes.
const MAX_DOWNLOAD: u64 = 64 << 30;

impl Client {
    /// Fetches a file over http or https; redirects are followed, at most ten. With `expected`, other content is refused.
    ///
    /// # Errors
    /// The client is offline, nobody answers, the answer is no success, or the content is other than expected.
    pub fn download(
        &self,
        url: &str,
        expected: Option<&Digest>,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Download> {
        if self.options.offline {
            return Err(Error::Offline { reference: url.into() });
        }
        let parsed = reqwest::Url::parse(url).map_err(|e| Error::BadOption {
            option: format!("URL {url:?}"),
            reason: e.to_string(),
        })?;
        let host = match (parsed.host_str(), parsed.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_string(),
            (None, _) => String::new(),
        };
        self.run_for(&host, async || {
            self.fetch_url(&host, parsed.clone(), expected, store, progress).await
        })
    }

    pub(super) async fn fetch_url(
        &self,
        host: &str,
        url: reqwest::Url,
        expected: Option<&Digest>,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Download> {
        let http = self.http_client(host)?;
        let mut attempt = 0;
        loop {
            match self.fetch_once(&http, host, url.clone(), expected, store, progress).await {
                Err((true, _)) if attempt < self.options.retries => {
                    attempt += 1;
                    tokio::time::sleep(wait(&self.options, attempt)).await;
                }
                Err((_, error)) => return Err(error),
                Ok(download) => return Ok(download),
            }
        }
    }

    /// One attempt; an error says whether it may pass.
    async fn fetch_once(
        &self,
        http: &reqwest::Client,
        host: &str,
        url: reqwest::Url,
        expected: Option<&Digest>,
        store: &Store,
        progress: &dyn Progress,
    ) -> std::result::Result<Download, (bool, Error)> {
        let shown = url.to_string();
        let passing = |e: reqwest::Error| (e.is_timeout() || e.is_body(), network(host, &e));
        let mut answer = http.get(url).send().await.map_err(passing)?;
        let status = answer.status();
        if !status.is_success() {
            let reason = status.canonical_reason().unwrap_or_default().to_owned();
            let (reference, registry) = (shown, host.to_string());
            let error = Error::Registry { reference, registry, status: status.as_u16(), reason };
            return Err((status.is_server_error() || status.as_u16() == 429, error));
        }
        let header = answer.headers().get(reqwest::header::LAST_MODIFIED);
        let modified = header.and_then(|value| value.to_str().ok()).and_then(http_date);
        let fatal = |e: Error| (false, e);
        let mut blob = store.writer().map_err(fatal)?;
        let mut size = 0u64;
        let name = expected.cloned().unwrap_or_else(|| Digest::of(shown.as_bytes()));
        progress.start(&name, answer.content_length().unwrap_or(0), 0);
        while let Some(bytes) = answer.chunk().await.map_err(passing)? {
            size = size.saturating_add(bytes.len() as u64);
            if size > MAX_DOWNLOAD {
                let what = "the file".to_string();
                return Err(fatal(Error::TooLarge { reference: shown, what, limit: MAX_DOWNLOAD }));
            }
            blob.write_all(&bytes).map_err(|e| fatal(Error::io(store.path(), e)))?;
            progress.advance(&name, size);
        }
        let (digest, size) = match expected {
            Some(expected) => {
                let size = blob.finish_as(expected).map_err(|error| match error {
                    Error::WrongDigest { expected, actual, .. } => fatal(Error::WrongDigest {
                        reference: shown.clone(),
                        what: "file",
                        expected,
                        actual,
                    }),
                    other => fatal(other),
                })?;
                (expected.clone(), size)
            }
            None => blob.finish().map_err(fatal)?,
        };
        progress.finish(&name);
        Ok(Download { digest, size, modified })
    }
}

/// The form of RFC 9110 that everybody sends: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<i64> {
    let mut words = text.split(' ').skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let clock: Vec<i64> = words.next()?.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hour, minute, second] = clock.as_slice() else { return None };
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, shifted) = (year.div_euclid(400), (month + 9) % 12);
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in ["", "yesterday", "Sun, 06 Nox 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT"]
        {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
