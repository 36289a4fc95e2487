//! Challenges, tokens that end, rate limits, client certificates.

use std::time::Instant;

use oci::{Error, NoProgress};
use testkit::fake_registry::{Access, FakeRegistry, Rules};
use testkit::http::{Answer, Server};
use testkit::image::Image;
use testkit::registry::Registry;

use crate::*;

fn protected(rules: Rules) -> FakeRegistry {
    let access = Access::Token { basic: Some(("ann".into(), "s3cret".into())), refresh: None };
    let registry = FakeRegistry::with_rules(access, rules);
    registry.add("1", &Image::new("linux/amd64", &[b"one", b"two", b"three"]));
    registry
}

fn pull_as(
    registry: &FakeRegistry,
    credentials: CredentialSources,
) -> oci::Result<oci::ImageHandle> {
    let client = Client::new(ClientOptions { credentials, parallel: 1, ..options() }).unwrap();
    client.pull(&reference(&registry.name("ns/app:1")), &temp_store(), &NoProgress)
}

fn ann() -> CredentialSources {
    with_user("ann", "s3cret")
}

#[test]
fn a_challenge_that_comes_with_the_manifest() {
    let registry = protected(Rules { open_ping: true, ..Rules::default() });
    pull_as(&registry, ann()).unwrap();
    assert_eq!(registry.asked("GET /token"), 1, "one token serves all: {:?}", registry.log());
}

#[test]
fn a_token_that_ends_in_the_middle() {
    let registry = protected(Rules { token_uses: Some(2), ..Rules::default() });
    pull_as(&registry, ann()).unwrap();
    assert!(registry.asked("GET /token") >= 2, "{:?}", registry.log());

    // Also in the middle of a push.
    let store = temp_store();
    let layer = store.add_layer(&mut &b"layer"[..]).unwrap();
    let name = reference(&registry.name("ns/new:1"));
    let image = store.write_image(oci::ImageConfig::scratch(), vec![layer], Some(&name)).unwrap();
    let one = ClientOptions { credentials: ann(), parallel: 1, ..options() };
    let client = Client::new(one).unwrap();
    client.push(&name, &store, &image.digest, &NoProgress).unwrap();
    assert_eq!(client.pull(&name, &temp_store(), &NoProgress).unwrap(), image);
}

#[test]
fn a_token_that_is_never_good_enough() {
    let registry = protected(Rules { token_uses: Some(0), ..Rules::default() });
    let error = pull_as(&registry, ann()).unwrap_err();
    assert!(error.to_string().contains("a token for ann was sent"), "{error}");
    assert!(registry.log().len() < 10, "it gives up: {:?}", registry.log());
}

