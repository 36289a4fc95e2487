//! What is shown to a registry with each request: nothing until it asks, and then what it asks for, anew when that is used up.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use reqwest::{RequestBuilder, Response, StatusCode};

use super::challenge::Challenges;
use super::endpoint::Endpoint;
use super::failure::{Failure, is_unreachable, network};
use super::token;
use crate::auth::Credentials;

/// How often one request may be refused before that counts.
const RENEWALS: usize = 2;

/// What goes into `Authorization`.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Password,
    /// A token of the token server, or the one that was given.
    Token(String),
}

/// The state of a login.
pub(super) struct Session {
    credentials: Credentials,
    shown: Mutex<Arc<Shown>>,
    /// Held by whoever gets a new token, so that others do not.
    renewal: tokio::sync::Mutex<()>,
    /// `repository:NAME:ACTIONS` of this endpoint.
    scope: String,
    /// Further repositories that would be of use.
    wishes: Mutex<Vec<String>>,
}

impl Session {
    pub(super) fn new(credentials: Credentials, scope: String) -> Session {
        let shown = match &credentials {
            Credentials::Bearer(token) => Shown::Token(token.clone()),
            _ => Shown::Nothing,
        };
        Session {
            credentials,
            shown: Mutex::new(Arc::new(shown)),
            renewal: tokio::sync::Mutex::new(()),
            scope,
            wishes: Mutex::default(),
        }
    }

    /// Asks for these scopes as well when a token is fetched.
    pub(super) fn wish(&self, scopes: Vec<String>) {
        *lock(&self.wishes) = scopes;
    }

    /// What a refusal was an answer to, for people.
    pub(super) fn denied(&self, reason: &str) -> String {
        let token = matches!(**lock(&self.shown), Shown::Token(_));
        let sent = match (&self.credentials, &**lock(&self.shown)) {
            (Credentials::Anonymous, _) => {
                let sent = if token { "an anonymous token was sent" } else { "nothing was sent" };
                format!(
                    "no credentials were found for it, and {sent}; it may be private or not exist"
                )
            }
            (Credentials::Basic { user, .. }, Shown::Nothing) => {
                format!("the password of {user} was not accepted, or not asked for")
            }
            (Credentials::Basic { user, .. }, Shown::Password) => {
                format!("the password of {user} was sent")
            }
            (Credentials::Basic { user, .. }, Shown::Token(_)) => {
                format!("a token for {user} was sent")
            }
            (Credentials::Identity(_), Shown::Token(_)) => {
                "a token for the identity token was sent".into()
            }
            (Credentials::Identity(_), _) => "the identity token was not accepted".into(),
            (Credentials::Bearer(_), _) => "the token that was given was sent".into(),
        };
        if reason.is_empty() { sent } else { format!("{reason} ({sent})") }
    }

    fn apply(&self, shown: &Shown, request: RequestBuilder) -> RequestBuilder {
        match (shown, &self.credentials) {
            (Shown::Token(token), _) => request.bearer_auth(token),
            (Shown::Password, Credentials::Basic { user, password }) => {
                request.basic_auth(user, Some(password))
            }
            _ => request,
        }
    }
}

impl Endpoint {
    /// Sends a request, which is made anew for each attempt, with what the registry wants to see; gives the answer whatever its status.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> Result<RequestBuilder, Failure>,
    ) -> Result<Response, Failure> {
        let mut refused = 0;
        loop {
            let shown = lock(&self.session.shown).clone();
            let request = self.session.apply(&shown, request()?);
            let answer = request.send().await.map_err(|error| {
                // A registry nobody can connect to is more likely a typing error than passing trouble.
                match is_unreachable(&error) && !self.reached.load(Ordering::Relaxed) {
                    true => Failure::Final(network(self.host(), &error)),
                    false => Failure::Request(error),
                }
            })?;
            self.reached.store(true, Ordering::Relaxed);
            if answer.status() != StatusCode::UNAUTHORIZED || refused == RENEWALS {
                return Ok(answer);
            }
            refused += 1;
            let challenges = Challenges::of(answer.headers());
            if !self.answer(&challenges, &shown).await? {
                return Ok(answer);
            }
        }
    }

    /// Gets what the challenges ask for; whether there is something new to show.
    async fn answer(&self, challenges: &Challenges, refused: &Arc<Shown>) -> Result<bool, Failure> {
        let session = &self.session;
        let _renewal = session.renewal.lock().await;
        if !Arc::ptr_eq(&lock(&session.shown), refused) {
            return Ok(true); // somebody else has got it
        }
        let password = matches!(session.credentials, Credentials::Basic { .. })
            && **refused != Shown::Password
            // Some registries name no way in and take a password all the same.
            && (challenges.basic || *challenges == Challenges::default());
        let mut failure = None;
        if let Some(bearer) = &challenges.bearer
            && !matches!(session.credentials, Credentials::Bearer(_))
        {
            let mut scopes = vec![session.scope.clone()];
            scopes.extend(bearer.scopes.iter().filter(|s| **s != session.scope).cloned());
            let wishes = lock(&session.wishes).clone();
            let wished: Vec<String> = scopes.iter().chain(&wishes).cloned().collect();
            let fetch = async |scopes: &[String]| {
                let https = self.base.starts_with("https:");
                let (host, credentials) = (self.host(), &session.credentials);
                token::fetch(&self.http, host, bearer, scopes, credentials, https).await
            };
            let mut result = fetch(&wished).await;
            if !wishes.is_empty() && result.as_ref().is_err_and(Failure::is_refusal) {
                session.wish(Vec::new());
                result = fetch(&scopes).await;
            }
            match result {
                Ok(token) => {
                    let again = **refused == Shown::Token(token.clone());
                    *lock(&session.shown) = Arc::new(Shown::Token(token));
                    return Ok(!again);
                }
                Err(error) => failure = Some(error),
            }
        }
        if password {
            *lock(&session.shown) = Arc::new(Shown::Password);
            return Ok(true);
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
