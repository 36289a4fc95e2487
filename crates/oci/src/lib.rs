//! References, manifests, registry client, layouts, archives and the local store.
