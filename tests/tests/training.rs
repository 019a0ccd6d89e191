//! A small run of every stage, resumed, made into a pack, and the pack put to work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use engine::craft::{Episode, Split, Task};
use engine::dldm::{DldmConfig, KEYS as DLDM_KEYS};
use engine::eval;
use engine::gpu::{self, DeviceChoice};
use engine::media::{Frame, FrameSize, write_gif, write_png_sequence};
use engine::pack::{Manifest, Pack, PackContents, PackSource, Residence, TaskEntry};
use engine::policy::PlannerConfig;
use engine::rollout::{ClipStore, PackModels, Path as RolloutPath, Runner, Sampling, Unwatched};
use engine::train::{PackSettings, Recipe, RunFolder, Stage, Tick};
use engine::vdm::{VAE_KEYS, VdmConfig};
use engine::weights::{HostTensor, Weights};

const ITERATIONS: usize = 2;
/// Never what ends a stage here.
const HOUR: Duration = Duration::from_secs(3600);

/// The small pack's structure, as narrow as its layers allow: 32x48 pixels, 16x24 for the dLDM.
fn tiny() -> Recipe {
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
    }
    vdm.control.num_blocks = 1;
    let mut planner = PlannerConfig::craft_mini(dldm.feature_channels());
    planner.feature_size = [2, 3];
    planner.policy.layers = 1;
    Recipe {
        size: FrameSize { height: 32, width: 48 },
        coarse_size: FrameSize { height: 16, width: 24 },
        dldm,
        vdm,
        planner,
        batch: [2; 5],
        keep_codes: false,
        joint_share: 0.5,
        policy_episodes: 5,
        start: None,
        videos: None,
    }
}

/// Trains until `iterations` are done in all; what was ticked on the way.
fn train(run: &RunFolder, stage: Stage, iterations: usize) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let device = Device::flex();
    run.train(stage, HOUR, Some(iterations), &device, &mut |tick| ticks.push(tick.clone()))
        .unwrap_or_else(|error| panic!("stage {}: {error}", stage.name()));
    ticks
}

fn settings() -> PackSettings {
    let mut settings = PackSettings { reference_clips: 8, ..PackSettings::craft_mini() };
    settings.sampler.refine_steps = 2;
    settings
}

fn pack_of(run: &RunFolder, folder: &Path) -> Pack {
    let pack = run.pack(folder, &settings(), &Device::flex(), &mut |_| {});
    pack.expect("a run with a dLDM makes a pack")
}

