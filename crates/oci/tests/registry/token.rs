//! Bearer tokens: anonymous, for a password, for an identity token.

use oci::{Error, NoProgress};
use testkit::fake_registry::{Access, FakeRegistry};
use testkit::image::Image;
use testkit::registry::{Options, Registry};

use crate::*;

fn registry(access: Access) -> FakeRegistry {
    let registry = FakeRegistry::start(access);
    registry.add("1", &Image::new("linux/amd64", &[b"one", b"two"]));
    registry
}

fn pull(registry: &FakeRegistry, credentials: CredentialSources) -> oci::Result<oci::ImageHandle> {
    let client = Client::new(ClientOptions { credentials, ..options() }).unwrap();
    client.pull(&reference(&registry.name("ns/app:1")), &temp_store(), &NoProgress)
}

fn with(credentials: Credentials) -> CredentialSources {
    CredentialSources { explicit: Some(credentials), ..CredentialSources::default() }
}

#[test]
fn anonymous() {
    let registry = registry(Access::Token { basic: None, refresh: None });
    assert_eq!(pull(&registry, CredentialSources::default()).unwrap().layers.len(), 2);
    assert!(registry.log().iter().any(|l| l.starts_with("GET /token")));
}

#[test]
fn for_a_password() {
    let registry =
        registry(Access::Token { basic: Some(("ann".into(), "s3cret".into())), refresh: None });
    pull(&registry, with_user("ann", "s3cret")).unwrap();
    for wrong in [with_user("ann", "x"), CredentialSources::default()] {
        let error = pull(&registry, wrong).unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    }
}

#[test]
fn for_an_identity_token() {
    let registry = registry(Access::Token { basic: None, refresh: Some("refresh".into()) });
    pull(&registry, with(Credentials::Identity("refresh".into()))).unwrap();
    let error = pull(&registry, with(Credentials::Identity("stale".into()))).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[test]
fn given() {
    let registry = registry(Access::Token { basic: None, refresh: Some("x".into()) });
    pull(&registry, with(Credentials::Bearer("token-for-tests".into()))).unwrap();
    let error = pull(&registry, with(Credentials::Bearer("other".into()))).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let error = pull(&registry, with(Credentials::Bearer("a\nb".into()))).unwrap_err();
    assert!(error.to_string().contains("cannot be sent"), "{error}");
}

#[test]
fn logins_are_tried() {
    let bearer =
        registry(Access::Token { basic: Some(("ann".into(), "s3cret".into())), refresh: None });
    assert!(client().login(bearer.host(), "ann", "s3cret").unwrap());
    let error = client().login(bearer.host(), "ann", "wrong").unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let open = registry(Access::Open);
    assert!(!client().login(open.host(), "ann", "any").unwrap());

    let basic = Registry::start(Options { tls: false, htpasswd: Some(("ann", "s3cret")) });
    assert!(client().login(basic.host(), "ann", "s3cret").unwrap());
    let error = client().login(basic.host(), "joe", "s3cret").unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let error = client().login("127.0.0.1:1", "ann", "x").unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
}
