//! The guest's side of starting: give it the image and the configuration, let it boot.

use crate::outside::PLACE_EXPORT;
use rootfs::config::BoxConfig;
use std::io::Read;
use wasmtime::{Instance, Memory, Store, TypedFunc, Val};

/// Where the image lies in linear memory.
#[derive(Clone, Copy, Debug)]
pub struct ImageRange {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Why a guest did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The guest program lacks an export of the contract, or has one of another type.
    #[error("the guest program does not fit this version of boxer: export `{0}`: {1}")]
    Contract(&'static str, String),
    /// The guest found no room for the image.
    #[error("the guest has no room for an image of {0} bytes")]
    NoRoom(u64),
    /// The image could not be read.
    #[error("read the root filesystem image: {0}")]
    Image(std::io::Error),
    /// The guest could not be instantiated.
    #[error("instantiate the guest: {0}")]
    Instantiate(String),
    /// The guest failed in `wizer-initialize`.
    #[error("the guest failed to boot: {0}")]
    Init(String),
}

/// What was reserved.
pub struct Reserved {
    /// The image.
    pub image: ImageRange,
    /// The table of frozen regions, still empty.
    pub frozen: Option<ImageRange>,
}

/// Copies the first `boot_len` bytes of the image and the configuration into an instance of the guest and calls `wizer-initialize`.
/// If `frozen` is not 0, so many bytes are set apart for a table.
pub fn boot<T: Send>(
    store: &mut Store<T>,
    instance: Instance,
    image: &mut dyn Read,
    (image_len, boot_len): (u64, u64),
    config: &BoxConfig,
    frozen: usize,
) -> Result<Reserved, BootError> {
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| BootError::Contract("memory", "missing".to_owned()))?;
    let len = u32::try_from(image_len).map_err(|_| BootError::NoRoom(image_len))?;
    let reserve = reserver(store, instance, "boxer-reserve")?;
    let range = reserved(store, memory, "boxer-reserve", &reserve, len)?;
    // No more than the range, which was checked against the memory.
    let front = range.start + usize::try_from(boot_len.min(image_len)).unwrap_or(0);
    image
        .read_exact(&mut memory.data_mut(&mut *store)[range.start..front])
        .map_err(BootError::Image)?;

    if let Some(Val::I32(place)) =
        instance.get_global(&mut *store, PLACE_EXPORT).map(|global| global.get(&mut *store))
    {
        let at = (place as u32 as usize).saturating_add(translate::Place::FRONT_AT);
        let word = memory.data_mut(&mut *store).get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        let word = word.ok_or_else(|| {
            BootError::Contract(PLACE_EXPORT, "it lies outside of memory".to_owned())
        })?;
        *word = ((front - range.start) as u32).to_le_bytes();
    }

    let encoded = config.encode();
    let len = u32::try_from(encoded.len()).map_err(|_| BootError::NoRoom(encoded.len() as u64))?;
    let reserve = reserver(store, instance, "boxer-config-reserve")?;
    let place = reserved(store, memory, "boxer-config-reserve", &reserve, len)?;
    memory.data_mut(&mut *store)[place.start..place.end].copy_from_slice(&encoded);

    let frozen = match u32::try_from(frozen) {
        Ok(0) => None,
        Ok(len) => {
            let reserve = reserver(store, instance, "boxer-frozen-reserve")?;
            Some(reserved(store, memory, "boxer-frozen-reserve", &reserve, len)?)
        }
        Err(_) => return Err(BootError::NoRoom(frozen as u64)),
    };
    let init: TypedFunc<(), ()> = instance
        .get_typed_func(&mut *store, "wizer-initialize")
        .map_err(|error| BootError::Contract("wizer-initialize", error.to_string()))?;
    init.call(&mut *store, ()).map_err(|error| BootError::Init(format!("{error:#}")))?;
    Ok(Reserved { image: range, frozen })
}

type Reserve = TypedFunc<u32, u32>;

fn reserver<T: Send>(
    store: &mut Store<T>,
    instance: Instance,
    name: &'static str,
) -> Result<Reserve, BootError> {
    instance
        .get_typed_func(store, name)
        .map_err(|error| BootError::Contract(name, error.to_string()))
}

/// Calls a reserving export and checks its answer against the memory.
fn reserved<T: Send>(
    store: &mut Store<T>,
    memory: Memory,
    name: &'static str,
    reserve: &Reserve,
    len: u32,
) -> Result<ImageRange, BootError> {
    let start = reserve
        .call(&mut *store, len)
        .map_err(|error| BootError::Init(format!("{name}: {error:#}")))? as usize;
    let end = start + len as usize;
    if start == 0 || end > memory.data_size(&mut *store) {
        return Err(BootError::NoRoom(u64::from(len)));
    }
    Ok(ImageRange { start, end })
}