#[test]
fn every_stage_trains_and_their_pack_predicts_paints_and_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunFolder::begin(&dir.path().join("run"), tiny()).unwrap();
    let missing = run.train(Stage::Joint, HOUR, Some(1), &Device::flex(), &mut |_| {});
    assert!(missing.unwrap_err().to_string().contains("warmup"), "joint builds on the warm-up");

    for stage in Stage::ALL {
        let ticks = train(&run, stage, ITERATIONS);
        let last = ticks.last().expect("a stage ticks at its end");
        assert_eq!((last.stage, last.iteration), (stage.name(), ITERATIONS));
        let (name, loss) = last.measures[0];
        assert!(name == "loss" && loss.is_finite() && loss > 0.0, "{name} {loss}");
        for file in ["log.csv", "checkpoint/model.bpk", "checkpoint/optimizer.bpk"] {
            assert!(run.stage(stage).join(file).exists(), "{}: {file}", stage.name());
        }
        if stage == Stage::Warmup {
            let pack = pack_of(&run, &dir.path().join("coarse"));
            assert!(pack.manifest.vdm.is_none() && pack.manifest.planner.is_none());
            pack.load(&Device::flex()).unwrap();
        }
    }

    let folder = dir.path().join("pack");
    pack_of(&run, &folder);
    let pack = Pack::open(&folder).unwrap();
    assert!(pack.manifest.trained.contains("joint 2 iterations"), "{}", pack.manifest.trained);
    let reference = pack.reference().unwrap().expect("the pack has a reference set");
    assert_eq!(reference.clips.len(), 8 * Task::ALL.len());
    assert!(reference.map(&pack.manifest.dldm.levels).is_some(), "the set is laid out");

    let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
    let models = PackModels::load(&pack, &chosen, engine::pack::Residence::Kept).unwrap();
    let runner = Runner::new(Box::new(models), ClipStore::new(1 << 28), 0);
    let size = runner.pack().frame_size();
    let task = Task::Tower;
    let start = Arc::new(Episode::sample(task, Split::Test, 1).frame(0, size));
    let path = RolloutPath { start, task, clips: Vec::new() };
    let sampling = Sampling { seed: 3, ..runner.pack().sampling.clone() };
    let codes = runner.predict(&path, &[], &sampling, &mut Unwatched).unwrap();
    assert_eq!(codes.len(), 16);
    let path = path.then(codes.iter().map(|p| p.code).collect(), 3);
    let key = runner.refine(&path, &sampling, &mut Unwatched).unwrap();
    let clip = runner.store().get(key).expect("it was just painted").clip;
    assert_eq!((clip.len(), FrameSize::of(&clip[0])), (17, size));

    // So little training reaches no floor; every measure must still come out as a number.
    let quiet: &mut eval::Progress<'_> = &mut |_, _, _| {};
    let codes = eval::codes(runner.models(), 2, quiet).unwrap();
    let values: Vec<f64> = codes.rows.iter().map(|row| row.value).collect();
    assert!(values.iter().all(|v| v.is_finite()), "{codes}");
    assert!(!codes.all_reached(), "{codes}");
    let networks = pack.load(runner.models().device()).unwrap();
    let policy = eval::policy(&networks, &pack.manifest, 1, quiet).unwrap();
    assert!((0.0..=1.0).contains(&policy.rows[0].value), "{policy}");
    let refined = eval::refined(runner.models(), &networks, 1, quiet).unwrap();
    assert!(refined.table.rows.iter().all(|row| row.value.is_finite()), "{refined}");
    assert_eq!(refined.sheet.width(), 9 * 48 + 8 * 2);
    let rollouts = eval::rollouts(&runner, 1, false, quiet).unwrap();
    assert_eq!(rollouts.by_task.len(), 5 * Task::ALL.len());
    let repeated = rollouts.by_task.iter().filter(|s| s.source == "first frame repeated");
    assert!(repeated.clone().all(|s| s.mean_steps == 0.0), "{rollouts}");
    assert_eq!(repeated.count(), Task::ALL.len());
    let speed = eval::speed(&|| Pack::open(&folder), &chosen, 1).unwrap();
    assert!(speed.coarse_ratio > 0.0 && speed.refined_ratio.is_some_and(|ratio| ratio > 0.0));
    let counted = speed.networks.iter().filter_map(|n| n.gflop_per_second);
    assert!(counted.clone().count() == 7 && counted.clone().all(|rate| rate > 0.0));
}

#[test]
fn a_stage_goes_on_from_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunFolder::begin(dir.path(), tiny()).unwrap();
    assert_eq!(train(&run, Stage::Warmup, 1).len(), 1);
    // Opened again as after a kill, with a recipe that the run's own must win against.
    let run = RunFolder::open(dir.path()).unwrap().expect("it was begun");
    assert_eq!(run.recipe.size, tiny().size);
    assert!(train(&run, Stage::Warmup, 1).is_empty(), "the iteration is not done again");
    let ticks = train(&run, Stage::Warmup, 3);
    assert_eq!(ticks.last().expect("two more iterations").iteration, 3);
    let log = std::fs::read_to_string(run.stage(Stage::Warmup).join("log.csv")).unwrap();
    let iteration = |line: &str| line.split(',').next().and_then(|cell| cell.parse().ok());
    let logged: Vec<usize> = log.lines().skip(1).filter_map(iteration).collect();
    // A slow machine logs the second iteration too; none is ever logged twice.
    assert!(logged.is_sorted_by(|a, b| a < b), "{logged:?}");
    assert_eq!((logged.first(), logged.last()), (Some(&1), Some(&3)));
}

