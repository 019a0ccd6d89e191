//! A tiny pack with fresh weights, and everything that can be wrong with it.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use tempfile::TempDir;

use super::*;
use crate::craft::Task;
use crate::dldm::{self, DldmConfig};
use crate::media::FrameSize;
use crate::policy::{PLANNER_KEYS, PlannerConfig};
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS, VdmConfig};
use crate::weights::{Precision, Weights};

/// A pack of the small pack's structure, narrow enough for tests: 32x48 frames, 5 frames a clip.
pub(crate) fn tiny(folder: &Path) -> Pack {
    let (manifest, contents) = tiny_parts();
    Pack::write(folder, manifest, &contents).unwrap()
}

/// Its manifest and fresh weights.
pub(crate) fn tiny_parts() -> (Manifest, PackContents) {
    let device = Device::flex();
    let dldm = DldmConfig {
        channels: 8,
        channels_mult: vec![1, 2],
        z_channels: 16,
        connector_channels: 16,
        ..DldmConfig::craft_mini()
    };
    let mut vdm = VdmConfig::craft_mini();
    vdm.vae.dim = 8;
    for dit in [&mut vdm.dit, &mut vdm.control.dit] {
        dit.model_channels = 24;
        dit.num_blocks = 2;
        dit.num_heads = 2;
        dit.adaln_lora_dim = 4;
        dit.crossattn_emb_channels = 16;
        dit.context_tokens = 4;
    }
    vdm.control.num_blocks = 1;
    let mut planner = PlannerConfig::craft_mini(dldm.feature_channels());
    planner.feature_size = [2, 3];
    planner.policy.layers = 1;
    let mut contents = PackContents {
        dldm: Weights::of(&dldm.init(&device), &dldm::KEYS),
        policy: Some(Weights::of(&planner.init(&device), &PLANNER_KEYS)),
        ..PackContents::default()
    };
    let networks = vdm.init(&device);
    contents.vae = Some(Weights::of(&networks.vae, &VAE_KEYS));
    contents.dit = Some(Weights::of(&networks.dit, &DIT_KEYS));
    contents.control = Some(Weights::of(&networks.control, &CONTROL_KEYS));
    let manifest = Manifest {
        format: FORMAT,
        name: "tiny".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        trained: "not at all".to_owned(),
        tasks: vec![TaskEntry { task: Task::Airplane, clips: 7 }],
        frame_size: FrameSize { height: 32, width: 48 },
        coarse_size: FrameSize { height: 16, width: 24 },
        frames_per_clip: 5,
        fps: 8.0,
        dldm,
        vdm: Some(vdm),
        planner: Some(planner),
        sampler: SamplerDefaults { temperature: 0.7, top_p: 0.9, refine_steps: 3, guidance: 0.0 },
        files: Default::default(),
    };
    (manifest, contents)
}

fn written() -> (TempDir, Pack) {
    let dir = tempfile::tempdir().unwrap();
    let pack = tiny(dir.path());
    (dir, pack)
}

fn refused(folder: &Path) -> String {
    let error = Pack::open(folder).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one sentence: {error}");
    error
}

fn edit_manifest(folder: &Path, from: &str, to: &str) {
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in the manifest");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_pack_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, contents) = tiny_parts();
    let written = Pack::write(dir.path(), manifest, &contents).unwrap();
    let opened = Pack::open(dir.path()).unwrap();
    assert_eq!(opened.id, written.id);
    assert_eq!(opened.manifest, written.manifest);
    assert_eq!(opened.manifest.files.len(), 5);
    assert!(opened.reference().unwrap().is_none());
    let networks = opened.load(&Device::flex()).unwrap();
    // Half precision keeps 11 bits.
    let found = Weights::of(&networks.dldm, &dldm::KEYS);
    assert_eq!(found.len(), contents.dldm.len());
    for (key, tensor) in contents.dldm.iter() {
        let found = &found.get(key).unwrap().values;
        for (a, b) in found.iter().zip(&tensor.values) {
            assert!((a - b).abs() <= b.abs() / 1024.0 + 1e-7, "{key}: {a} instead of {b}");
        }
    }
}

#[test]
fn the_embedded_pack_opens_and_loads() {
    let pack = Pack::embedded().unwrap();
    let networks = pack.load(&Device::flex()).unwrap();
    assert!(networks.vdm.is_some() && networks.planner.is_some());
    pack.reference().unwrap();
    let bytes: u64 = pack.manifest.files.values().map(|f| f.bytes).sum();
    assert!(bytes < 24_000_000, "the embedded pack has {bytes} bytes");
}

