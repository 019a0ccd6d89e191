//! Small networks in the layout of the release go through the importer and come out the same.

use std::fs;
use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::write::TorchWriter;
use crate::checkpoint::{Source, StateDict};
use crate::dldm;
use crate::gpu::{self, DeviceChoice};
use crate::pack::tests::tiny_parts;
use crate::pack::{CONTROL, DLDM, Networks, PackContents, Residence};
use crate::policy::PLANNER_KEYS;
use crate::vdm::{DIT_KEYS, VAE_KEYS, Vdm};
use crate::weights::{self, Precision};

/// A folder with the files of a release of tiny networks, under names that say nothing.
struct Release {
    dir: TempDir,
    manifest: Manifest,
    contents: PackContents,
}

impl Release {
    fn new() -> Self {
        let (manifest, contents) = tiny_parts();
        let release = Self { dir: tempfile::tempdir().unwrap(), manifest, contents };
        fs::create_dir_all(release.from().join("inner")).unwrap();
        release.dldm(Dtype::F16, &release.contents.dldm);
        release.dit(true);
        let vae = release.contents.vae.as_ref().unwrap();
        let file = release.from().join("inner/c.bin");
        fs::write(file, vae.to_safetensors(Precision::F32).unwrap()).unwrap();
        release
    }

    fn from(&self) -> PathBuf {
        self.dir.path().join("from")
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("pack")
    }

    fn dldm(&self, dtype: Dtype, weights: &Weights) {
        let constants = [("network.encoder.patcher3d.wavelets", 2), ("network.loss.scale", 1)];
        write_torch(&self.from().join("a.pt"), dtype, &[weights], &constants);
    }

    fn dit(&self, with_control: bool) {
        let PackContents { dit, control, .. } = &self.contents;
        let parts: Vec<&Weights> = [dit.as_ref(), control.as_ref().filter(|_| with_control)]
            .into_iter()
            .flatten()
            .collect();
        let rest = [("net.pos_embedder.seq", 4), ("net.accum_iteration", 1), ("net.surprise", 2)];
        write_torch(&self.from().join("b.pth"), Dtype::F16, &parts, &rest);
    }

    fn import(&self) -> Result<Report, ImportError> {
        import(&self.from(), &self.to(), self.manifest.clone(), &mut |_| ControlFlow::Continue(()))
    }

    fn imported(&self) -> (Report, Pack) {
        let report = self.import().unwrap();
        (report, Pack::open(&self.to()).unwrap())
    }

    fn assert_refused(&self, words: &str) {
        let error = self.import().unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{words:?} is not in: {error}");
        let left: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [self.from()], "{words}");
    }
}

/// Networks and constants in a file as `torch.save` writes it.
fn write_torch(path: &Path, dtype: Dtype, parts: &[&Weights], constants: &[(&str, usize)]) {
    let mut writer = TorchWriter::create(path).unwrap();
    for (key, tensor) in parts.iter().flat_map(|weights| weights.iter()) {
        let bytes: Vec<u8> = match dtype {
            Dtype::BF16 => {
                tensor.values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()
            }
            _ => tensor.values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        };
        writer.tensor(key, dtype, &tensor.shape, bytes.as_slice()).unwrap();
    }
    for (key, len) in constants {
        writer.tensor(key, Dtype::U8, &[*len], vec![1; *len].as_slice()).unwrap();
    }
    writer.finish().unwrap();
}

/// A network read from a published file without the importer.
fn direct<M: burn::module::Module>(path: &Path, fresh: M, keys: &crate::weights::KeyTable) -> M {
    let mut state =
        StateDict::of(crate::checkpoint::Checkpoint::open(path).unwrap().unwrap()).unwrap();
    state.tensors.retain(|key, _| !["net.surprise", "network.loss.scale"].contains(&key.as_str()));
    weights::load(&state, fresh, keys, Precision::F32).unwrap()
}

fn assert_same(found: &Weights, wanted: &Weights) {
    assert_eq!(found.len(), wanted.len());
    for (key, tensor) in wanted.iter() {
        assert_eq!(found.get(key).unwrap(), tensor, "{key}");
    }
}

fn ramp<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap()
}

