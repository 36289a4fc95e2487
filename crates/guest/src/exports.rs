//! The exports: what the linker calls while it makes a box, and what a host may use that runs it; `link`'s documentation
//! has the contract.
#![allow(unsafe_code)] // exported symbols, and memory that comes from memory.grow

use crate::boot;
use mem::desk::Desk;
use mux::freeze::Moment;
use mux::watch::Watch;
use rootfs::config::BoxConfig;
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

/// Where a host that compiles hot code and this box exchange it.
#[unsafe(export_name = "boxer-desk")]
pub static DESK: Desk = Desk::new();

/// Where this box and a host that freezes it meet.
#[unsafe(export_name = "boxer-life")]
pub static LIFE: Moment = Moment::new();

/// What a host sees of what this box has executed, and where it asks it to stop.
#[unsafe(export_name = "boxer-watch")]
pub static WATCH: Watch = Watch::new();

/// Where the image lies, for whoever keeps the contents of its files elsewhere ([`crate::outside`]).
#[unsafe(export_name = "boxer-image")]
pub static IMAGE_PLACE: mem::Place = mem::Place::new();

/// Size of a Wasm page.
const WASM_PAGE: usize = 65536;

/// A piece of memory from [`grow`]: address and length.
#[derive(Clone, Copy)]
struct Piece(usize, usize);

thread_local! {
    static IMAGE: Cell<Piece> = const { Cell::new(Piece(0, 0)) };
    static CONFIG: Cell<Piece> = const { Cell::new(Piece(0, 0)) };
    static FROZEN: Cell<Piece> = const { Cell::new(Piece(0, 0)) };
    static TEXT: Cell<Piece> = const { Cell::new(Piece(0, 0)) };
    static COMPONENT: Cell<bool> = const { Cell::new(false) };
}

impl Piece {
    /// The bytes.
    fn bytes(self) -> &'static [u8] {
        if self.0 == 0 {
            return &[];
        }
        // SAFETY: `grow` returned this range to us alone, the linker has written it, and it is never freed. What of the
        // image is kept outside comes before anybody reads it (`mem::Supply`).
        unsafe { std::slice::from_raw_parts(self.0 as *const u8, self.1) }
    }
}

