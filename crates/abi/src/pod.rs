//! Plain-old-data in guest memory: little-endian, in field order, padding written as fields.

/// A value with one fixed layout in guest memory.
pub trait Pod: Sized {
    /// Bytes in memory.
    const SIZE: usize;
    /// The value of the first [`Pod::SIZE`] bytes of `bytes`; missing bytes count as zero.
    fn from_bytes(bytes: &[u8]) -> Self;
    /// Stores the value at the start of `out`; what does not fit is left out.
    fn to_bytes(&self, out: &mut [u8]);
}

macro_rules! int_pod {
    ($($t:ty)*) => {$(
        impl Pod for $t {
            const SIZE: usize = size_of::<$t>();
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$t>()];
                let n = bytes.len().min(raw.len());
                raw[..n].copy_from_slice(&bytes[..n]);
                <$t>::from_le_bytes(raw)
            }
            fn to_bytes(&self, out: &mut [u8]) {
                let raw = self.to_le_bytes();
                let n = out.len().min(raw.len());
                out[..n].copy_from_slice(&raw[..n]);
            }
        }
    )*};
}
int_pod!(u8 i8 u16 i16 u32 i32 u64 i64 u128);

impl<T: Pod + Copy + Default, const N: usize> Pod for [T; N] {
    const SIZE: usize = T::SIZE * N;
    fn from_bytes(bytes: &[u8]) -> Self {
        let mut value = [T::default(); N];
        for (i, item) in value.iter_mut().enumerate() {
            *item = T::from_bytes(bytes.get(i * T::SIZE..).unwrap_or(&[]));
        }
        value
    }
    fn to_bytes(&self, out: &mut [u8]) {
        for (i, item) in self.iter().enumerate() {
            if let Some(out) = out.get_mut(i * T::SIZE..) {
                item.to_bytes(out);
            }
        }
    }
}

/// Declares structs that implement [`Pod`]: fields are laid out one after the other, so padding must be a field.
#[macro_export]
macro_rules! pod {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl Default for $name {
            /// All bytes zero.
            fn default() -> Self {
                $crate::Pod::from_bytes(&[])
            }
        }

        impl $crate::Pod for $name {
            const SIZE: usize = 0 $(+ <$ty as $crate::Pod>::SIZE)*;
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut _at = 0;
                $(
                    let $field = <$ty as $crate::Pod>::from_bytes(bytes.get(_at..).unwrap_or(&[]));
                    _at += <$ty as $crate::Pod>::SIZE;
                )*
                $name { $($field,)* }
            }
            fn to_bytes(&self, out: &mut [u8]) {
                let mut _at = 0;
                $(
                    if let Some(out) = out.get_mut(_at..) { $crate::Pod::to_bytes(&self.$field, out); }
                    _at += <$ty as $crate::Pod>::SIZE;
                )*
            }
        }
    )*};
}
