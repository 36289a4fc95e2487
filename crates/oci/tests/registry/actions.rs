//! The cache service of GitHub Actions.

use oci::{ActionsCache, Descriptor, Error, NoProgress};
use testkit::actions_cache::{ActionsCacheServer, TOKEN};

use crate::*;

fn cache(server: &ActionsCacheServer) -> ActionsCache {
    ActionsCache { url: server.url(), token: TOKEN.into(), scope: "main".into() }
}

/// A manifest with a layer of so many bytes.
fn manifest(store: &TempStore, size: usize, config: &str) -> (Digest, Descriptor) {
    let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
    let digest = store.put_blob(&bytes).unwrap();
    let layer = Descriptor::new("application/octet-stream", digest, size as u64);
    let layers = std::slice::from_ref(&layer);
    let manifest = store.write_manifest("application/json", config.as_bytes(), layers).unwrap();
    (manifest, layer)
}

#[test]
fn records_are_numbered_and_layers_are_sent_once() {
    let server = ActionsCacheServer::start();
    let (store, cache, client) = (temp_store(), cache(&server), client());
    // The larger one goes in blocks.
    let (small, _) = manifest(&store, 1000, "1");
    let (large, layer) = manifest(&store, (9 << 20) + 1, "2");
    for digest in [&small, &large, &large] {
        client.push_actions(&cache, &store, digest, &NoProgress).unwrap();
    }
    let puts = server.entries(|entries| {
        assert!(entries.iter().all(|entry| entry.finished));
        let (layers, records): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.key.starts_with("boxer-layer-sha256:"));
        let keys: Vec<&str> = records.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["boxer-cache-main#1", "boxer-cache-main#2", "boxer-cache-main#3"]);
        layers.iter().map(|entry| entry.puts).collect::<Vec<_>>()
    });
    assert_eq!(puts, [1, 2]);

    let parts = client.open_actions(&cache).unwrap();
    assert_eq!(
        (parts.config.as_slice(), &parts.manifest.layers),
        (&b"2"[..], &vec![layer.clone()])
    );
    let other = temp_store();
    client.fetch_part(&parts, &layer, &other, &NoProgress).unwrap();
    let content = |store: &Store| store.read_blob(&layer.digest, u64::MAX).unwrap();
    assert_eq!(content(&other), content(&store));
    // Another scope is another cache.
    let elsewhere = ActionsCache { scope: "mai".into(), ..cache };
    assert!(matches!(client.open_actions(&elsewhere), Err(Error::NotFound { .. })));
}

#[test]
fn a_cache_that_lies_or_refuses_is_told_of() {
    let server = ActionsCacheServer::start();
    let (store, cache, client) = (temp_store(), cache(&server), client());
    let (digest, layer) = manifest(&store, 1000, "1");
    client.push_actions(&cache, &store, &digest, &NoProgress).unwrap();
    let parts = client.open_actions(&cache).unwrap();
    let other = temp_store();
    let damages = [(999, "999 of 1000 bytes"), (1000, "wrong digest"), (1001, "is larger than")];
    for (damage, wrong) in damages {
        server.entries(|entries| entries[0].content = vec![7; damage]);
        let error = client.fetch_part(&parts, &layer, &other, &NoProgress).unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
    }
    let content = store.read_blob(&layer.digest, 1000).unwrap();
    server.entries(|entries| entries[0].content = content);
    let stated = |size| Descriptor { size, ..layer.clone() };
    let error = client.fetch_part(&parts, &stated(999), &other, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("is larger than"), "{error}");
    // The second time it is known without asking.
    for gets in [1, 0] {
        server.entries(|entries| entries[0].gets = 0);
        let error = client.fetch_part(&parts, &stated(1001), &other, &NoProgress).unwrap_err();
        assert!(matches!(error, Error::WrongSize { stated: 1001, actual: 1000, .. }), "{error}");
        assert_eq!(server.entries(|entries| entries[0].gets), gets);
    }
    let other = temp_store();
    server.entries(|entries| entries.remove(0));
    server.entries(|entries| entries.insert(0, testkit::actions_cache::Entry::default()));
    let error = client.fetch_part(&parts, &layer, &other, &NoProgress).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    for content in ["{}", "", "{\"manifest\":{\"schemaVersion\":2}}"] {
        server.entries(|entries| entries[1].content = content.into());
        let error = client.open_actions(&cache).unwrap_err().to_string();
        assert!(error.contains("the record is malformed"), "{error}");
    }

    let stranger = ActionsCache { token: "s3cret".into(), ..cache.clone() };
    let error = client.open_actions(&stranger).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret") && !format!("{stranger:?}").contains("s3cret"));
    let nowhere = ActionsCache { url: "http://127.0.0.1:1/".into(), ..cache.clone() };
    assert!(matches!(client.open_actions(&nowhere), Err(Error::Network { .. })));
    let offline = Client::new(ClientOptions { offline: true, ..options() }).unwrap();
    assert!(matches!(offline.open_actions(&cache), Err(Error::Offline { .. })));
    assert_intact(&other);
}
