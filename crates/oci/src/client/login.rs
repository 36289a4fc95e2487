//! Asking a registry whether it takes a user and a password.

use reqwest::StatusCode;

use super::challenge::Challenges;
use super::failure::{Failure, network};
use super::{Client, token};
use crate::auth::Credentials;
use crate::{Error, Reference, Result};

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
            let challenges = Challenges::of(first.headers());
            let again = http.get(&base);
            let again = match challenges.bearer {
                Some(bearer) => {
                    let credentials =
                        Credentials::Basic { user: user.into(), password: password.into() };
                    let is_https = scheme == "https";
                    let scopes = &bearer.scopes;
                    let fetched =
                        token::fetch(&http, host, &bearer, scopes, &credentials, is_https).await;
                    again.bearer_auth(fetched.map_err(|failure| match failure {
                        Failure::Answer { status: 401 | 403, .. } => {
                            refused("incorrect user or password")
                        }
                        Failure::Answer { status, .. } => Error::Registry {
                            reference: registry.into(),
                            registry: host.into(),
                            status,
                            reason: "its token server is out of order".into(),
                        },
                        Failure::Request(error) => network(registry, &error),
                        Failure::Final(error) | Failure::Passing(error) => error,
                    })?)
                }
                None if challenges.basic => again.basic_auth(user, Some(password)),
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