/// New zeroed linear memory; its address, or 0.
fn grow(len: usize) -> Piece {
    #[cfg(target_arch = "wasm32")]
    {
        // The allocator takes hold of its first piece of memory before this one comes behind it.
        drop(std::hint::black_box(Box::new(0_u8)));
        match core::arch::wasm32::memory_grow(0, len.div_ceil(WASM_PAGE).max(1)) {
            usize::MAX => Piece(0, 0),
            page => Piece(page * WASM_PAGE, len),
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = (len, WASM_PAGE);
        Piece(0, 0)
    }
}

#[unsafe(export_name = "boxer-reserve")]
extern "C" fn boxer_reserve(len: usize) -> usize {
    let piece = grow(len);
    IMAGE.set(piece);
    IMAGE_PLACE.address.store(piece.0 as u32, Relaxed);
    IMAGE_PLACE.len.store(len as u32, Relaxed);
    piece.0
}

#[unsafe(export_name = "boxer-config-reserve")]
extern "C" fn boxer_config_reserve(len: usize) -> usize {
    let piece = grow(len);
    CONFIG.set(piece);
    piece.0
}

/// For the table of the regions that are part of the box ([`mem::frozen`]).
#[unsafe(export_name = "boxer-frozen-reserve")]
extern "C" fn boxer_frozen_reserve(len: usize) -> usize {
    let piece = grow(len);
    FROZEN.set(piece);
    piece.0
}

/// Whether this is a component, whose exit status goes past preview 1.
pub fn is_component() -> bool {
    COMPONENT.get()
}

#[unsafe(export_name = "boxer-component")]
extern "C" fn boxer_component() {
    COMPONENT.set(true);
}

#[unsafe(export_name = "wizer-initialize")]
extern "C" fn wizer_initialize() {
    match BoxConfig::decode(CONFIG.get().bytes()) {
        Ok(config) => boot::boot(IMAGE.get().bytes(), config, FROZEN.get().bytes(), &DESK),
        // The linker quotes a panic's message.
        Err(error) => panic!("{error}"),
    }
}

/// What only boxes have that have a processor of their own.
#[cfg(not(feature = "program"))]
mod machine {
    use super::{Piece, TEXT, grow};
    use crate::{life, step};

    /// What boxes export as `_start`: that of the C library refuses to be called again in the life that follows a frozen one, and
    /// prepares nothing that is needed here (booting does not go through it either).
    #[unsafe(export_name = "boxer-start")]
    extern "C" fn boxer_start() {
        crate::start();
    }

    /// Starts the box for a host that steps it ([`crate::step`]).
    #[unsafe(export_name = "boxer-begin")]
    extern "C" fn boxer_begin() -> i32 {
        step::begin()
    }

    #[unsafe(export_name = "boxer-step")]
    extern "C" fn boxer_step(ms: u32) -> u64 {
        step::step(ms)
    }

    #[unsafe(export_name = "boxer-ports")]
    extern "C" fn boxer_ports() -> u64 {
        step::ports()
    }

    #[unsafe(export_name = "boxer-life-begin")]
    extern "C" fn boxer_life_begin() -> i32 {
        life::begin()
    }

    #[unsafe(export_name = "boxer-life-step")]
    extern "C" fn boxer_life_step() -> u64 {
        life::step()
    }

    /// Memory for the text that [`boxer_life_file`] and [`boxer_life_ask`] take.
    #[unsafe(export_name = "boxer-life-text")]
    extern "C" fn boxer_life_text(len: usize) -> usize {
        let Piece(start, room) = TEXT.get();
        let piece = if start != 0 && len <= room { Piece(start, len) } else { grow(len) };
        TEXT.set(piece);
        piece.0
    }

    #[unsafe(export_name = "boxer-life-file")]
    extern "C" fn boxer_life_file() -> i32 {
        i32::from(life::has_file(TEXT.get().bytes()))
    }

    #[unsafe(export_name = "boxer-life-ask")]
    extern "C" fn boxer_life_ask(port: i32) -> i32 {
        life::ask(port as u16, TEXT.get().bytes())
    }

    #[unsafe(export_name = "boxer-life-end")]
    extern "C" fn boxer_life_end(programs: i32) -> i32 {
        life::end(programs != 0)
    }

    /// The table of frozen regions is written: code that was decoded in a life enters them.
    #[unsafe(export_name = "boxer-life-thaw")]
    extern "C" fn boxer_life_thaw() {
        crate::boot::with(machine::Machine::thaw_here);
    }
}

/// What only boxes have whose program is a WASI module.
#[cfg(feature = "program")]
mod program {
    use crate::boot;

    /// How much memory there will be beside what the box has when its state is taken, in bytes: what lies behind is the program's.
    #[unsafe(export_name = "boxer-arena")]
    extern "C" fn boxer_arena(len: usize) {
        boot::have_arena(len as u64);
    }

    /// Readies the box for a program whose memory begins at `base`; called before the program's start.
    #[unsafe(export_name = "boxer-program-begin")]
    extern "C" fn boxer_program_begin(base: usize) {
        crate::preview1::begin(base);
    }

    /// The program's start has returned.
    #[unsafe(export_name = "boxer-program-end")]
    extern "C" fn boxer_program_end() {
        crate::preview1::end_of_start();
    }

    /// Memory for an adapter that makes a component of the box: it must come from the box's own, behind which the program's lies.
    ///
    /// # Safety
    /// As of `realloc(3)`.
    #[unsafe(export_name = "cabi_realloc")]
    unsafe extern "C" fn cabi_realloc(
        old: *mut u8,
        old_len: usize,
        align: usize,
        len: usize,
    ) -> *mut u8 {
        use std::alloc::{Layout, alloc, handle_alloc_error, realloc};
        let Ok(layout) = Layout::from_size_align(len, align) else { std::process::abort() };
        if len == 0 {
            return std::ptr::without_provenance_mut(align);
        }
        let place = if old_len == 0 {
            // SAFETY: the layout has a size.
            unsafe { alloc(layout) }
        } else {
            // SAFETY: the caller has `old` from here, with this length and alignment.
            unsafe { realloc(old, Layout::from_size_align_unchecked(old_len, align), len) }
        };
        if place.is_null() {
            handle_alloc_error(layout);
        }
        place
    }
}
