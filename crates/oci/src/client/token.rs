//! Tokens of a registry's token server: for nobody in particular, for a password, for an identity token (the distribution project's
//! "Token Authentication Specification" and its OAuth2 form).

use serde::Deserialize;

use super::challenge::Bearer;
use super::failure::Failure;
use crate::Error;
use crate::auth::Credentials;

/// The largest answer of a token server read, in bytes.
const MAX_TOKEN: usize = 1 << 20;

/// Asks for a token.
///
/// # Errors
/// The server refuses, cannot be reached, or gives none; credentials would travel in the clear.
pub(super) async fn fetch(
    http: &reqwest::Client,
    registry: &str,
    from: &Bearer,
    scopes: &[String],
    credentials: &Credentials,
    is_https: bool,
) -> Result<String, Failure> {
    let broken = |status: u16, reason: &str| {
        Failure::Final(Error::Registry {
            reference: from.realm.chars().take(200).collect(),
            registry: registry.into(),
            status,
            reason: reason.into(),
        })
    };
    let realm = reqwest::Url::parse(&from.realm)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| broken(0, "its token server has no address that can be used"))?;
    let host = realm.host_str().unwrap_or_default();
    if is_https
        && realm.scheme() == "http"
        && !super::endpoint::is_loopback(host)
        && *credentials != Credentials::Anonymous
    {
        return Err(broken(0, "its token server is not protected by TLS: no credentials are sent"));
    }
    let service = from.service.iter().map(|service| ("service", service.as_str()));
    let request = match credentials {
        Credentials::Identity(token) => {
            let scope = scopes.join(" ");
            let mut form = vec![
                ("grant_type", "refresh_token"),
                ("client_id", "boxer"),
                ("scope", scope.as_str()),
                ("refresh_token", token.as_str()),
            ];
            form.extend(service);
            http.post(realm).form(&form)
        }
        _ => {
            let mut query: Vec<(&str, &str)> = service.collect();
            query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            match credentials {
                Credentials::Basic { user, password } => {
                    query.extend([("account", user.as_str()), ("client_id", "boxer")]);
                    http.get(realm).query(&query).basic_auth(user, Some(password))
                }
                _ => http.get(realm).query(&query),
            }
        }
    };
    let mut answer = request.send().await.map_err(Failure::Request)?;
    if !answer.status().is_success() {
        return Err(Failure::of(answer).await);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Failure::Request)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_TOKEN {
            return Err(broken(0, "the token server's answer is too large"));
        }
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| broken(0, "malformed answer of the token server"))?;
    let tokens = [answer.token, answer.access_token].into_iter().flatten();
    let token = tokens.into_iter().find(|token| !token.is_empty());
    let token = token.ok_or_else(|| broken(0, "the token server gave no token"))?;
    header_safe(registry, token).map_err(Failure::Final)
}

/// Refuses a token that no header can carry.
pub(super) fn header_safe(registry: &str, token: String) -> crate::Result<String> {
    if token.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(token);
    }
    Err(Error::Registry {
        reference: registry.into(),
        registry: registry.into(),
        status: 0,
        reason: "its token has characters that cannot be sent".into(),
    })
}
