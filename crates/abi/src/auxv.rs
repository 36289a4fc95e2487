//! The auxiliary vector (getauxval(3), `linux/auxvec.h`).

/// End of the vector.
pub const AT_NULL: u64 = 0;
/// Address of the program headers.
pub const AT_PHDR: u64 = 3;
/// Size of one program header.
pub const AT_PHENT: u64 = 4;
/// Number of program headers.
pub const AT_PHNUM: u64 = 5;
/// Page size.
pub const AT_PAGESZ: u64 = 6;
/// Load address of the interpreter.
pub const AT_BASE: u64 = 7;
/// Flags.
pub const AT_FLAGS: u64 = 8;
/// Entry point of the program.
pub const AT_ENTRY: u64 = 9;
/// Real user.
pub const AT_UID: u64 = 11;
/// Effective user.
pub const AT_EUID: u64 = 12;
/// Real group.
pub const AT_GID: u64 = 13;
/// Effective group.
pub const AT_EGID: u64 = 14;
/// Platform string.
pub const AT_PLATFORM: u64 = 15;
/// CPUID.1:EDX.
pub const AT_HWCAP: u64 = 16;
/// Ticks per second of times(2).
pub const AT_CLKTCK: u64 = 17;
/// Set-user-id program.
pub const AT_SECURE: u64 = 23;
/// Sixteen random bytes.
pub const AT_RANDOM: u64 = 25;
/// More hardware capabilities.
pub const AT_HWCAP2: u64 = 26;
/// Path of the program.
pub const AT_EXECFN: u64 = 31;
/// Smallest signal stack.
pub const AT_MINSIGSTKSZ: u64 = 51;
