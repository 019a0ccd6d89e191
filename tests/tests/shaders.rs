//! Every shader of the window is valid and can be translated for all three graphics interfaces.

use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

fn shaders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the shaders lie beside the tests")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wgsl"))
        // The engine's, which kernels.rs looks at.
        .filter(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            name != "attention.wgsl" && !name.ends_with("_units.wgsl")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 2, "the window has a frame and a scatter shader, found {files:?}");
    files
}

fn validated(path: &Path) -> (naga::Module, ModuleInfo) {
    let source = std::fs::read_to_string(path).expect("a readable shader");
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{}: {}", path.display(), e.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", path.display(), e.emit_to_string(&source)));
    (module, info)
}

#[test]
fn shaders_have_the_entry_points_that_the_window_names() {
    for path in shaders() {
        let (module, _) = validated(&path);
        let mut names: Vec<&str> =
            module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["fragment", "vertex"], "{}", path.display());
    }
}

#[test]
fn shaders_translate_to_spir_v() {
    for path in shaders() {
        let (module, info) = validated(&path);
        let words = spv::write_vec(&module, &info, &spv::Options::default(), None)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(words[0], 0x0723_0203, "{}: not SPIR-V", path.display());
    }
}

#[test]
fn shaders_translate_to_metal() {
    for path in shaders() {
        let (module, info) = validated(&path);
        let (text, _) = msl::write_string(
            &module,
            &info,
            &msl::Options::default(),
            &msl::PipelineOptions::default(),
        )
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(text.contains("fragment"), "{}: no fragment function", path.display());
    }
}

#[test]
fn shaders_translate_to_hlsl() {
    for path in shaders() {
        let (module, info) = validated(&path);
        let mut text = String::new();
        let options = hlsl::Options::default();
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(text.contains("SV_Target"), "{}: no colour output", path.display());
    }
}
