//! Sandboxes over HTTP: `openapi.json` describes it.

mod routes;

pub use routes::Service;
