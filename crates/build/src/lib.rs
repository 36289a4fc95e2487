//! Carries a Dockerfile's plan out.
