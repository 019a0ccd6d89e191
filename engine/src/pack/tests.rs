//! A tiny pack with fresh weights, and everything that can be wrong with it.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Distribution, Int, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::craft::Task;
use crate::dldm::{self, DldmConfig};
use crate::gpu::{self, DeviceChoice};
use crate::media::FrameSize;
use crate::policy::{CodeSampling, PLANNER_KEYS, PlannerConfig};
use crate::rollout::PackSummary;
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS, VdmConfig};
use crate::weights::{HostTensor, Precision, Weights};

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

/// The manifest of [`tiny`] with the value at these places changed, if it still is one.
fn edited(paths: &[&str], value: &Value) -> Option<Manifest> {
    let mut json = serde_json::to_value(tiny_parts().0).unwrap();
    for path in paths {
        *json.pointer_mut(path).unwrap() = value.clone();
    }
    Manifest::parse(json.to_string().as_bytes(), "x").ok()
}

#[test]
fn what_networks_assert_is_told_before_they_are_made() {
    let cases = [
        ("/dldm/channels_mult", json!([]), "channels_mult is 0 and must be 1 to 8"),
        ("/dldm/channels_mult/0", json!(0), "channels_mult is 0 and must be 1 to 1024"),
        ("/dldm/channels_mult/1", json!(3), "the first frame's features"),
        ("/dldm/channels", json!(9), "a multiple of 8"),
        ("/dldm/patch_size", json!(3), "a power of two"),
        ("/dldm/spatial_compression", json!(12), "times a power of two"),
        ("/dldm/spatial_compression", json!(2), "times a power of two"),
        ("/dldm/spatial_compression", json!(16), "halves more often"),
        ("/dldm/levels", json!([]), "numbers above 1"),
        ("/dldm/levels/0", json!(1), "numbers above 1"),
        ("/dldm/qformer", json!("QFormerMF"), "the same queries for every step"),
        ("/dldm/decoder_places", json!(1), "decoder_places is 1 and must be 2"),
        ("/vdm/vae/temporal_downsample", json!([true]), "one entry less"),
        ("/vdm/vae/latent_mean", json!([0.0]), "as many entries"),
        ("/vdm/vae/latent_std", json!([1.0]), "as many entries"),
        ("/vdm/vae/latent_std/0", json!(0.0), "above zero"),
        ("/vdm/vae/z_dim", json!(31), "as many entries"),
        ("/vdm/vae/temporal_window", json!(0), "temporal_window is 0"),
        ("/vdm/vae/temporal_window", json!(6), "temporal_window must be a multiple"),
        ("/vdm/vae/dim", json!(0), "vae.dim is 0"),
        ("/vdm/dit/patch", json!(0), "dit.patch is 0"),
        ("/vdm/dit/patch", json!(3), "frame_size"),
        ("/vdm/dit/num_heads", json!(0), "num_heads is 0"),
        ("/vdm/dit/num_heads", json!(5), "a multiple of twice num_heads"),
        ("/vdm/dit/num_heads", json!(8), "a multiple of twice num_heads"),
        ("/vdm/dit/latent_channels", json!(16), "z_dim"),
        ("/vdm/dit/mlp_ratio", json!(0.01), "mlp_ratio"),
        ("/vdm/control/dit/num_heads", json!(4), "the same as dit"),
        ("/vdm/control/num_blocks", json!(3), "control.num_blocks is 3 and must be 1 to 2"),
        ("/vdm/control/hint_channels", json!(3), "hint_channels"),
        ("/vdm/sigmas/min", json!(0.0), "sigmas.min"),
        ("/planner/policy/kv_heads", json!(4), "a multiple of policy.kv_heads"),
        ("/planner/policy/head_dim", json!(31), "even"),
        ("/planner/policy/dim", json!(193), "even"),
        ("/planner/policy/embeddings", json!(1000), "for the token that begins"),
        ("/planner/policy/max_tokens", json!(114), "than its grids have places"),
        ("/planner/policy/cross_attention", json!(null), "cross_attention"),
        ("/planner/policy/norm_epsilon", json!(0.0), "norm_epsilon"),
        ("/planner/feature_size/0", json!(3), "the first frame's features"),
        ("/sampler/refine_steps", json!(0), "refine_steps is 0"),
        ("/tasks/0/clips", json!(0), "the clips of a task is 0"),
        ("/frame_size/height", json!(0), "frame_size.height is 0"),
    ];
    for (path, value, said) in cases {
        let manifest = edited(&[path], &value).expect("still a manifest");
        let error = manifest.check().expect_err(path).to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{path} {value}: {error}");
    }
}

