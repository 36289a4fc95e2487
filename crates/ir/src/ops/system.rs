//! Rows: what protected mode checks.

/// System rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_system {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
        Canonical "canonical" State(sem::system::canonical);
    } } };
}
