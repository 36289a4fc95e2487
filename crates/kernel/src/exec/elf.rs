//! Reading ELF headers of programs (elf(5)): x86-64, executable or shared object.

use abi::{Errno, Pod};
use mem::PAGE_SIZE;

abi::pod! {
    /// `Elf64_Ehdr` after `e_ident`.
    pub struct Header {
        /// `ET_EXEC` or `ET_DYN`.
        pub kind: u16,
        /// `EM_X86_64`.
        pub machine: u16,
        /// `EV_CURRENT`.
        pub version: u32,
        /// Entry point.
        pub entry: u64,
        /// File offset of the program headers.
        pub phoff: u64,
        /// File offset of the section headers.
        pub shoff: u64,
        /// Flags.
        pub flags: u32,
        /// Size of this header.
        pub ehsize: u16,
        /// Size of a program header.
        pub phentsize: u16,
        /// Number of program headers.
        pub phnum: u16,
    }
    /// `Elf64_Phdr`.
    pub struct Phdr {
        /// `PT_*`.
        pub kind: u32,
        /// `PF_*`.
        pub flags: u32,
        /// File offset.
        pub offset: u64,
        /// Address.
        pub vaddr: u64,
        /// Unused.
        pub paddr: u64,
        /// Bytes in the file.
        pub filesz: u64,
        /// Bytes in memory.
        pub memsz: u64,
        /// Alignment.
        pub align: u64,
    }
}

/// Loadable segment.
pub const PT_LOAD: u32 = 1;
/// Path of the interpreter.
pub const PT_INTERP: u32 = 3;
/// Program headers.
pub const PT_PHDR: u32 = 6;
/// Stack permissions.
pub const PT_GNU_STACK: u32 = 0x6474_e551;
/// Executable.
pub const PF_X: u32 = 1;
/// Writable.
pub const PF_W: u32 = 2;
/// Readable.
pub const PF_R: u32 = 4;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
/// Bytes of `e_ident`.
const IDENT: usize = 16;
/// As Linux: program headers must fit in one page's worth times sixteen (64 KiB).
const PHDRS_MAX: usize = 65536;

/// A program's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The file header.
    pub header: Header,
    /// The program headers.
    pub phdrs: Vec<Phdr>,
}

/// Bytes of a file at an offset; fewer at the end.
pub type ReadAt<'a> = &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize, Errno>;

/// Whether the file starts as an ELF file does.
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(b"\x7fELF")
}

impl Elf {
    /// Reads and checks the headers: `ENOEXEC` for anything that is not an x86-64 program, `EIO` if it is cut off.
    pub fn read(read: ReadAt) -> Result<Elf, Errno> {
        let mut start = [0; IDENT + Header::SIZE];
        if read(0, &mut start)? < start.len() || !is_elf(&start) {
            return Err(Errno::ENOEXEC);
        }
        // Linux looks at the machine alone, not at class and byte order.
        let header = Header::from_bytes(&start[IDENT..]);
        let known = matches!(header.kind, ET_EXEC | ET_DYN) && header.machine == EM_X86_64;
        let size = usize::from(header.phnum) * Phdr::SIZE;
        if !known || usize::from(header.phentsize) != Phdr::SIZE || size == 0 || size > PHDRS_MAX {
            return Err(Errno::ENOEXEC);
        }
        let mut bytes = vec![0; size];
        if read(header.phoff, &mut bytes)? < size {
            return Err(Errno::ENOEXEC);
        }
        let phdrs: Vec<Phdr> = bytes.chunks_exact(Phdr::SIZE).map(Phdr::from_bytes).collect();
        Ok(Elf { header, phdrs })
    }

    /// Segments must make sense: no overflow, memory at least as large as the file part, page offsets that agree. Linux
    /// notices that when it maps them.
    pub fn check(&self) -> Result<(), Errno> {
        let page = PAGE_SIZE as u64;
        let mut last = 0;
        for p in self.loads() {
            let end = p.vaddr.checked_add(p.memsz).ok_or(Errno::ENOEXEC)?;
            p.offset.checked_add(p.filesz).filter(|&e| e < 1 << 62).ok_or(Errno::ENOEXEC)?;
            let crooked = p.vaddr % page != p.offset % page && p.filesz > 0;
            if p.memsz < p.filesz || crooked || p.vaddr < last || end > crate::mm::TASK_SIZE {
                return Err(Errno::ENOEXEC);
            }
            last = p.vaddr;
        }
        if self.loads().next().is_none() {
            return Err(Errno::ENOEXEC);
        }
        Ok(())
    }

    /// The loadable segments.
    pub fn loads(&self) -> impl Iterator<Item = &Phdr> {
        self.phdrs.iter().filter(|p| p.kind == PT_LOAD && p.memsz > 0)
    }

    /// Lowest and highest page address of all segments.
    pub fn extent(&self) -> (u64, u64) {
        let page = PAGE_SIZE as u64;
        let low = self.loads().map(|p| p.vaddr / page * page).min().unwrap_or(0);
        let high = self
            .loads()
            .map(|p| p.vaddr.saturating_add(p.memsz).div_ceil(page).saturating_mul(page))
            .max()
            .unwrap_or(0);
        (low, high)
    }

    /// Largest alignment that a segment asks for, at least a page, at most 2 MiB.
    pub fn align(&self) -> u64 {
        let wanted = self.loads().map(|p| p.align).filter(|a| a.is_power_of_two()).max();
        wanted.unwrap_or(0).clamp(PAGE_SIZE as u64, 2 << 20)
    }

    /// Whether it may be loaded anywhere.
    pub fn is_relocatable(&self) -> bool {
        self.header.kind == ET_DYN
    }

    /// Whether `PT_GNU_STACK` asks for an executable stack (no header: no, as on x86-64 since Linux 5.8).
    pub fn executable_stack(&self) -> bool {
        self.phdrs.iter().any(|p| p.kind == PT_GNU_STACK && p.flags & PF_X != 0)
    }

    /// Path of the interpreter: `ENOEXEC` if it is malformed.
    pub fn interpreter(&self, read: ReadAt) -> Result<Option<Vec<u8>>, Errno> {
        let Some(p) = self.phdrs.iter().find(|p| p.kind == PT_INTERP) else { return Ok(None) };
        if !(2..=4096).contains(&p.filesz) {
            return Err(Errno::ENOEXEC);
        }
        let mut path = vec![0; p.filesz as usize];
        if read(p.offset, &mut path)? < path.len() || path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
        path.truncate(end);
        Ok(Some(path))
    }

    /// Address (without load bias) of the program headers in memory; 0 if no segment holds them.
    pub fn phdr_address(&self) -> u64 {
        if let Some(p) = self.phdrs.iter().find(|p| p.kind == PT_PHDR) {
            return p.vaddr;
        }
        let at = self.header.phoff;
        self.loads()
            .find(|p| p.offset <= at && at < p.offset + p.filesz)
            .map_or(0, |p| at - p.offset + p.vaddr)
    }
}
