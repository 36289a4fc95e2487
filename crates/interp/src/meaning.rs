//! What ops compute, by op name, for the handlers in the run loop.
#![allow(non_snake_case, dead_code)]

use ir::{for_each_op, sem};
macro_rules! function {
    (R1 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u64) -> u64 {
            $f(a)
        }
    };
    (R2 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u64, b: u64) -> u64 {
            $f(a, b)
        }
    };
    (Load $name:ident ($t:ty, $f:path)) => {
        #[inline(always)]
        pub fn $name(value: $t) -> u64 {
            $f(value)
        }
    };
    (V2 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u128, b: u128) -> u128 {
            $f(a, b)
        }
    };
    (V1 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u128) -> u128 {
            $f(a)
        }
    };
    (V1i $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u128, imm: u8) -> u128 {
            $f(a, imm)
        }
    };
    (V2i $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u128, b: u128, imm: u8) -> u128 {
            $f(a, b, imm)
        }
    };
    (Vr1 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u64) -> u128 {
            $f(a)
        }
    };
    (Rv1 $name:ident ($f:path)) => {
        #[inline(always)]
        pub fn $name(a: u128) -> u64 {
            $f(a)
        }
    };
    ($class:ident $name:ident ($($f:tt)*)) => {};
}
macro_rules! functions {
    ($($name:ident $text:literal $class:ident ($($f:tt)*);)*) => {
        $(function!($class $name ($($f)*));)*
    };
}
for_each_op!(functions);
