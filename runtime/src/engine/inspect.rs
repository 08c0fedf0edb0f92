//! The deploy check: what a file is, what it imports and exports, before any of it is compiled.
//!
//! It reads bytes from anyone. It must never compile or run them, and takes time linear
//! in their number.

use std::collections::BTreeSet;

use serde::Serialize;
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload};

use super::allow::{EXPORTS, STEP_PACKAGE, STEP_VERSION, allowed};

/// Deepest nesting of components in a component.
const DEPTH: usize = 64;

/// What a component is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Bytes.
    pub size: usize,
    /// The interfaces and functions that it imports.
    pub imports: Vec<String>,
    /// The functions and interfaces that it exports.
    pub exports: Vec<String>,
    /// Imports that no step may have.
    pub forbidden: Vec<String>,
    /// Functions of the world `step` that it does not export.
    pub missing: Vec<String>,
    /// The version of `keyhole:step` that it was built for, if it imports any of it.
    pub contract: Option<String>,
    /// What made it, as far as it says: `Rust 1.95.0`, `componentize-js 0.23.0`.
    pub made_by: Vec<String>,
}

/// Why a file can't be deployed as a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// No WebAssembly in any form.
    #[error("this is not a WebAssembly component: it does not begin with the bytes \\0asm")]
    NotWasm,
    /// Text.
    #[error(
        "this is WebAssembly text, or source; turn it into a component first, with `keyhole build` or `wasm-tools`"
    )]
    Text,
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component; build for the target wasm32-wasip2 (`keyhole build` does), \
         or turn it into a component with `wasm-tools component new`"
    )]
    CoreModule,
    /// The file ends before it should.
    #[error("the component is cut short: {size} bytes are there, and more should follow; copy or build it again")]
    Truncated {
        /// Bytes that are there.
        size: usize,
    },
    /// Not valid.
    #[error("the component is not valid: {message} (at byte {offset}); build it again")]
    Invalid {
        /// What the parser says.
        message: String,
        /// Where.
        offset: usize,
    },
    /// Too large to be looked at.
    #[error(
        "the component has {size} bytes; {limit} are the limit. Build it in release mode, and strip debug information"
    )]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Imports that are not on the allow-list.
    #[error(
        "the component imports what no step may: {}. A step reaches the world through wasi:http alone; \
         remove what needs the import, or a dependency that does",
        .0.join(", ")
    )]
    Forbidden(Vec<String>),
    /// Another version of the contract.
    #[error(
        "the component was built for keyhole:step@{found}; this Keyhole speaks keyhole:step@{STEP_VERSION}. Build it against that version"
    )]
    Version {
        /// What it was built for.
        found: String,
    },
    /// Not a step.
    #[error(
        "the component is no step: it does not export {}. It must export the world `step` of keyhole:step@{STEP_VERSION}",
        .0.join(", ")
    )]
    NotAStep(Vec<String>),
}

impl Inspection {
    /// Whether it can be deployed.
    pub fn check(&self) -> Result<(), InspectError> {
        if let Some(found) = &self.contract
            && !allowed(&format!("{STEP_PACKAGE}/types@{found}"))
        {
            return Err(InspectError::Version { found: found.clone() });
        }
        if !self.forbidden.is_empty() {
            return Err(InspectError::Forbidden(self.forbidden.clone()));
        }
        if !self.missing.is_empty() {
            return Err(InspectError::NotAStep(self.missing.clone()));
        }
        Ok(())
    }
}

/// Looks into a file. Whether it may be deployed is for [`Inspection::check`] to say.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if !bytes.starts_with(b"\0asm") {
        let text = std::str::from_utf8(&bytes[..bytes.len().min(512)]).is_ok() && !bytes.is_empty();
        let truncated = !bytes.is_empty() && b"\0asm".starts_with(bytes);
        return Err(match (truncated, text) {
            (true, _) => InspectError::Truncated { size: bytes.len() },
            (false, true) => InspectError::Text,
            (false, false) => InspectError::NotWasm,
        });
    }
    let mut found = Inspection { size: bytes.len(), ..Inspection::default() };
    let mut made_by = BTreeSet::new();
    // Depth 0 is the component itself; what is nested in it has its own imports, which the
    // component around it must satisfy.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(&error, bytes))?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(InspectError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                if depth > DEPTH {
                    return Err(InspectError::Invalid {
                        message: format!("components are nested more than {DEPTH} deep"),
                        offset: 0,
                    });
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| invalid(&error, bytes))?;
                    // A type is a name for something, and gives nothing.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        found.import(import.name.name);
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| invalid(&error, bytes))?;
                    if matches!(export.kind, ComponentExternalKind::Func | ComponentExternalKind::Instance) {
                        found.exports.push(export.name.name.to_owned());
                    }
                }
            }
            Payload::CustomSection(section) if section.name() == "producers" => {
                made_by.extend(producers(section.data(), section.data_offset()));
            }
            _ => {}
        }
    }
    found.made_by = made_by.into_iter().collect();
    found.missing = EXPORTS
        .iter()
        .filter(|name| !found.exports.iter().any(|export| export == *name))
        .map(|name| (*name).to_owned())
        .collect();
    Ok(found)
}

