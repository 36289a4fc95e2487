//! Pushing: mounts, chunks, and going on where an upload broke.

use oci::{ImageHandle, NoProgress};
use testkit::fake_registry::{Access, FakeRegistry, Rules};
use testkit::proxy::{Fate, Proxy};
use testkit::registry::{Options, Registry};

use crate::*;

const SIZE: usize = 9 << 20;

fn image(store: &TempStore, name: &Reference) -> ImageHandle {
    let salt = name.canonical().len();
    let bytes: Vec<u8> = (0..SIZE).map(|i| ((i + salt) * 31 % 251) as u8).collect();
    let layer = store.add_layer(&mut bytes.as_slice()).unwrap();
    store.write_image(oci::ImageConfig::scratch(), vec![layer], Some(name)).unwrap()
}

fn comes_back(name: &Reference, image: &ImageHandle) {
    let store = temp_store();
    assert_eq!(&client().pull(name, &store, &NoProgress).unwrap(), image);
    assert_intact(&store);
}

#[test]
fn chunks_where_a_registry_takes_no_more() {
    let rules = Rules { body_limit: Some(8 << 20), ..Rules::default() };
    let registry = FakeRegistry::with_rules(Access::Open, rules);
    let store = temp_store();
    let name = reference(&registry.name("app:1"));
    let image = image(&store, &name);
    client().push(&name, &store, &image.digest, &NoProgress).unwrap();
    assert_eq!(registry.asked("PATCH"), 2, "{:?}", registry.log());
    comes_back(&name, &image);
}

#[test]
fn an_upload_goes_on_where_it_broke() {
    for forget_broken in [false, true] {
        let rules = Rules { forget_broken, ..Rules::default() };
        let registry = FakeRegistry::with_rules(Access::Open, rules);
        let proxy = Proxy::start(registry.host());
        let store = temp_store();
        let name = reference(&format!("{}/app:1", proxy.host()));
        let image = image(&store, &name);
        // Nothing but the layer is as large as that.
        proxy.next([Fate::ResetRequest(3 << 20); 9]);
        let heard = Heard::default();
        client().push(&name, &store, &image.digest, &heard).unwrap();
        assert!(heard.count("retry") >= 1);
        let resumed = registry.asked("PATCH") > 0;
        assert_eq!(resumed, !forget_broken, "{:?}", registry.log());
        comes_back(&name, &image);
    }
}

#[test]
fn a_broken_upload_to_a_real_registry() {
    let registry = Registry::start(Options::default());
    let proxy = Proxy::start(registry.host());
    let store = temp_store();
    for bytes in [100, 1000, 300_000, 5 << 20] {
        let name = reference(&format!("{}/app{}:{bytes}", proxy.host(), "x".repeat(bytes % 7)));
        let image = image(&store, &name);
        proxy.next([Fate::Whole, Fate::ResetRequest(bytes), Fate::ResetRequest(bytes)]);
        client().push(&name, &store, &image.digest, &NoProgress).unwrap();
        proxy.next([]);
        comes_back(&name, &image);
    }
}

#[test]
fn blobs_are_mounted_from_another_repository() {
    let real = Registry::start(Options::default());
    let access = Access::Token { basic: None, refresh: None };
    let fake = FakeRegistry::with_rules(access, Rules::default());
    for host in [real.host(), fake.host()] {
        let store = temp_store();
        let first = reference(&format!("{host}/base:1"));
        let image = image(&store, &first);
        client().push(&first, &store, &image.digest, &NoProgress).unwrap();
        let second = reference(&format!("{host}/other/app:1"));
        client().push(&second, &store, &image.digest, &NoProgress).unwrap();
        comes_back(&second, &image);
    }
    assert_eq!(fake.asked("POST /v2/other/app/blobs/uploads"), 2, "{:?}", fake.log());
    assert_eq!(fake.asked("PUT /v2/other/app/blobs/uploads"), 0);
}

#[test]
fn a_registry_that_takes_nothing_is_given_up() {
    let registry = FakeRegistry::start(Access::Open);
    let proxy = Proxy::start(registry.host());
    let store = temp_store();
    let name = reference(&format!("{}/app:1", proxy.host()));
    let image = image(&store, &name);
    proxy.next([Fate::Whole].into_iter().chain([Fate::StallRequest(2000); 40]));
    let impatient = ClientOptions { timeout: Duration::from_millis(100), retries: 1, ..options() };
    let client = Client::new(impatient).unwrap();
    let error = client.push(&name, &store, &image.digest, &NoProgress).unwrap_err();
    assert!(matches!(error, oci::Error::Network { .. }), "{error}");
}