#[test]
fn imported_networks_give_the_numbers_of_the_published_ones() {
    let release = Release::new();
    let (report, pack) = release.imported();
    let device = Device::flex();
    let Networks { dldm, vdm, planner, negative, .. } = pack.load(&device).unwrap();
    assert!(planner.is_none() && negative.is_none());
    let vdm = vdm.unwrap();
    let Vdm { vae, dit, control, .. } = release.manifest.vdm.as_ref().unwrap().init(&device);
    let published =
        direct(&release.from().join("a.pt"), release.manifest.dldm.init(&device), &dldm::KEYS);
    let frame = ramp([1, 3, 1, 16, 24]);
    assert_eq!(values(dldm.encode_frame(frame.clone())), values(published.encode_frame(frame)));
    assert_same(&Weights::of(&dldm, &dldm::KEYS), &Weights::of(&published, &dldm::KEYS));
    let dit = direct(&release.from().join("b.pth"), dit, &DIT_KEYS);
    assert_same(&Weights::of(&vdm.dit, &DIT_KEYS), &Weights::of(&dit, &DIT_KEYS));
    let control = direct(&release.from().join("b.pth"), control, &CONTROL_KEYS);
    assert_same(&Weights::of(&vdm.control, &CONTROL_KEYS), &Weights::of(&control, &CONTROL_KEYS));
    // The autoencoder was published in single precision.
    let vae = Weights::of(&direct(&release.from().join("inner/c.bin"), vae, &VAE_KEYS), &VAE_KEYS);
    for (key, tensor) in Weights::of(&vdm.vae, &VAE_KEYS).iter() {
        for (found, wanted) in tensor.values.iter().zip(&vae.get(key).unwrap().values) {
            assert_eq!(*found, f16::from_f32(*wanted).to_f32(), "{key}");
        }
    }
    assert!(report.without_policy && !report.control_begun && !report.without_vdm);
}

#[test]
fn in_half_precision_the_published_halves_are_computed_with() {
    let release = Release::new();
    let (_, pack) = release.imported();
    let mut chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
    let single = pack.load_on(&chosen, Residence::Kept).unwrap().vdm.unwrap();
    chosen.numbers = Precision::F16.into();
    let half = pack.load_on(&chosen, Residence::Kept).unwrap().vdm.unwrap();
    let dit = release.manifest.vdm.as_ref().unwrap().init(&Device::flex()).dit;
    let published = direct(&release.from().join("b.pth"), dit, &DIT_KEYS);
    assert_same(&Weights::of(&half.dit, &DIT_KEYS), &Weights::of(&published, &DIT_KEYS));
    let answer = |vdm: &Vdm| {
        let frame = ramp([1, 3, 1, 32, 48]);
        let from = vdm.conditioning(frame, ramp([1, 3, 5, 16, 24]), ramp([1, 4, 16]));
        let noisy = ramp([1, 32, 2, 4, 6]);
        values(vdm.denoise(&noisy, &[vec![1.0]], &from))
    };
    let (wanted, found) = (answer(&single), answer(&half));
    let largest = wanted.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let error = wanted.iter().zip(&found).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(error > 0.0 && error <= 5e-3 * largest, "{error} of {largest}");
}

#[test]
fn numbers_beyond_half_precision_are_refused_where_it_was_asked_for() {
    let mut release = Release::new();
    let dit = release.contents.dit.as_mut().unwrap();
    let (key, tensor) = dit.iter().next().unwrap();
    let (key, tensor) = (key.to_owned(), tensor.clone());
    let mut values = tensor.values;
    values[0] = 1e6;
    dit.insert(key.clone(), tensor.shape, values);
    let parts = [release.contents.dit.as_ref(), release.contents.control.as_ref()];
    let parts: Vec<&Weights> = parts.into_iter().flatten().collect();
    write_torch(&release.from().join("b.pth"), Dtype::BF16, &parts, &[]);
    let (_, pack) = release.imported();
    let mut chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
    assert!(pack.load_on(&chosen, Residence::Kept).is_ok());
    chosen.numbers = Precision::F16.into();
    let error = pack.load_on(&chosen, Residence::Kept).err().unwrap().to_string();
    assert!(error.contains(&key) && error.contains("--precision f32"), "{error}");
}