#[test]
fn a_run_goes_on_from_a_pack() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    let first = RunFolder::begin(&dir.path().join("first"), tiny()).unwrap();
    for stage in Stage::ALL {
        train(&first, stage, 1);
    }
    let folder = dir.path().join("pack");
    let pack = pack_of(&first, &folder);
    let vae = |pack: &Pack| {
        let vdm = pack.load(&device).unwrap().vdm.expect("the pack has a diffusion model");
        Weights::of(&vdm.vae, &VAE_KEYS)
    };

    let recipe = Recipe::from_pack(PackSource::Folder(folder), None).unwrap();
    let batch = [2; 5];
    let recipe = Recipe { batch, policy_episodes: 5, ..recipe };
    let run = RunFolder::begin(&dir.path().join("more"), recipe.clone()).unwrap();
    let untrained = pack_of(&run, &dir.path().join("same"));
    assert_eq!(untrained.manifest.trained, pack.manifest.trained);
    assert!(untrained.manifest.planner.is_some() && untrained.manifest.vdm.is_some());
    train(&run, Stage::Vae, 1);
    train(&run, Stage::Joint, 1);
    let more = pack_of(&run, &dir.path().join("trained"));
    assert!(more.manifest.trained.contains("from there vae 1 iterations"));
    assert!(!more.manifest.trained.contains("begun fresh"), "{}", more.manifest.trained);
    // One small step from the pack's weights; fresh ones would be nowhere near.
    let (before, after) = (vae(&pack), vae(&more));
    let furthest = before.iter().map(|(key, old)| {
        let new = &after.get(key).expect("the same network").values;
        old.values.iter().zip(new).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()))
    });
    let furthest = furthest.fold(0.0, f32::max);
    assert!(furthest > 0.0 && furthest < 1e-2, "{furthest}");
    // The joint stage moved the dLDM's codes, which the pack's policy does not know.
    assert!(more.manifest.planner.is_none());

    let kept = Recipe { keep_codes: true, ..recipe.clone() };
    let run = RunFolder::begin(&dir.path().join("kept"), kept).unwrap();
    train(&run, Stage::Warmup, 1);
    let kept = pack_of(&run, &dir.path().join("decoder"));
    assert!(kept.manifest.trained.ends_with("the decoder alone"), "{}", kept.manifest.trained);
    assert!(kept.manifest.planner.is_some(), "its codes are the pack's");
    let codes = |pack: &Pack| {
        let clips = pack.reference().unwrap().expect("the pack has a reference set").clips;
        clips.into_iter().map(|clip| clip.codes).collect::<Vec<_>>()
    };
    // Both were encoded with weights that a pack had rounded.
    assert_eq!(codes(&kept), codes(&untrained));
    let dldm = |pack: &Pack| Weights::of(&pack.load(&device).unwrap().dldm, &DLDM_KEYS);
    let (before, after) = (dldm(&pack), dldm(&kept));
    let moved: Vec<&str> = before
        .iter()
        .filter(|(key, old)| after.get(key).expect("the same network").values != old.values)
        .map(|(key, _)| key)
        .collect();
    let of_decoder = |key: &&str| key.contains("decoder") || key.contains("post_quant");
    assert!(!moved.is_empty() && moved.iter().all(of_decoder), "{moved:?}");

    let mut wider = recipe;
    wider.vdm.vae.dim = 16;
    let run = RunFolder::begin(&dir.path().join("wider"), wider).unwrap();
    train(&run, Stage::Vae, 1);
    let missing = run.train(Stage::Joint, HOUR, Some(1), &device, &mut |_| {});
    assert!(missing.is_err(), "no diffusion model of the pack fits the wider autoencoder");
    let coarse = pack_of(&run, &dir.path().join("coarse"));
    assert!(coarse.manifest.trained.contains("begun fresh") && coarse.manifest.vdm.is_none());
    assert!(coarse.manifest.planner.is_some(), "its codes are the pack's");
}

/// A pack without a policy and with nothing of the embedded pack's sizes: 3x5 features of 24
/// channels, 2 codes a step out of 60, and clips of 9 frames.
fn foreign(folder: &Path) -> Pack {
    let dldm = DldmConfig {
        channels: 8,
        channels_mult: vec![2, 3],
        z_channels: 16,
        levels: vec![5, 4, 3],
        num_queries: 2,
        connector_channels: 16,
        decoder_places: Some(3),
        ..DldmConfig::craft_mini()
    };
    let manifest = Manifest {
        name: "foreign".to_owned(),
        licence: "its own".to_owned(),
        trained: "not at all".to_owned(),
        tasks: [(Task::Tower, 6), (Task::Boat, 7)]
            .map(|(task, clips)| TaskEntry { task, clips })
            .to_vec(),
        frame_size: FrameSize { height: 48, width: 80 },
        coarse_size: FrameSize { height: 24, width: 40 },
        frames_per_clip: 9,
        fps: 12.0,
        vdm: None,
        dldm,
        ..Manifest::videoworld2()
    };
    let contents = PackContents {
        dldm: Weights::of(&manifest.dldm.init(&Device::flex()), &DLDM_KEYS),
        negative: Some(HostTensor { shape: vec![1, 3, 16], values: vec![0.5; 48] }),
        ..PackContents::default()
    };
    Pack::write(folder, manifest, &contents).expect("a pack")
}

