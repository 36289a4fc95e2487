//! What a registry that refuses a request asks for (RFC 9110, section 11.6.1; the distribution project's "Token Authentication
//! Specification").

use http_auth::parser::ChallengeParser;
use reqwest::header::HeaderMap;

/// The ways in that an answer names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenges {
    /// A token of this server.
    pub(super) bearer: Option<Bearer>,
    /// User and password.
    pub(super) basic: bool,
    /// Schemes that are of no use here.
    pub(super) other: Vec<String>,
}

/// Where tokens are, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scopes: Vec<String>,
}

impl Challenges {
    /// From all headers of an answer; one header may name several.
    pub(super) fn of(headers: &HeaderMap) -> Challenges {
        let mut found = Challenges::default();
        let headers = headers.get_all(reqwest::header::WWW_AUTHENTICATE).iter();
        for header in headers.filter_map(|header| header.to_str().ok()) {
            // A challenge that is malformed takes nothing from those before it.
            for challenge in ChallengeParser::new(header).map_while(Result::ok) {
                let value = |wanted: &str| {
                    let mut params = challenge.params.iter();
                    let known = params.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                    known.map(|(_, value)| value.to_unescaped())
                };
                match challenge.scheme.to_ascii_lowercase().as_str() {
                    "bearer" if found.bearer.is_none() => match value("realm") {
                        Some(realm) if !realm.is_empty() => {
                            let scopes = value("scope").unwrap_or_default();
                            let scopes = scopes.split(' ').filter(|scope| !scope.is_empty());
                            found.bearer = Some(Bearer {
                                realm,
                                service: value("service"),
                                scopes: scopes.map(str::to_owned).collect(),
                            });
                        }
                        _ => found.other.push("Bearer without a realm".into()),
                    },
                    "basic" => found.basic = true,
                    _ => found.other.push(challenge.scheme.chars().take(40).collect()),
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[&str]) -> Challenges {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("www-authenticate", header.parse().unwrap());
        }
        Challenges::of(&map)
    }

    #[test]
    fn one_header_or_several() {
        let bearer = Bearer {
            realm: "https://t.example/token".into(),
            service: Some("r".into()),
            scopes: vec!["repository:a/b:pull".into(), "x".into()],
        };
        let text =
            r#"Bearer realm="https://t.example/token",service="r",scope="repository:a/b:pull x""#;
        for headers in [
            vec![text, "Basic realm=\"r\""],
            vec!["Negotiate", "Basic realm=\"r\"", text],
            vec![
                "Basic realm=\"r\", Bearer realm=\"https://t.example/token\",service=\"r\",scope=\"repository:a/b:pull x\"",
            ],
        ] {
            let found = of(&headers);
            assert_eq!((found.bearer.as_ref(), found.basic), (Some(&bearer), true), "{headers:?}");
        }
        assert_eq!(of(&["Digest realm=\"x\", qop=auth"]).other, ["Digest"]);
        assert_eq!(of(&["Bearer", "Basic"]).other, ["Bearer without a realm"]);
        assert_eq!(of(&["=,=", "\u{fe}"]), Challenges::default());
    }
}