#[test]
fn no_folder_and_a_folder_of_something_else() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(&dir.path().join("nowhere")).contains("lacks the file manifest.json"));
    assert!(refused(dir.path()).contains("it is no pack"));
    fs::write(dir.path().join(MANIFEST), r#"{"name": "a web page"}"#).unwrap();
    assert!(refused(dir.path()).contains("not one of ours"));
}

#[test]
fn a_missing_file() {
    let (dir, _) = written();
    fs::remove_file(dir.path().join(DIT)).unwrap();
    assert!(refused(dir.path()).contains("lacks the file dit.safetensors"));
}

#[test]
fn a_file_with_one_wrong_byte() {
    let (dir, _) = written();
    let path = dir.path().join(VAE);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("vae.safetensors") && error.contains("hash"), "{error}");
}

#[test]
fn a_truncated_file_and_a_truncated_manifest() {
    let (dir, _) = written();
    let path = dir.path().join(POLICY);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("policy.safetensors") && error.contains("bytes instead of"), "{error}");
    let manifest = fs::read(dir.path().join(MANIFEST)).unwrap();
    fs::write(dir.path().join(MANIFEST), &manifest[..manifest.len() / 2]).unwrap();
    assert!(refused(dir.path()).contains("damaged"));
}

#[test]
fn a_newer_format_whatever_else_it_holds() {
    let (dir, _) = written();
    fs::write(dir.path().join(MANIFEST), r#"{"format": 2, "surprise": true}"#).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("newer version (format 2"), "{error}");
}

#[test]
fn sizes_that_contradict_each_other() {
    let cases = [
        ("\"frames_per_clip\": 5", "\"frames_per_clip\": 6", "frames_per_clip"),
        ("\"height\": 16", "\"height\": 12", "coarse_size"),
        ("\"height\": 32", "\"height\": 36", "frame_size"),
        ("\"connector_channels\": 16", "\"connector_channels\": 17", "connector"),
        ("\"vocabulary\": 1000", "\"vocabulary\": 999", "vocabulary"),
        ("\"fps\": 8.0", "\"fps\": 0.0", "frame rate"),
    ];
    for (from, to, said) in cases {
        let (dir, _) = written();
        edit_manifest(dir.path(), from, to);
        let error = refused(dir.path());
        assert!(error.contains("contradict") && error.contains(said), "{to}: {error}");
    }
}

#[test]
fn a_file_outside_the_folder_is_never_read() {
    let (dir, _) = written();
    edit_manifest(dir.path(), "\"dit.safetensors\"", "\"../dit.safetensors\"");
    assert!(refused(dir.path()).contains("which no pack has"));
}

#[test]
fn weights_of_other_sizes_are_refused_while_loading() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, mut contents) = tiny_parts();
    let other = DldmConfig { z_channels: 8, ..manifest.dldm.clone() };
    contents.dldm = Weights::of(&other.init(&Device::flex()), &dldm::KEYS);
    let pack = Pack::write(dir.path(), manifest, &contents).unwrap();
    let error = pack.load(&Device::flex()).err().unwrap().to_string();
    assert!(error.contains("dldm.safetensors") && error.contains("shape"), "{error}");
}

#[test]
fn a_network_without_its_weights_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, mut contents) = tiny_parts();
    contents.control = None;
    let pack = Pack::write(dir.path(), manifest, &contents).unwrap();
    let error = pack.load(&Device::flex()).err().unwrap().to_string();
    assert!(error.contains("lacks the file control.safetensors"), "{error}");
}

#[test]
fn a_pack_without_refiner_and_policy_still_paints() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, contents) = tiny_parts();
    let manifest = Manifest { vdm: None, planner: None, ..manifest };
    let contents = PackContents { dldm: contents.dldm, ..PackContents::default() };
    let pack = Pack::write(dir.path(), manifest, &contents).unwrap();
    let networks = pack.load(&Device::flex()).unwrap();
    assert!(networks.vdm.is_none() && networks.planner.is_none());
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, mut contents) = tiny_parts();
    let (key, shape) =
        contents.dldm.iter().map(|(k, t)| (k.to_owned(), t.shape.clone())).next().unwrap();
    let len = shape.iter().product();
    contents.dldm.insert(key, shape, vec![f32::NAN; len]);
    assert!(contents.dldm.to_safetensors(Precision::F16).is_ok());
    let pack = Pack::write(dir.path(), manifest, &contents).unwrap();
    let error = pack.load(&Device::flex()).err().unwrap().to_string();
    assert!(error.contains("not finite"), "{error}");
}
