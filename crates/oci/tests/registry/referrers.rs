//! Referrers: by the API, and by a tag where there is none.

use oci::{ImageConfig, NoProgress, Statement};
use testkit::fake_registry::{Access, FakeRegistry, Rules};

use crate::*;

#[test]
fn by_the_api_or_by_a_tag() {
    for referrers in [true, false] {
        let registry =
            FakeRegistry::with_rules(Access::Open, Rules { referrers, ..Rules::default() });
        let store = temp_store();
        let name = reference(&registry.name("app:1"));
        let layer = store.add_layer(&mut &b"layer"[..]).unwrap();
        let image = store.write_image(ImageConfig::scratch(), vec![layer], Some(&name)).unwrap();
        let statement =
            Statement { predicate_type: "https://example.org/says".into(), json: b"{}".to_vec() };
        let attested = store.attest(&image.descriptor, &[statement]).unwrap();
        for _ in 0..2 {
            client().push(&name, &store, &image.digest, &NoProgress).unwrap();
        }
        let tag = format!("sha256-{}", image.digest.hex());
        assert_eq!(registry.manifest(&tag).is_some(), !referrers, "the tag is for those without");
        let found = client().referrers(&name, &image.digest).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].digest, attested.digest);
        // Nobody refers to what was never pushed.
        assert!(client().referrers(&name, &Digest::of(b"other")).unwrap().is_empty());

        // They come along when asked for, and go on to the next registry.
        let other = temp_store();
        client().pull(&name, &other, &NoProgress).unwrap();
        let count = client().pull_attestations(&name, &image.digest, &other, &NoProgress).unwrap();
        assert_eq!(count, 1);
        assert_eq!(
            other.attestations(&image.digest).unwrap(),
            store.attestations(&image.digest).unwrap()
        );
        let next =
            FakeRegistry::with_rules(Access::Open, Rules { referrers: true, ..Rules::default() });
        let there = reference(&next.name("app:1"));
        client().push(&there, &other, &image.digest, &NoProgress).unwrap();
        assert_eq!(client().referrers(&there, &image.digest).unwrap(), found);
        assert_intact(&other);
    }
}
