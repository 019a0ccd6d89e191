//! The networks at their released sizes have exactly the tensors of the released files.
//!
//! `fixtures/manifests` lists key and shape of every tensor; no weights are created for this.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use engine::dldm::{self, DldmConfig};
use engine::policy::{self, PolicyConfig};
use engine::vdm::{CONTROL_KEYS, ControlConfig, DIT_KEYS, DitConfig, VAE_KEYS, VideoVaeConfig};
use engine::weights::KeyTable;
use serde_json::Value;

type Shapes = BTreeMap<String, Vec<usize>>;

/// Collects shapes under the reference's keys without creating the tensors.
struct ShapeVisitor<'a> {
    keys: &'a KeyTable,
    path: Vec<String>,
    containers: Vec<String>,
    shapes: Shapes,
}

impl ModuleVisitor for ShapeVisitor<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.containers.push(container.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().as_slice().to_vec();
        let in_linear = self.containers.last().is_some_and(|c| c == "Struct:Linear");
        if in_linear {
            shape.reverse();
        }
        self.shapes.insert(self.keys.key(&self.path.join(".")), shape);
    }
}

fn shapes<M: Module>(module: &M, keys: &KeyTable) -> Shapes {
    let mut visitor =
        ShapeVisitor { keys, path: Vec::new(), containers: Vec::new(), shapes: Shapes::new() };
    module.visit(&mut visitor);
    visitor.shapes
}

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
    assert_same(&shapes(&base, &policy::KEYS), &wanted);

    let variant = &manifest["variant_5b"];
    wanted.extend(listed(&variant["extra_keys"]));
    wanted.extend(listed(&variant["changed_keys"]));
    assert_eq!(wanted.len(), 291);
    let variant = PolicyConfig::cosmos_ar_5b().init(&device);
    assert_same(&shapes(&variant, &policy::KEYS), &wanted);
}

#[test]
fn the_latent_dynamics_model_has_the_released_tensors() {
    let manifest = manifest("dldm_tokenizer.json");
    let wanted = listed(&manifest["keys"]);
    assert_eq!(wanted.len(), 467);
    let network = DldmConfig::videoworld2().init(&Device::flex());
    assert_same_but_ignored(&shapes(&network, &dldm::KEYS), &wanted, &dldm::KEYS);
}

/// As [`assert_same`], but keys of the release that the table says to ignore need not be there.
fn assert_same_but_ignored(found: &Shapes, wanted: &Shapes, keys: &KeyTable) {
    let ignored = |key: &str| keys.ignored.iter().any(|(ending, _)| key.ends_with(ending));
    let mut wanted = wanted.clone();
    wanted.retain(|key, _| !ignored(key));
    assert_same(found, &wanted);
}

#[test]
fn the_video_vae_has_the_released_tensors() {
    let wanted = listed(&manifest("wan_vae_tokenizer.json")["keys"]);
    assert_eq!(wanted.len(), 194);
    let vae = VideoVaeConfig::videoworld2().init(&Device::flex());
    assert_same(&shapes(&vae, &VAE_KEYS), &wanted);
}

#[test]
fn the_2b_video_transformer_has_the_released_tensors() {
    let wanted = listed(&manifest("dit_2b.json")["keys"]);
    assert_eq!(wanted.len(), 574);
    let dit = DitConfig::videoworld2_2b().init(&Device::flex());
    assert_same_but_ignored(&shapes(&dit, &DIT_KEYS), &wanted, &DIT_KEYS);
}

#[test]
fn the_2b_control_branch_has_the_released_tensors() {
    let wanted = listed(&manifest("ctrl_2b.json")["keys"]);
    assert_eq!(wanted.len(), 97);
    let branch = ControlConfig::videoworld2_2b().init(&Device::flex());
    assert_same_but_ignored(&shapes(&branch, &CONTROL_KEYS), &wanted, &CONTROL_KEYS);
}
