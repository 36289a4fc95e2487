//! What ops compute: pure functions, called by the interpreter and by translated code.

pub mod aes;
pub mod avx;
pub mod convert;
pub mod fma;
pub mod half;
pub mod ieee;
pub mod int;
pub mod lanes;
pub mod packed;
pub mod packed_float;
pub mod quick;
pub mod sha;
pub mod shuffle;
pub mod simd;
pub mod simd_float;
pub mod softfloat;
pub mod system;
pub mod text_compare;
pub mod x87;