#[test]
fn every_key_is_accounted_for() {
    let release = Release::new();
    fs::write(release.from().join("README.md"), "# Weights").unwrap();
    let (report, pack) = release.imported();
    assert_eq!(report.files.len(), 3);
    let [dldm, dit, vae] = &report.files[..] else { panic!("{:?}", report.files) };
    let PackContents { dldm: dldm_weights, vae: vae_weights, dit: d, control: c, .. } =
        &release.contents;
    assert_eq!((dldm.file.as_str(), dldm.used.len()), ("a.pt", dldm_weights.len()));
    assert_eq!(dldm.holds, ["latent dynamics model"]);
    let ignored: Vec<&str> = dldm.ignored.iter().map(|left| left.name.as_str()).collect();
    assert_eq!(ignored, ["network.encoder.patcher3d.wavelets", "network.loss.scale"]);
    assert_eq!(dldm.ignored[0].reason, "a constant of the wavelet transform");
    assert_eq!(dit.holds, ["video transformer", "control branch"]);
    assert_eq!(dit.used.len(), d.as_ref().unwrap().len() + c.as_ref().unwrap().len());
    assert_eq!(dit.ignored.len(), 2);
    assert_eq!(dit.unknown, ["net.surprise"]);
    assert_eq!(vae.used.len(), vae_weights.as_ref().unwrap().len());
    assert_eq!(vae.file, Path::new("inner").join("c.bin").display().to_string());
    assert_eq!(report.skipped[0].name, "README.md");
    let text = report.to_string();
    for words in ["1 tensor unknown: net.surprise", "README.md: not used", "no policy was found"] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let stored: serde_json::Value =
        serde_json::from_slice(&fs::read(release.to().join(REPORT)).unwrap()).unwrap();
    assert_eq!(stored["files"][1]["unknown"], json!(["net.surprise"]));
    assert_eq!(pack.manifest.name, release.manifest.name);
    assert_eq!(pack.manifest.files.len(), 4);
}

#[test]
fn numbers_out_of_range_are_kept_and_those_lost_are_counted() {
    let mut release = Release::new();
    let (wide, small) =
        ("network.decoder.conv_out.0.conv3d.weight", "network.quant_conv.conv3d.weight");
    for (key, value) in [(wide, 1e6), (small, 1e-9)] {
        let tensor = release.contents.dldm.get(key).unwrap().clone();
        let mut changed = tensor.values;
        changed[0] = value;
        release.contents.dldm.insert(key, tensor.shape, changed);
    }
    release.dldm(Dtype::BF16, &release.contents.dldm);
    let (report, pack) = release.imported();
    assert_eq!(report.wide, [wide]);
    assert_eq!(report.flushed.get(small), Some(&1));
    assert!(
        report
            .to_string()
            .contains(&format!("single precision, as half does not hold their range: {wide}"))
    );
    assert!(report.to_string().contains("too small for half precision became zero"), "{report}");
    let loaded = Weights::of(&pack.load(&Device::flex()).unwrap().dldm, &dldm::KEYS);
    assert_eq!(loaded.get(wide).unwrap().values[0], bf16::from_f32(1e6).to_f32());
    assert_eq!(loaded.get(small).unwrap().values[0], 0.0);
    let source = Source::open(&release.to().join(DLDM)).unwrap();
    let stored = StateDict::safetensors(DLDM.to_owned(), source).unwrap();
    assert_eq!((stored.tensors[wide].dtype, stored.tensors[small].dtype), (Dtype::F32, Dtype::F16));
}

#[test]
fn a_transformer_without_control_branch_gets_a_silent_copy() {
    let release = Release::new();
    release.dit(false);
    let (report, pack) = release.imported();
    assert!(report.control_begun);
    let vdm = pack.load(&Device::flex()).unwrap().vdm.unwrap();
    let (dit, control) =
        (Weights::of(&vdm.dit, &DIT_KEYS), Weights::of(&vdm.control, &CONTROL_KEYS));
    let mut copied = 0;
    for (key, tensor) in control.iter() {
        if let Some(twin) = control_begins_as(key).and_then(|twin| dit.get(&twin)) {
            assert_eq!(tensor, twin, "{key}");
            copied += 1;
        } else if key.contains("zero_blocks") {
            assert!(tensor.values.iter().all(|value| *value == 0.0), "{key}");
        }
    }
    assert!(copied > 20, "only {copied} tensors are copies");
    // Nothing in it depends on the hour.
    let again = Release { dir: tempfile::tempdir().unwrap(), ..Release::new() };
    fs::rename(release.from(), again.from()).unwrap();
    assert_eq!(again.imported().1.id, pack.id);
}