/// Pointers to all values but texts, of long lists to the first entry alone.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| pointers(value, &format!("{path}/{name}"), found);
    match value {
        Value::Object(entries) => entries.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(items) => {
            let shown = if items.len() > 4 { 1 } else { items.len() };
            items[..shown].iter().enumerate().for_each(|(i, item)| below(&i.to_string(), item));
        }
        _ => {}
    }
    if !value.is_string() && !path.is_empty() {
        found.push(path.to_owned());
    }
}

/// All networks of these sizes compute once.
fn compute(manifest: &Manifest) {
    let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
    let networks = Networks::drawn(manifest, &chosen).unwrap();
    let video = |frames, size: FrameSize| {
        let shape = [1, 3, frames, size.height as usize, size.width as usize];
        Tensor::<5>::random(shape, Distribution::Uniform(-1.0, 1.0), &chosen.device)
    };
    let (count, frames) = (manifest.codes_per_clip(), manifest.frames_per_clip);
    let codes = networks.codes(&vec![1; count]);
    assert_eq!(networks.dldm.encode(video(frames, manifest.coarse_size)).z.dims()[2], count);
    let first = video(1, manifest.coarse_size);
    let coarse = networks.dldm.decode_from_frame(first.clone(), codes.clone());
    let tokens = networks.dldm.connect(codes);
    if let Some(vdm) = &networks.vdm {
        let from = vdm.conditioning(video(1, manifest.frame_size), coarse, tokens);
        let latents = from.hint.clone().unwrap();
        let clean = vdm.denoise(&latents, &[vec![1.0]], &from);
        assert_eq!(vdm.vae.decode(clean).dims()[2], frames);
    }
    if let Some(planner) = &networks.planner {
        let sampling = CodeSampling { temperature: 0.0, top_p: 1.0, seed: 0 };
        let features = networks.dldm.encode_frame(first);
        let go_on = |_| ControlFlow::Continue(());
        planner.predict(features, Task::Airplane, &[], &[], count, sampling, go_on).unwrap();
    }
}

