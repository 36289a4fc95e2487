//! Asking a registry whether it takes a user and a password.

use http_auth::parser::ChallengeParser;
use reqwest::StatusCode;
use serde::Deserialize;

use super::Client;
use super::failure::network;
use crate::{Error, Reference, Result};

/// The largest answer of a token server read, in bytes.
const MAX_TOKEN: usize = 1 << 20;

impl Client {
    /// Whether the registry takes these credentials; whether it asks for any at all.
    ///
    /// # Errors
    /// It does not take them, or cannot be reached.
    pub fn login(&self, registry: &str, user: &str, password: &str) -> Result<bool> {
        let reference = Reference::parse(&format!("{registry}/library/login"))?;
        if self.options.offline {
            return Err(Error::Network {
                registry: registry.into(),
                reason: "the network is off (--offline)".into(),
            });
        }
        self.run_for(registry, async || {
            let host = reference.as_client().resolve_registry();
            let http = self.http_client(host)?;
            let scheme = if self.speaks_http(&http, host).await? { "http" } else { "https" };
            let base = format!("{scheme}://{host}/v2/");
            let failed = |error: reqwest::Error| network(registry, &error);
            let refused = |reason: &str| Error::Unauthorized {
                reference: registry.into(),
                registry: host.into(),
                reason: reason.into(),
            };
            let first = http.get(&base).send().await.map_err(failed)?;
            match first.status() {
                StatusCode::OK => return Ok(false),
                StatusCode::UNAUTHORIZED => {}
                status => {
                    return Err(Error::Registry {
                        reference: registry.into(),
                        registry: host.into(),
                        status: status.as_u16(),
                        reason: "this is no registry, or it is out of order".into(),
                    });
                }
            }
            let headers = first.headers().get_all("www-authenticate").iter();
            let challenges = headers.filter_map(|header| header.to_str().ok()).collect::<Vec<_>>();
            let challenge = challenge(&challenges);
            let again = http.get(&base);
            let again = match challenge {
                Some(Challenge::Basic) => again.basic_auth(user, Some(password)),
                Some(Challenge::Bearer { realm, service }) => {
                    let mut query = vec![("account", user), ("client_id", "boxer")];
                    query.extend(service.as_deref().map(|service| ("service", service)));
                    let request = http.get(&realm).query(&query);
                    let answer = request.basic_auth(user, Some(password)).send().await;
                    let mut answer = answer.map_err(failed)?;
                    match answer.status() {
                        StatusCode::OK => {}
                        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                            return Err(refused("incorrect user or password"));
                        }
                        status => {
                            return Err(Error::Registry {
                                reference: registry.into(),
                                registry: host.into(),
                                status: status.as_u16(),
                                reason: "its token server is out of order".into(),
                            });
                        }
                    }
                    let mut body = Vec::new();
                    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                        body.extend_from_slice(&chunk);
                        if body.len() > MAX_TOKEN {
                            return Err(refused("the token server's answer is too large"));
                        }
                    }
                    let token =
                        token(&body).ok_or_else(|| refused("the token server gave no token"))?;
                    again.bearer_auth(token)
                }
                None => return Err(refused("it names no way to log in that is known")),
            };
            match again.send().await.map_err(failed)?.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    Err(refused("incorrect user or password"))
                }
                status if status.is_success() => Ok(true),
                status => Err(Error::Registry {
                    reference: registry.into(),
                    registry: host.into(),
                    status: status.as_u16(),
                    reason: "the login was not answered".into(),
                }),
            }
        })
    }
}

enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

/// The way to log in that the headers name; tokens before passwords.
fn challenge(headers: &[&str]) -> Option<Challenge> {
    let mut found = None;
    for challenge in headers.iter().flat_map(|header| ChallengeParser::new(header).flatten()) {
        let value = |wanted: &str| {
            let known = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            known.map(|(_, value)| value.to_unescaped())
        };
        match challenge.scheme.to_ascii_lowercase().as_str() {
            "bearer" => {
                let realm = value("realm")?;
                return Some(Challenge::Bearer { realm, service: value("service") });
            }
            "basic" => found = Some(Challenge::Basic),
            _ => {}
        }
    }
    found
}

fn token(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.or(answer.access_token)?;
    token.bytes().all(|byte| (0x21..0x7f).contains(&byte)).then_some(token)
}