#[test]
fn networks_that_are_not_whole_are_refused() {
    let release = Release::new();
    let mut lacking = Weights::default();
    for (key, tensor) in release.contents.dldm.iter().skip(2) {
        lacking.insert(key, tensor.shape.clone(), tensor.values.clone());
    }
    release.dldm(Dtype::BF16, &lacking);
    release.assert_refused("the latent dynamics model in");
    let first = release.contents.dldm.iter().next().unwrap().0.to_owned();
    release.assert_refused(&format!("lacks 2 of the {} tensors", release.contents.dldm.len()));
    release.assert_refused(&format!("first {first}"));
    let mut misshapen = release.contents.dldm.clone();
    misshapen.insert(&*first, vec![3], vec![0.0; 3]);
    release.dldm(Dtype::BF16, &misshapen);
    release.assert_refused("has shape [3] where the latent dynamics model needs");
    let mut broken = release.contents.dldm.clone();
    let shape = broken.get(&first).unwrap().shape.clone();
    let numbers = vec![f32::NAN; shape.iter().product()];
    broken.insert(&*first, shape, numbers);
    release.dldm(Dtype::BF16, &broken);
    release.assert_refused(&format!("{first} in"));
    release.assert_refused("not finite");
    fs::remove_file(release.from().join("a.pt")).unwrap();
    release.assert_refused("holds no latent dynamics model");
    release.assert_refused("b.pth holds the video transformer and the control branch");
}

#[test]
fn folders_that_hold_too_much_or_too_little_are_refused() {
    let release = Release::new();
    fs::copy(release.from().join("b.pth"), release.from().join("d.pth")).unwrap();
    release.assert_refused("d.pth hold the video transformer");
    fs::remove_file(release.from().join("d.pth")).unwrap();
    fs::rename(release.from().join("inner/c.bin"), release.dir.path().join("from/inner/.c"))
        .unwrap();
    release.assert_refused("no file holds the video autoencoder (tokenizer.pth of Wan 2.1)");
    fs::write(release.from().join("x.pth"), "<html>not found</html>").unwrap();
    release.assert_refused("x.pth ends like a file of weights");
    fs::write(release.from().join("x.pth"), "version https://git-lfs.github.com/spec/v1\n")
        .unwrap();
    release.assert_refused("git lfs pull");
    fs::write(release.from().join("x.pth"), b"\x80\x02cos\nsystem\n.").unwrap();
    release.assert_refused("os.system");
}

#[test]
fn a_dldm_alone_makes_a_pack_of_coarse_video() {
    let release = Release::new();
    fs::remove_file(release.from().join("b.pth")).unwrap();
    fs::remove_file(release.from().join("inner/c.bin")).unwrap();
    let (report, pack) = release.imported();
    assert!(report.without_vdm && pack.manifest.vdm.is_none());
    assert_eq!(pack.manifest.files.len(), 1);
    assert!(pack.load(&Device::flex()).unwrap().vdm.is_none());
}

#[test]
fn an_import_can_be_stopped_in_every_stage_and_leaves_nothing() {
    let release = Release::new();
    let mut stages = Vec::new();
    import(&release.from(), &release.to(), release.manifest.clone(), &mut |progress| {
        stages.push(progress.stage);
        ControlFlow::Continue(())
    })
    .unwrap();
    fs::remove_dir_all(release.to()).unwrap();
    for told in [Stage::Reading, Stage::Writing(DLDM), Stage::Hashing(CONTROL)] {
        assert!(stages.contains(&told), "{told} is not in {stages:?}");
    }
    // Where each stage begins, and the last moment of all.
    let begins = |at: &usize| *at == 0 || stages[*at] != stages[*at - 1];
    let last = stages.len() - 1;
    for stop in (0..last).filter(begins).chain([last]) {
        let mut told = 0;
        let stopped = import(&release.from(), &release.to(), release.manifest.clone(), &mut |_| {
            told += 1;
            if told > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(ImportError::Cancelled)), "at {:?}", stages[stop]);
        assert_eq!(told, stop + 1, "it went on after {:?}", stages[stop]);
        assert_eq!(fs::read_dir(release.dir.path()).unwrap().count(), 1, "{:?}", stages[stop]);
    }
}

