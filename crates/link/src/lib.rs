//! Assembles the module or component and runs wizer.
