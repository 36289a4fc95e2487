//! Dockerfile text to instructions with spans to a stage plan. No I/O.
