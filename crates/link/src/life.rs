//! What happens to a booted guest before its state is taken.

use crate::{CodeCache, LinkError};
use wasmtime::{Instance, Module, Store};

/// A life of a guest before it becomes a box: whoever has a host for it lets it run for a while. This crate has none, so its own
/// life is an empty one.
pub trait Life {
    /// What the guest's imports work on.
    type Host: Send + 'static;

    /// Whether anything happens: then the whole image lies in memory, and not only what booting reads.
    fn happens(&self) -> bool;

    /// Instantiates the guest with its imports.
    ///
    /// # Errors
    /// The module does not fit.
    fn instantiate(
        &mut self,
        cache: &CodeCache,
        module: &Module,
    ) -> Result<(Store<Self::Host>, Instance), LinkError>;

    /// What the guest wrote while it booted, which it has no reason to.
    fn messages<'a>(&self, store: &'a Store<Self::Host>) -> &'a [u8];

    /// Lets it live, after it was booted. No function of the guest is on the stack when this ends.
    ///
    /// # Errors
    /// [`LinkError::Life`]
    fn live(&mut self, store: &mut Store<Self::Host>, instance: Instance) -> Result<(), LinkError>;
}