#[test]
fn no_hand_edited_number_brings_the_program_down() {
    let mut paths = Vec::new();
    pointers(&serde_json::to_value(tiny_parts().0).unwrap(), "", &mut paths);
    assert!(paths.len() > 90, "{paths:?}");
    let mut refused = 0;
    let numbers = [json!(0), json!(3), json!(1_u64 << 40), json!(-1.5), json!(1e300)];
    let others = [json!([]), json!(true), json!(false), json!(null)];
    for path in paths {
        // The control branch says once more what the transformer is.
        let again = path.strip_prefix("/vdm/dit").map(|rest| format!("/vdm/control/dit{rest}"));
        let paths: Vec<&str> =
            [Some(&path), again.as_ref()].into_iter().flatten().map(|p| &**p).collect();
        for value in numbers.iter().chain(&others) {
            let Some(manifest) = edited(&paths, value) else { continue };
            // Shown when what follows panics.
            println!("{path} {value}");
            if let Err(error) = manifest.check() {
                assert!(!error.to_string().contains('\n'), "{error}");
                refused += 1;
                continue;
            }
            Estimate::of(&manifest, Job::default());
            if ["/dldm", "/vdm", "/planner", "/frame"].iter().any(|part| path.starts_with(part)) {
                compute(&manifest);
            }
        }
    }
    assert!(refused > 150, "only {refused} were refused");
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

/// What is in it, the policy and the manifest left out.
fn files_of(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with(POLICY) && !path.ends_with(MANIFEST))
        .map(|path| (path.file_name().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_policy_is_attached_to_a_copy_of_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (dir.path().join("own"), dir.path().join("other"));
    let (manifest, contents) = tiny_parts();
    let policy = contents.policy.clone().unwrap();
    let planner = manifest.planner.clone();
    let negative = HostTensor { shape: vec![1, 2, 16], values: vec![0.1; 32] };
    let contents = PackContents { policy: None, negative: Some(negative), ..contents };
    let manifest = Manifest { planner: None, ..manifest };
    let without = Pack::write(&own, manifest, &contents).unwrap();
    let rollouts = [("crane".to_owned(), vec![vec![1, 2, 3, 999]])].into();
    let codes = RecordedCodes { source: "here".to_owned(), rollouts };
    fs::write(own.join(CODES), serde_json::to_vec(&codes).unwrap()).unwrap();
    // A file in single precision stays so.
    let dldm = contents.dldm.to_safetensors(Precision::F32).unwrap();
    fs::write(own.join(DLDM), dldm).unwrap();
    let files = [CODES, CONTROL, DIT, DLDM, NEGATIVE, VAE];
    let go_on = &mut |_: &'static str, _, _| ControlFlow::Continue(());
    Pack::seal(&own, without.manifest, &files, go_on).unwrap();
    let without = Pack::open(&own).unwrap();

    let manifest = Manifest { planner, ..without.manifest.clone() };
    let with = without.with_policy(&other, manifest.clone(), &policy).unwrap();
    assert_eq!(files_of(&other), files_of(&own));
    assert_eq!(files_of(&own).len(), files.len());
    assert_eq!(Manifest { files: Default::default(), ..with.manifest.clone() }, {
        Manifest { files: Default::default(), ..manifest.clone() }
    });
    let mut found = with.manifest.files.clone();
    assert!(found.remove(POLICY).is_some());
    assert_eq!(found, without.manifest.files);
    assert_eq!(with.recorded_codes().unwrap(), Some(codes));
    let networks = with.load(&Device::flex()).unwrap();
    assert!(networks.planner.is_some() && networks.negative.is_some());
    assert!(PackSummary::of(&with, String::new()).unwrap().has_policy);

    // Once more onto the copy, which had one by then, and never into itself.
    let again = with.with_policy(&dir.path().join("again"), manifest.clone(), &policy).unwrap();
    assert_eq!(again.id, with.id);
    let error = without.with_policy(&own.join("."), manifest.clone(), &policy).unwrap_err();
    assert!(error.to_string().contains("another folder"), "{error}");
    let mut unfit = manifest;
    unfit.planner.as_mut().unwrap().feature_size = [4, 6];
    let error = without.with_policy(&dir.path().join("unfit"), unfit, &policy).unwrap_err();
    assert!(error.to_string().contains("features"), "{error}");
    assert!(!dir.path().join("unfit").exists());
}

#[test]
fn a_policy_of_the_releases_sizes_scores_its_codes() {
    let release = Manifest::videoworld2();
    let config = release.small_planner(release.longest_task());
    assert_eq!(config.max_codes(), 7 * 92);
    Manifest { planner: Some(config.clone()), ..release.clone() }.check().unwrap();
    let device = Device::flex();
    let planner = config.init(&device);
    let codes = Tensor::<2, Int>::full([1, 93], 999, &device);
    let features = Tensor::<5>::ones([1, 512, 1, 15, 26], &device);
    let logits = planner.logits(codes, features, Tensor::from_data([4], &device));
    assert_eq!(logits.dims(), [1, 93, 1000]);
    let mini = PlannerConfig::craft_mini(512);
    assert_eq!((config.policy.layers, config.policy.dim), (mini.policy.layers, mini.policy.dim));
    // Longer rollouts than training has room for are cut to whole clips; one clip there is always.
    assert_eq!(release.small_planner(1000).max_codes(), 22 * 92);
    let long = Manifest { frames_per_clip: 4001, ..release };
    assert_eq!(long.small_planner(7).max_codes(), 4000);
    let mini = Pack::embedded().unwrap().manifest;
    assert_eq!(Some(mini.small_planner(mini.longest_task())), mini.planner);
}