/// Predicts and paints the first clips of a task with a pack in a folder.
fn roll_out(folder: &Path, task: Task, clips: usize) {
    let pack = Pack::open(folder).expect("a pack");
    let chosen = gpu::choose(DeviceChoice::Cpu).expect("a processor");
    let models = PackModels::load(&pack, &chosen, Residence::Kept).expect("networks");
    let runner = Runner::new(Box::new(models), ClipStore::new(1 << 28), 0);
    let summary = runner.pack().clone();
    assert_eq!(summary.max_clips, clips);
    let start = Arc::new(Episode::sample(task, Split::Test, 1).frame(0, summary.frame_size()));
    let mut path = RolloutPath { start, task, clips: Vec::new() };
    let sampling = Sampling { seed: 3, ..summary.sampling.clone() };
    for _ in 0..clips {
        let codes = runner.predict(&path, &[], &sampling, &mut Unwatched).expect("codes");
        assert!(codes.len() == 4 && codes.iter().all(|p| p.code < 60), "{codes:?}");
        path = path.then(codes.iter().map(|p| p.code).collect(), 3);
    }
    assert!(runner.predict(&path, &[], &sampling, &mut Unwatched).is_err(), "that is all it holds");
    let key = runner.coarse(&path, &mut Unwatched).expect("a clip");
    assert_eq!(runner.store().get(key).expect("just painted").clip.len(), 9);
    let other = RolloutPath { task: Task::Horse, clips: Vec::new(), ..path };
    let refused = runner.predict(&other, &[], &sampling, &mut Unwatched);
    let error = refused.expect_err("it never learned that").to_string();
    assert!(error.contains("does not know the task"), "{error}");
}

/// All of the pack but the policy, and of its manifest all but what a policy brings along.
fn assert_kept(from: &Path, to: &Path) {
    let [before, after] = [from, to].map(|folder| Pack::open(folder).expect("a pack").manifest);
    assert!(after.files.len() == before.files.len() + 1, "{:?}", after.files.keys());
    for (name, facts) in &before.files {
        assert_eq!(after.files.get(name), Some(facts));
        let bytes = |folder: &Path| std::fs::read(folder.join(name)).expect("a file");
        assert!(bytes(from) == bytes(to), "{name} is another");
    }
    assert!(after.trained.starts_with("not at all; from there policy 2 iterations"));
    assert!(after.planner.is_some());
    let Manifest { trained, planner, files, tasks, .. } = before;
    assert_eq!(
        Manifest { trained, planner, files, tasks, ..after },
        Pack::open(from).expect("a pack").manifest
    );
}