#[test]
fn what_an_import_left_is_cleared_away_and_what_others_made_is_not() {
    let release = Release::new();
    let leftover = release.dir.path().join(".pack.importing");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join(DLDM), "half a file").unwrap();
    fs::create_dir(release.to()).unwrap();
    let (_, pack) = release.imported();
    assert!(pack.load(&Device::flex()).is_ok() && !leftover.exists());
    let error = release.import().unwrap_err().to_string();
    assert!(error.contains("pack is taken"), "{error}");
    assert!(Pack::open(&release.to()).is_ok());
}

#[test]
fn the_negative_context_turns_guidance_on() {
    let mut release = Release::new();
    release.manifest.sampler.guidance = 7.0;
    let (report, pack) = release.imported();
    assert!(report.without_guidance && pack.manifest.sampler.guidance == 0.0);
    fs::remove_dir_all(release.to()).unwrap();
    // A list with one numpy array of [3, 16], as `pickle.dump` writes it.
    let numbers: Vec<u8> = (0..48).flat_map(|i| (i as f32 / 8.0).to_le_bytes()).collect();
    let array = [
        &b"\x80\x04]cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR(K\x01K\x03K\x10\x86cnumpy\ndtype\nX\x02\0\0\0f4\x85R\x89B\xc0\0\0\0"[..],
        &numbers,
        b"tba.",
    ];
    fs::write(release.from().join("n.pickle"), array.concat()).unwrap();
    let (report, pack) = release.imported();
    assert!(!report.without_guidance && pack.manifest.sampler.guidance == 7.0);
    let negative = pack.load(&Device::flex()).unwrap().negative.unwrap();
    assert_eq!(negative.dims(), [1, 3, 16]);
    assert_eq!(values(negative)[47], 47.0 / 8.0);
}

/// A pickle of `{"one": [codes], "two": [codes]}`.
fn codes_pickle(one: &[u8], two: &[u8]) -> Vec<u8> {
    let list = |codes: &[u8]| -> Vec<u8> {
        let items = codes.iter().flat_map(|code| [b'K', *code]);
        [&b"](("[..1], b"(", &items.collect::<Vec<u8>>(), b"e"].concat()
    };
    [
        &b"\x80\x02}(X\x03\0\0\0one"[..],
        &list(one),
        b"X\x03\0\0\0two",
        &list(two),
        b"X\x04\0\0\0noteX\x01\0\0\0!u.",
    ]
    .concat()
}

#[test]
fn predicted_codes_are_kept_with_where_they_come_from() {
    let release = Release::new();
    let path = release.from().join("predicted.pt");
    fs::write(&path, codes_pickle(&[1, 2, 3, 4, 5, 6, 7, 8], &[9, 9, 9, 9])).unwrap();
    let (report, pack) = release.imported();
    let codes = pack.recorded_codes().unwrap().unwrap();
    assert_eq!(codes.source, "predicted.pt");
    assert_eq!(codes.rollouts["one"], [[1, 2, 3, 4], [5, 6, 7, 8]]);
    assert_eq!(codes.rollouts["two"], [[9, 9, 9, 9]]);
    assert_eq!(codes.rollouts.len(), 2);
    assert!(report.files.iter().any(|file| file.holds == ["predicted codes"]));
    fs::remove_dir_all(release.to()).unwrap();
    fs::write(&path, codes_pickle(&[1, 2, 3], &[1, 2, 3, 4])).unwrap();
    release.assert_refused("3 codes are no whole clips of 4");

    // The same as tensors: [clips, steps, codes a step].
    let mut writer = TorchWriter::create(&path).unwrap();
    let numbers: Vec<u8> = (0..8_i64).flat_map(|code| (code * 100).to_le_bytes()).collect();
    writer.tensor("only", Dtype::I64, &[2, 1, 4], numbers.as_slice()).unwrap();
    writer.finish().unwrap();
    let codes = release.imported().1.recorded_codes().unwrap().unwrap();
    assert_eq!(codes.rollouts["only"], [[0, 100, 200, 300], [400, 500, 600, 700]]);
    fs::remove_dir_all(release.to()).unwrap();
    let mut writer = TorchWriter::create(&path).unwrap();
    let numbers: Vec<u8> = [0, 0, 0, 1000_i64].iter().flat_map(|code| code.to_le_bytes()).collect();
    writer.tensor("only", Dtype::I64, &[4], numbers.as_slice()).unwrap();
    writer.finish().unwrap();
    let (report, pack) = release.imported();
    assert!(pack.recorded_codes().unwrap().is_none());
    let reason = "no codes of the pack: 1000 is no code of a vocabulary of 1000";
    assert!(report.to_string().contains(reason), "{report}");
}