#[test]
fn several_challenges() {
    let token = "Bearer realm=\"http://{host}/token\",service=\"test\"";
    let lists: [&[&str]; 4] = [
        &["Negotiate", "Basic realm=\"x\"", token],
        &[&format!("Basic realm=\"x\", {token}")],
        &[token, "Digest realm=\"x\", nonce=\"y\""],
        &["Bearer error=\"invalid\"", token],
    ];
    for list in lists {
        let challenges = Some(list.iter().map(|text| (*text).to_owned()).collect());
        let registry = protected(Rules { challenges, ..Rules::default() });
        pull_as(&registry, ann()).unwrap_or_else(|error| panic!("{list:?}: {error}"));
    }
    // Whose token server is out of reach is given the password, where it takes one.
    let server = Server::start(|request| match request.header("authorization") {
        "Basic YW5uOnMzY3JldA==" => Answer::new(200, "{}"),
        _ => Answer::new(401, "")
            .with("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/token\"")
            .with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let client = Client::new(ClientOptions { credentials: ann(), ..options() }).unwrap();
    let name = reference(&format!("{}/app:1", server.host()));
    let error = client.pull(&name, &temp_store(), &NoProgress).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "it got in: {error}");
}

#[test]
fn refusals_say_what_was_sent() {
    let refusing = |challenge: &'static str| {
        let server = Server::start(move |request| match request.path.as_str() {
            "/token" => Answer::new(200, r#"{"token":"t"}"#),
            _ => Answer::new(401, "")
                .with("WWW-Authenticate", challenge.replace("{host}", request.header("host"))),
        });
        move |credentials: CredentialSources| {
            let client = Client::new(ClientOptions { credentials, ..options() }).unwrap();
            let name = reference(&format!("{}/app:1", server.host()));
            client.pull(&name, &temp_store(), &NoProgress).unwrap_err().to_string()
        }
    };
    let nobody = CredentialSources::default;
    let bearer = refusing("Bearer realm=\"http://{host}/token\"");
    assert!(bearer(nobody()).contains("an anonymous token was sent"), "{}", bearer(nobody()));
    assert!(bearer(ann()).contains("a token for ann was sent"));
    let basic = refusing("Basic realm=\"x\"");
    assert!(basic(nobody()).contains("nothing was sent"), "{}", basic(nobody()));
    assert!(basic(ann()).contains("the password of ann was sent"));
    let strange = refusing("Negotiate");
    assert!(strange(ann()).contains("not accepted, or not asked for"), "{}", strange(ann()));
}

#[test]
fn patience_as_long_as_it_is_asked_for() {
    let registry = FakeRegistry::with_rules(
        Access::Open,
        Rules { busy: Some((1, "1".into())), ..Rules::default() },
    );
    registry.add("1", &Image::new("linux/amd64", &[b"one"]));
    let name = reference(&registry.name("app:1"));
    let started = Instant::now();
    client().pull(&name, &temp_store(), &NoProgress).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not kept");

    let registry = FakeRegistry::with_rules(
        Access::Open,
        Rules { busy: Some((1000, "21600".into())), ..Rules::default() },
    );
    let started = Instant::now();
    let name = reference(&registry.name("app:1"));
    let error = client().pull(&name, &temp_store(), &NoProgress).unwrap_err();
    assert!(error.to_string().contains("come back in 21600 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn certificates_that_clients_show() {
    let registry = Registry::start_for_clients();
    let store = temp_store();
    let dir = store.dir.path().join("certs.d");
    let here = dir.join(registry.host());
    std::fs::create_dir_all(&here).unwrap();
    std::fs::copy(registry.ca(), here.join("ca.crt")).unwrap();
    let connect = || {
        let options = ClientOptions { cert_dirs: vec![dir.clone()], ..options() };
        let name = reference(&registry.name("app:1"));
        Client::new(options).unwrap().pull(&name, &temp_store(), &NoProgress).unwrap_err()
    };
    let error = connect();
    assert!(!matches!(error, Error::NotFound { .. }), "it let us in without: {error}");
    let (cert, key) = registry.client_identity();
    std::fs::copy(cert, here.join("client.cert")).unwrap();
    let error = connect();
    assert!(error.to_string().contains("client.key is missing"), "{error}");
    std::fs::copy(key, here.join("client.key")).unwrap();
    let error = connect();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn web_pages_and_redirects_without_end() {
    let page = "<!DOCTYPE html><html><title>Sign in</title></html>";
    let server = Server::start(move |_| Answer::new(200, page).with("Content-Type", "text/html"));
    let pull = |host: &str| {
        client().pull(&reference(&format!("{host}/app:1")), &temp_store(), &NoProgress).unwrap_err()
    };
    assert!(pull(server.host()).to_string().contains("a web page"), "{}", pull(server.host()));
    let server = Server::start(move |_| Answer::new(403, page));
    let error = pull(server.host()).to_string();
    assert!(error.contains("web page") && !error.contains("<html"), "{error}");
    let server = Server::start(|request| {
        let again = format!("http://{}{}x", request.header("host"), request.path);
        Answer::new(307, "").with("Location", again)
    });
    let error = pull(server.host()).to_string();
    assert!(error.contains("redirect"), "{error}");
}
