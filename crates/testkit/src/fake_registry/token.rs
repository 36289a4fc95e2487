//! Tokens: who gets one, for what, and how long it is good.

use super::{Access, State, error};
use crate::http::{Answer, Request};

/// A token that is always good for everything.
const TOKEN: &str = "token-for-tests";

/// Why the request is not served.
pub(super) fn refusal(state: &mut State, request: &Request, ping: bool) -> Option<Answer> {
    if !matches!(state.access, Access::Token { .. }) || (ping && state.rules.open_ping) {
        return None;
    }
    let wanted = if ping { Vec::new() } else { scopes(request) };
    let shown = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if shown == TOKEN {
        return None;
    }
    if let Some((granted, left)) = state.tokens.get_mut(shown)
        && *left > 0
        && wanted.iter().all(|scope| covers(granted, scope))
    {
        *left -= 1;
        return None;
    }
    let host = request.header("host");
    let mut answer = error(401, "UNAUTHORIZED", "authentication required");
    match &state.rules.challenges {
        Some(challenges) => {
            for challenge in challenges {
                answer = answer.with("WWW-Authenticate", challenge.replace("{host}", host));
            }
        }
        None => {
            let mut challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
            if !wanted.is_empty() {
                challenge += &format!(",scope=\"{}\"", wanted.join(" "));
            }
            answer = answer.with("WWW-Authenticate", challenge);
        }
    }
    Some(answer)
}

/// What the request needs: `repository:NAME:ACTIONS`, for a mount that of the other repository as well.
fn scopes(request: &Request) -> Vec<String> {
    let path = request.path.strip_prefix("/v2/").unwrap_or_default();
    let ends = ["/manifests/", "/blobs/", "/referrers/"];
    let Some(end) = ends.iter().filter_map(|end| path.find(end)).min() else { return Vec::new() };
    let name = &path[..end];
    let actions =
        if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "pull,push" };
    let mut scopes = vec![format!("repository:{name}:{actions}")];
    let from = request.query.split('&').find_map(|field| field.strip_prefix("from="));
    scopes.extend(from.map(|from| format!("repository:{}:pull", from.replace("%2F", "/"))));
    scopes
}

fn covers(granted: &str, wanted: &str) -> bool {
    let Some((name, actions)) = wanted.rsplit_once(':') else { return false };
    granted.split(' ').any(|scope| {
        scope.rsplit_once(':').is_some_and(|(n, has)| {
            n == name && actions.split(',').all(|action| has.split(',').any(|h| h == action))
        })
    })
}

/// The token endpoint: GET with optional Basic, or POST with a refresh token.
pub(super) fn give(state: &mut State, request: &Request) -> Answer {
    let Access::Token { basic, refresh } = &state.access else {
        return error(404, "NOT_FOUND", "no tokens here");
    };
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let (granted, fields, key) = if request.method == "POST" {
        let wanted = refresh.as_ref().map(|t| format!("refresh_token={t}"));
        let granted = form.split('&').any(|f| f == "grant_type=refresh_token")
            && wanted.is_some_and(|w| form.split('&').any(|f| f == w));
        (granted, form.as_str(), "access_token")
    } else {
        let granted = match basic {
            None => refresh.is_none(),
            Some((user, password)) => {
                let expected = base64(format!("{user}:{password}").as_bytes());
                request.header("authorization") == format!("Basic {expected}")
            }
        };
        (granted, request.query.as_str(), "token")
    };
    if !granted {
        return error(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let scopes: Vec<String> = fields
        .split('&')
        .filter_map(|field| field.strip_prefix("scope="))
        .map(|scope| {
            scope
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",")
                .replace(['+'], " ")
                .replace("%20", " ")
        })
        .collect();
    let token = format!("token-{}", state.tokens.len());
    let uses = state.rules.token_uses.unwrap_or(usize::MAX);
    state.tokens.insert(token.clone(), (scopes.join(" "), uses));
    Answer::new(200, format!(r#"{{"{key}":"{token}"}}"#))
}

/// RFC 4648, for `Authorization: Basic`.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("u:p", "dTpw")];
        for (plain, encoded) in cases {
            assert_eq!(super::base64(plain.as_bytes()), encoded);
        }
    }
}