impl Inspection {
    fn import(&mut self, name: &str) {
        if let Some((interface, version)) = name.split_once('@')
            && interface.split_once('/').is_some_and(|(package, _)| package == STEP_PACKAGE)
        {
            self.contract.get_or_insert_with(|| version.to_owned());
        }
        if !allowed(name) {
            self.forbidden.push(name.to_owned());
        }
        self.imports.push(name.to_owned());
    }
}

fn invalid(error: &wasmparser::BinaryReaderError, bytes: &[u8]) -> InspectError {
    // The parser asks for more only where the file ends.
    if error.message().contains("unexpected end") || error.offset() >= bytes.len() {
        return InspectError::Truncated { size: bytes.len() };
    }
    InspectError::Invalid { message: error.message().to_owned(), offset: error.offset() }
}

/// Languages and tools of a producers section that a person would know.
fn producers(data: &[u8], offset: usize) -> Vec<String> {
    let mut made_by = Vec::new();
    let reader = wasmparser::BinaryReader::new(data, offset);
    let Ok(section) = wasmparser::ProducersSectionReader::new(reader) else { return made_by };
    for field in section.into_iter().flatten() {
        if !matches!(field.name, "language" | "processed-by") {
            continue;
        }
        for value in field.values.into_iter().flatten().take(16) {
            if matches!(value.name, "wit-component" | "wit-bindgen-rust" | "wit-bindgen-c" | "clang" | "LLD") {
                continue;
            }
            let text = format!("{} {}", value.name, value.version);
            made_by.push(text.trim().chars().take(100).collect());
        }
    }
    made_by
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_file_that_is_no_component_is_told_what_it_is() {
        assert_eq!(inspect(b""), Err(InspectError::NotWasm));
        assert_eq!(inspect(b"\x7fELF\x02\x01\x01\xff\xfe"), Err(InspectError::NotWasm));
        assert_eq!(inspect(b"export const run = () => 1"), Err(InspectError::Text));
        assert_eq!(inspect(&component("(module)")), Err(InspectError::CoreModule));
        assert!(InspectError::CoreModule.to_string().contains("wasm32-wasip2"));
    }

    #[test]
    fn a_component_cut_short_anywhere_is_refused() {
        let whole = component(
            r#"(component (import "wasi:cli/exit@0.2.0" (instance)) (core module (func (export "f")) (data "abc")))"#,
        );
        inspect(&whole).unwrap();
        for end in 1..whole.len() {
            let result = inspect(&whole[..end]);
            match result {
                Err(InspectError::Truncated { .. }) => {}
                // A cut between two sections is a component with fewer of them: no step.
                Ok(found) => assert!(found.check().is_err(), "{end}"),
                Err(other) => panic!("{end}: {other}"),
            }
        }
        let mut broken = whole;
        broken[8] = 0xff;
        assert!(matches!(inspect(&broken), Err(InspectError::Invalid { .. } | InspectError::Truncated { .. })));
    }

    #[test]
    fn imports_that_are_not_on_the_list_are_each_named() {
        let found = inspect(&component(
            r#"(component
                (import "wasi:cli/environment@0.2.3" (instance))
                (import "wasi:keyvalue/store@0.2.0-draft" (instance))
                (import "wasi:cli/environment@0.3.0" (instance))
                (import "acme:secrets/read@1.0.0" (instance))
                (import "wasi:http/incoming-handler@0.2.0" (instance))
                (import "bare" (func)))"#,
        ))
        .unwrap();
        let forbidden = [
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:cli/environment@0.3.0",
            "acme:secrets/read@1.0.0",
            "wasi:http/incoming-handler@0.2.0",
            "bare",
        ];
        assert_eq!(found.forbidden, forbidden);
        let message = found.check().unwrap_err().to_string();
        assert!(forbidden.iter().all(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn an_import_hidden_in_a_nested_component_is_not_an_import() {
        let found = inspect(&component(
            r#"(component (component (import "acme:x/y@1.0.0" (instance))) (core module (import "a" "b" (func))))"#,
        ))
        .unwrap();
        assert!(found.imports.is_empty());
    }

    #[test]
    fn another_version_of_the_contract_is_named() {
        let found = inspect(&component(r#"(component (import "keyhole:step/flow@0.2.0" (instance)))"#)).unwrap();
        let message = found.check().unwrap_err().to_string();
        assert!(message.contains("keyhole:step@0.2.0") && message.contains("speaks keyhole:step@0.1.0"), "{message}");
    }

    #[test]
    fn what_exports_no_step_is_told_what_is_missing() {
        let message = inspect(&component("(component)")).unwrap().check().unwrap_err().to_string();
        assert!(message.contains("definition, configure, run"), "{message}");
    }
}
