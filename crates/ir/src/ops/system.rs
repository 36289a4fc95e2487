//! Rows: what protected mode checks.

/// System rows (see [`crate::ops`]).
#[doc(hidden)]
#[macro_export]
macro_rules! ops_system {
    ([$next:ident $($more:ident)*] $cb:ident { $($acc:tt)* }) => { $crate::$next! { [$($more)*] $cb { $($acc)*
        Canonical "canonical" State(sem::system::canonical);
        Selector "selector" State(sem::system::selector);
        Segment "segment" State(sem::system::segment);
        CodeSegment "codesegment" State(sem::system::code_segment);
        StackSegment "stacksegment" State(sem::system::stack_segment);
        NotNested "notnested" State(sem::system::not_nested);
        Rights "rights" State(sem::system::rights);
    } } };
}
