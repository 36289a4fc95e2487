//! Linux x86-64 numbers, structs and errno values. No logic.
