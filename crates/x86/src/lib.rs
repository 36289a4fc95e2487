//! x86-64 decoding, cpuid and lifting to IR. No system calls.
