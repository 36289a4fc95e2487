//! Connections that are reset at any byte, of any request.

use oci::{ImageConfig, NoProgress};
use testkit::fake_registry::{Access, FakeRegistry};
use testkit::image::Image;
use testkit::proxy::{Fate, Proxy};

use crate::*;

/// Connections of a pull or push with its probe; some more, for those made again.
const CONNECTIONS: usize = 9;
const MOST: usize = 1200;
/// A prime, so that all parts of a line are met.
const STEP: usize = 211;

#[test]
fn pulls_survive_a_reset_at_any_byte() {
    let registry = FakeRegistry::start(Access::Open);
    registry.add("1", &Image::new("linux/amd64", &[&[7; 900], b"small"]));
    let proxy = Proxy::start(registry.host());
    let name = reference(&format!("{}/app:1", proxy.host()));
    let impatient = Client::new(ClientOptions { retries: 0, ..options() }).unwrap();
    let mut failed = 0;
    for bytes in (0..MOST).step_by(STEP) {
        for connection in 0..CONNECTIONS {
            let fate = |times: usize| {
                let whole = std::iter::repeat_n(Fate::Whole, connection);
                whole
                    .chain(std::iter::repeat_n(Fate::ResetAnswer(bytes), times))
                    .collect::<Vec<_>>()
            };
            // Once: it is ridden out.
            proxy.next(fate(1));
            let store = temp_store();
            client()
                .pull(&name, &store, &NoProgress)
                .unwrap_or_else(|error| panic!("connection {connection}, byte {bytes}: {error}"));
            assert_intact(&store);
            // Without patience it may fail, and the store is sound, and the next pull succeeds.
            proxy.next(fate(3));
            let store = temp_store();
            if impatient.pull(&name, &store, &NoProgress).is_err() {
                failed += 1;
                assert_intact(&store);
                proxy.next([]);
                client().pull(&name, &store, &NoProgress).unwrap();
            }
            assert_intact(&store);
        }
    }
    assert!(failed > 10, "the proxy broke {failed} pulls");
}

#[test]
fn pushes_survive_a_reset_at_any_byte() {
    let registry = FakeRegistry::start(Access::Open);
    let proxy = Proxy::start(registry.host());
    let store = temp_store();
    let mut retried = 0;
    for bytes in (0..MOST).step_by(STEP * 2) {
        for connection in 0..CONNECTIONS + 2 {
            for fate in [Fate::ResetRequest(bytes), Fate::ResetAnswer(bytes / 3)] {
                let text = format!("{bytes} {connection} {fate:?}").repeat(30);
                let layer = store.add_layer(&mut text.as_bytes()).unwrap();
                let name = reference(&format!("{}/app:1", proxy.host()));
                let image =
                    store.write_image(ImageConfig::scratch(), vec![layer], Some(&name)).unwrap();
                proxy.next(std::iter::repeat_n(Fate::Whole, connection).chain([fate]));
                let heard = Heard::default();
                client()
                    .push(&name, &store, &image.digest, &heard)
                    .unwrap_or_else(|error| panic!("connection {connection}, {fate:?}: {error}"));
                retried += heard.count("retry");
                proxy.next([]);
                assert!(registry.has_blob(image.layers[0].digest.as_str()));
                assert_eq!(client().pull(&name, &temp_store(), &NoProgress).unwrap(), image);
            }
        }
    }
    assert!(retried > 5, "{retried} uploads were repeated");
}