#[test]
fn whole_numbers_that_are_no_codes_stop_nothing() {
    let release = Release::new();
    fs::write(release.from().join("codes.pt"), codes_pickle(&[1, 2, 3, 4], &[9; 4])).unwrap();
    // Lists of three and of five where a clip has four codes.
    fs::write(release.from().join("labels.pkl"), codes_pickle(&[1, 2, 3], &[5; 5])).unwrap();
    let (report, pack) = release.imported();
    assert_eq!(pack.recorded_codes().unwrap().unwrap().source, "codes.pt");
    let [left] = &report.skipped[..] else { panic!("{:?}", report.skipped) };
    assert_eq!(left.name, "labels.pkl");
    assert!(left.reason.contains("3 codes are no whole clips of 4"), "{}", left.reason);
}

#[test]
fn a_policy_that_the_sizes_do_not_have_is_told_as_one() {
    let mut release = Release::new();
    let policy = release.contents.policy.clone().unwrap();
    write_torch(&release.from().join("p.pt"), Dtype::F16, &[&policy], &[]);
    release.manifest.planner = None;
    let (report, _) = release.imported();
    let [left] = &report.skipped[..] else { panic!("{:?}", report.skipped) };
    assert_eq!(left.name, "p.pt");
    assert!(left.reason.contains("it holds a policy"), "{}", left.reason);
    assert!(left.reason.contains("--sizes"), "{}", left.reason);
}

#[test]
fn a_network_shared_out_among_files_is_put_together() {
    let release = Release::new();
    let (_, whole) = release.imported();
    fs::remove_dir_all(release.to()).unwrap();
    let PackContents { dit, control, .. } = &release.contents;
    let tensors: Vec<_> = [dit, control].into_iter().flatten().flat_map(|w| w.iter()).collect();
    fs::remove_file(release.from().join("b.pth")).unwrap();
    let shard = |i: usize| release.from().join(format!("model-0000{i}-of-00002.safetensors"));
    for i in [1, 2] {
        let mut weights = Weights::default();
        for (key, tensor) in tensors.iter().skip(i - 1).step_by(2) {
            weights.insert(*key, tensor.shape.clone(), tensor.values.clone());
        }
        fs::write(shard(i), weights.to_safetensors(Precision::F16).unwrap()).unwrap();
    }
    let (report, pack) = release.imported();
    assert!(!report.control_begun && !report.without_vdm);
    assert_eq!(report.files.iter().filter(|file| file.holds.len() == 2).count(), 2);
    assert_eq!(pack.manifest.files, whole.manifest.files);
    fs::remove_dir_all(release.to()).unwrap();
    fs::remove_file(shard(2)).unwrap();
    release.assert_refused("model-00001-of-00002.safetensors lacks");
    fs::copy(shard(1), shard(2)).unwrap();
    release.assert_refused("leave only one of them");
}

#[test]
fn a_policy_is_taken_with_and_without_its_prefix() {
    let release = Release::new();
    let policy = release.contents.policy.as_ref().unwrap();
    let mut bare = Weights::default();
    for (key, tensor) in policy.iter() {
        let key = key.strip_prefix("policy.transformer.").unwrap_or(key);
        bare.insert(key, tensor.shape.clone(), tensor.values.clone());
    }
    let mut prefixed = Weights::default();
    for (key, tensor) in bare.iter() {
        prefixed.insert(format!("model.{key}"), tensor.shape.clone(), tensor.values.clone());
    }
    for (weights, rest) in [(policy, "x."), (&bare, "x."), (&prefixed, "model.x.")] {
        write_torch(
            &release.from().join("p.pt"),
            Dtype::F16,
            &[weights],
            &[(&format!("{rest}_extra_state"), 1)],
        );
        let (report, pack) = release.imported();
        assert!(!report.without_policy);
        let planner = pack.load(&Device::flex()).unwrap().planner.unwrap();
        for (key, tensor) in Weights::of(&planner, &PLANNER_KEYS).iter() {
            for (found, wanted) in tensor.values.iter().zip(&policy.get(key).unwrap().values) {
                assert_eq!(*found, f16::from_f32(*wanted).to_f32(), "{key}");
            }
        }
        fs::remove_dir_all(release.to()).unwrap();
    }
    // The base model knows neither frame nor task.
    let mut base = Weights::default();
    for (key, tensor) in bare.iter().filter(|(key, _)| !key.starts_with("policy.")) {
        base.insert(key, tensor.shape.clone(), tensor.values.clone());
    }
    write_torch(&release.from().join("p.pt"), Dtype::F16, &[&base], &[]);
    release.assert_refused("the policy in");
}