#[test]
fn a_policy_is_trained_for_a_pack_of_other_sizes_and_attached_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("pack"), dir.path().join("with"));
    let pack = foreign(&source);
    let recipe = Recipe::from_pack(PackSource::Folder(source.clone()), None).unwrap();
    let planner = &recipe.planner;
    assert_eq!((planner.feature_channels, planner.feature_size), (24, [3, 5]));
    assert_eq!((planner.policy.vocabulary, planner.max_codes()), (60, 7 * 2 * 2));
    let recipe = Recipe { batch: [2; 5], policy_episodes: 3, ..recipe };
    let run = RunFolder::begin(&dir.path().join("run"), recipe).unwrap();
    let refused = |stage| {
        let result = run.train(stage, HOUR, Some(3), &Device::flex(), &mut |_| {});
        let error = result.unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    let error = refused(Stage::Warmup);
    assert!(error.contains("have 9: of this pack only the policy"), "{error}");
    train(&run, Stage::Policy, 1);
    // Opened again as after a kill.
    let run = RunFolder::open(&dir.path().join("run")).unwrap().expect("it was begun");
    assert_eq!(train(&run, Stage::Policy, 2).last().expect("one more").iteration, 2);
    pack_of(&run, &out);
    assert_kept(&source, &out);
    assert_eq!(Pack::open(&out).unwrap().manifest.tasks, pack.manifest.tasks);
    roll_out(&out, Task::Boat, 7);
    let error = run.pack(&source, &settings(), &Device::flex(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("into another folder"), "{error}");
    assert_eq!(Pack::open(&source).unwrap().id, pack.id);

    // A pack that has a policy keeps its sizes.
    let again = Recipe::from_pack(PackSource::Folder(out), None).unwrap();
    assert_eq!(again.planner, run.recipe.planner);

    // The codes are those of the first start.
    let id = &pack.id.to_string()[..16];
    let kept = run.stage(Stage::Policy).join("encoded").join(id).join("craft");
    assert!(kept.join("tower/00002.safetensors").exists());
    std::fs::write(kept.join("boat/00001.safetensors"), "cut short").unwrap();
    assert!(refused(Stage::Policy).contains("boat/00001.safetensors"));
}

#[test]
fn a_policy_learns_from_videos_of_the_users_own() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("pack"), dir.path().join("with"));
    let (videos, tower) = (dir.path().join("videos"), dir.path().join("videos/tower"));
    foreign(&source);
    let size = FrameSize { height: 30, width: 44 };
    let frames: Vec<Frame> = Episode::sample(Task::Tower, Split::Train, 1).clip(0, size).frames;
    let look = || Recipe::from_pack(PackSource::Folder(source.clone()), Some(&videos));
    let refused = |words: &str| {
        let error = look().unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{words:?} is not in: {error}");
    };
    refused("videos: ");
    std::fs::create_dir_all(&tower).unwrap();
    refused("holds no videos");
    write_gif(&tower.join("one.gif"), &frames, 12.0).unwrap();
    write_png_sequence(&tower.join("two"), &frames[..8]).unwrap();
    for (name, words) in
        [("kite", "kite is no folder of a task"), ("tower/three", "three holds no pictures")]
    {
        std::fs::create_dir(videos.join(name)).unwrap();
        refused(words);
        std::fs::remove_dir(videos.join(name)).unwrap();
    }
    write_gif(&tower.join("short.gif"), &frames[..4], 12.0).unwrap();
    refused("short.gif has 4 frames, one clip of the pack takes 9");
    std::fs::write(tower.join("short.gif"), "no video").unwrap();
    refused("short.gif is no video");
    std::fs::rename(tower.join("short.gif"), videos.join("boat")).unwrap();
    refused("boat is no folder of a task");
    std::fs::remove_file(videos.join("boat")).unwrap();

    let recipe = look().unwrap();
    let found = recipe.videos.as_ref().expect("it was given some");
    let tasks = vec![TaskEntry { task: Task::Tower, clips: 2 }];
    assert_eq!((found.count, &found.tasks, &found.other_fps), (2, &tasks, &None));
    let run =
        RunFolder::begin(&dir.path().join("run"), Recipe { batch: [2; 5], ..recipe }).unwrap();
    train(&run, Stage::Policy, 1);
    // They were encoded once.
    write_gif(&tower.join("one.gif"), &frames[..2], 12.0).unwrap();
    train(&run, Stage::Policy, 2);
    let trained = pack_of(&run, &out).manifest.trained;
    assert!(trained.ends_with("begun fresh, on 2 videos of the user's own"), "{trained}");
    assert_kept(&source, &out);
    assert_eq!(Pack::open(&out).unwrap().manifest.tasks, tasks);
    roll_out(&out, Task::Tower, 2);

    // What a policy learned before stays; a task that is new to it is added.
    std::fs::rename(&tower, videos.join("boat")).unwrap();
    std::fs::remove_file(videos.join("boat/one.gif")).unwrap();
    write_gif(&videos.join("boat/one.gif"), &frames, 12.0).unwrap();
    let recipe = Recipe::from_pack(PackSource::Folder(out), Some(&videos)).unwrap();
    let more = RunFolder::begin(&dir.path().join("more"), Recipe { batch: [2; 5], ..recipe });
    let (more, both) = (more.unwrap(), dir.path().join("both"));
    train(&more, Stage::Policy, 1);
    let boat = TaskEntry { task: Task::Boat, clips: 2 };
    assert_eq!(pack_of(&more, &both).manifest.tasks, [tasks[0], boat]);
    roll_out(&both, Task::Boat, 2);
}
