//! Rows: x87 and MMX state.

/// x87 rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_x87 {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
    } } };
}
