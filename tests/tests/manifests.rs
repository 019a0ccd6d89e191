//! The networks at their released sizes have exactly the tensors of the released files.
//!
//! `fixtures/manifests` lists key and shape of every tensor; no weights are created for this.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use engine::dldm::{self, DldmConfig};
use engine::policy::{self, PolicyConfig};
use engine::vdm::{CONTROL_KEYS, ControlConfig, DIT_KEYS, DitConfig, VAE_KEYS, VideoVaeConfig};
use engine::weights::{KeyTable, shapes_of};
use serde_json::Value;

type Shapes = BTreeMap<String, Vec<usize>>;

fn manifest(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests");
    let text = std::fs::read_to_string(folder.join(file)).expect("the manifest is committed");
    serde_json::from_str(&text).expect("the manifest is JSON")
}

fn listed(keys: &Value) -> Shapes {
    let shape = |entry: &Value| {
        let shape = entry["shape"].as_array().expect("every key has a shape");
        let size = |size: &Value| size.as_u64().expect("sizes are whole numbers") as usize;
        shape.iter().map(size).collect()
    };
    let keys = keys.as_object().expect("keys are an object");
    keys.iter().map(|(k, v)| (k.clone(), shape(v))).collect()
}

fn assert_same(found: &Shapes, wanted: &Shapes) {
    let differing = |(key, shape): &(&String, &Vec<usize>)| wanted.get(*key) != Some(*shape);
    let wrong: Vec<_> = found.iter().filter(differing).take(5).collect();
    assert!(wrong.is_empty(), "not in the released file: {wrong:?}");
    let missing: Vec<_> = wanted.keys().filter(|k| !found.contains_key(*k)).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn the_4b_and_5b_policies_have_the_released_tensors() {
    let manifest = manifest("cosmos_ar_4b.json");
    let mut wanted = listed(&manifest["keys"]);
    assert_eq!(wanted.len(), 179);
    let device = Device::flex();
    let base = PolicyConfig::cosmos_ar_4b().init(&device);
    assert_same(&shapes_of(&base, &policy::KEYS), &wanted);

    let variant = &manifest["variant_5b"];
    wanted.extend(listed(&variant["extra_keys"]));
    wanted.extend(listed(&variant["changed_keys"]));
    assert_eq!(wanted.len(), 291);
    let variant = PolicyConfig::cosmos_ar_5b().init(&device);
    assert_same(&shapes_of(&variant, &policy::KEYS), &wanted);
}

#[test]
fn the_latent_dynamics_model_has_the_released_tensors() {
    let manifest = manifest("dldm_tokenizer.json");
    let wanted = listed(&manifest["keys"]);
    assert_eq!(wanted.len(), 467);
    let network = DldmConfig::videoworld2().init(&Device::flex());
    assert_same_but_ignored(&shapes_of(&network, &dldm::KEYS), &wanted, &dldm::KEYS);
}

/// As [`assert_same`], but keys of the release that the table says to ignore need not be there.
fn assert_same_but_ignored(found: &Shapes, wanted: &Shapes, keys: &KeyTable) {
    let mut wanted = wanted.clone();
    wanted.retain(|key, _| keys.ignores(key).is_none());
    assert_same(found, &wanted);
}

#[test]
fn the_video_vae_has_the_released_tensors() {
    let wanted = listed(&manifest("wan_vae_tokenizer.json")["keys"]);
    assert_eq!(wanted.len(), 194);
    let vae = VideoVaeConfig::videoworld2().init(&Device::flex());
    assert_same(&shapes_of(&vae, &VAE_KEYS), &wanted);
}

#[test]
fn the_2b_video_transformer_has_the_released_tensors() {
    let wanted = listed(&manifest("dit_2b.json")["keys"]);
    assert_eq!(wanted.len(), 574);
    let dit = DitConfig::videoworld2_2b().init(&Device::flex());
    assert_same_but_ignored(&shapes_of(&dit, &DIT_KEYS), &wanted, &DIT_KEYS);
}

#[test]
fn the_2b_control_branch_has_the_released_tensors() {
    let wanted = listed(&manifest("ctrl_2b.json")["keys"]);
    assert_eq!(wanted.len(), 97);
    let branch = ControlConfig::videoworld2_2b().init(&Device::flex());
    assert_same_but_ignored(&shapes_of(&branch, &CONTROL_KEYS), &wanted, &CONTROL_KEYS);
}
