//! The run loop that joins CPU and kernel.