#[test]
fn the_sizes_of_the_release_are_consistent() {
    let manifest = Manifest::videoworld2();
    manifest.check().unwrap();
    assert_eq!((manifest.steps_per_clip(), manifest.codes_per_clip()), (23, 92));
    let tensors: Vec<usize> =
        Wanted::of(&manifest).iter().map(|wanted| wanted.shapes.len()).collect();
    // 467 of the dLDM less 5 constants, 194, 574 less 7 and 97 less 10 of statistics and constants.
    assert_eq!(tensors, [462, 194, 567, 87]);
}

#[test]
fn a_pack_with_other_codes_than_its_own_is_refused() {
    let release = Release::new();
    let path = release.from().join("predicted.pt");
    fs::write(&path, codes_pickle(&[1, 2, 3, 4], &[9, 9, 9, 9])).unwrap();
    let (_, pack) = release.imported();
    let mut codes = pack.recorded_codes().unwrap().unwrap();
    codes.rollouts.insert("three".to_owned(), vec![vec![1, 2]]);
    let json = serde_json::to_vec(&codes).unwrap();
    fs::write(release.to().join(CODES), json).unwrap();
    let files: Vec<&str> = vec![DLDM, Part::Vae.file(), Part::Dit.file(), CONTROL, CODES];
    assert!(
        Pack::seal(&release.to(), pack.manifest, &files, &mut |_, _, _| ControlFlow::Continue(()))
            .unwrap()
    );
    let error = Pack::open(&release.to()).unwrap().recorded_codes().unwrap_err().to_string();
    assert!(error.contains("\"three\"") && error.contains("must have 4 codes"), "{error}");
}

#[test]
fn random_files_of_the_release_make_a_pack_that_computes() {
    let (mut manifest, _) = tiny_parts();
    manifest.sampler.guidance = 7.0;
    for format in [Format::Torch, Format::Safetensors] {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("pack"));
        let files = synthetic(&from, &manifest, format, &mut |_| {}).unwrap();
        assert_eq!(files.len(), 5, "{files:?}");
        let error = synthetic(&from, &manifest, format, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("is taken"), "{error}");
        let report =
            import(&from, &to, manifest.clone(), &mut |_| ControlFlow::Continue(())).unwrap();
        let whole = [report.without_vdm, report.without_policy, report.without_guidance];
        assert_eq!(whole, [false; 3], "{format:?}");
        assert!(!report.control_begun);
        assert!(report.files.iter().all(|file| file.unknown.is_empty()), "{report}");
        let Networks { dldm, vdm, .. } = Pack::open(&to).unwrap().load(&Device::flex()).unwrap();
        let vdm = vdm.unwrap();
        let codes = dldm.codes_from_indices(Tensor::from_data([[1, 2, 3, 4]], &Device::flex()));
        let coarse = dldm.decode_from_frame(ramp([1, 3, 1, 16, 24]), codes.clone());
        let from = vdm.conditioning(ramp([1, 3, 1, 32, 48]), coarse, dldm.connect(codes));
        let noisy = ramp([1, 32, 2, 4, 6]);
        let clean = vdm.denoise(&noisy, &[vec![1.0]], &from);
        let numbers = values(clean.clone());
        assert!(numbers.iter().all(|number| number.is_finite()));
        let spread = values(clean.narrow(2, 1, 1).var(4)).iter().sum::<f32>();
        assert!(spread > 0.0, "random weights do something");
    }
}
