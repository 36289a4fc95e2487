//! The on-disk root filesystem image (EROFS): writer and zero-copy reader.

pub mod config;
