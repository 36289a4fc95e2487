//! Identity tokens.

use http_auth::parser::ChallengeParser;
use oci_client::RegistryOperation;
use serde::Deserialize;

use super::endpoint::{Endpoint, header_safe};
use super::failure::network;
use crate::{Error, Result};

/// The largest answer of a token server read, in bytes.
const MAX_TOKEN: u64 = 1 << 20;

/// Exchanges an identity (refresh) token for an access token, which oci-client cannot do: the OAuth2 flow of the
/// distribution project's "Token Authentication Specification", POST form.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    refresh_token: &str,
    operation: RegistryOperation,
) -> Result<String> {
    #[derive(Deserialize)]
    struct Token {
        access_token: Option<String>,
        token: Option<String>,
    }
    let host = endpoint.host();
    let refused = |status: u16, reason: String| match status {
        401 | 403 => Error::Unauthorized {
            reference: endpoint.display.clone(),
            registry: host.into(),
            reason: endpoint.denied(&reason),
        },
        _ => Error::Registry {
            reference: endpoint.display.clone(),
            registry: host.into(),
            status,
            reason,
        },
    };
    let client = &endpoint.http;
    let answer =
        client.get(format!("{}/v2/", endpoint.base)).send().await.map_err(|e| network(host, &e))?;
    let header =
        answer.headers().get("www-authenticate").and_then(|h| h.to_str().ok()).unwrap_or("");
    let mut realm = None;
    let mut service = String::new();
    for challenge in
        ChallengeParser::new(header).flatten().filter(|c| c.scheme.eq_ignore_ascii_case("bearer"))
    {
        for (name, value) in &challenge.params {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_unescaped()),
                "service" => service = value.to_unescaped(),
                _ => {}
            }
        }
    }
    let realm = realm
        .ok_or_else(|| refused(0, "it names no token server for the identity token".into()))?;
    let actions = if operation == RegistryOperation::Push { "pull,push" } else { "pull" };
    let scope = format!("repository:{}:{actions}", endpoint.target.repository());
    let form = [
        ("grant_type", "refresh_token"),
        ("service", service.as_str()),
        ("client_id", "boxer"),
        ("scope", scope.as_str()),
        ("refresh_token", refresh_token),
    ];
    let mut answer = client.post(realm).form(&form).send().await.map_err(|e| network(host, &e))?;
    if !answer.status().is_success() {
        return Err(refused(answer.status().as_u16(), "the identity token was refused".into()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| network(host, &e))? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > MAX_TOKEN {
            return Err(refused(0, "the token server's answer is too large".into()));
        }
    }
    let token: Token = serde_json::from_slice(&body)
        .map_err(|_| refused(0, "malformed answer of the token server".into()))?;
    let token = token
        .access_token
        .or(token.token)
        .ok_or_else(|| refused(0, "the token server gave no token".into()))?;
    header_safe(endpoint, token)
}
