//! From a core module for WASI preview 1 to a component for preview 2.

use crate::{CONFIG_SECTION, FROZEN_SECTION, FrozenReport, LinkError};
use std::io::Write;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasm_encoder::{CustomSection, Section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The largest core module that engines accept inside a component, in bytes.
const MAX_CORE: usize = 1 << 30;

/// The import through which a component ends with a status: interface and function.
pub const EXIT: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");

/// What the core module imports besides preview 1, for [`ComponentEncoder`] to know its types.
const WORLD: &str = "\
package boxer:guest;
world guest { import wasi:cli/exit@0.2.12; }
package wasi:cli@0.2.12 {
  interface exit {
    exit: func(status: result);
    exit-with-code: func(status-code: u8);
  }
}
";

/// Wraps a core module with the adapter for commands.
pub fn encode(mut core: Vec<u8>) -> Result<Vec<u8>, LinkError> {
    if core.len() > MAX_CORE {
        let text = format!(
            "the core module has {} bytes, a component can hold {MAX_CORE}; use the module output",
            core.len()
        );
        return Err(LinkError::Component(text));
    }
    describe_imports(&mut core).map_err(|error| LinkError::Component(error.to_string()))?;
    ComponentEncoder::default()
        .validate(false) // the input was made here; validating would read the whole image again
        .module(&core)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| LinkError::Component(format!("{error:#}")))
}

fn describe_imports(core: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("guest.wit", WORLD)?;
    let world = resolve.select_world(&[package], None)?;
    embed_component_metadata(core, &resolve, world, StringEncoding::UTF8)?;
    Ok(())
}

/// Writes a component with the image configuration as its last section.
pub fn write(
    component: &[u8],
    image_config_json: Option<&[u8]>,
    report: Option<FrozenReport>,
    out: &mut dyn Write,
) -> Result<(), LinkError> {
    let mut config = Vec::new();
    if let Some(json) = image_config_json {
        CustomSection { name: CONFIG_SECTION.into(), data: json.into() }.append_to(&mut config);
    }
    if let Some(report) = report {
        let text = report.to_json();
        CustomSection { name: FROZEN_SECTION.into(), data: text.as_bytes().into() }
            .append_to(&mut config);
    }
    out.write_all(component)
        .and_then(|()| out.write_all(&config))
        .and_then(|()| out.flush())
        .map_err(|source| LinkError::Io { what: "write the component", source })
}
