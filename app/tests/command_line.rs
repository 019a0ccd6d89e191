//! The program as a user runs it: exit codes, what it says, and the files it leaves.

use std::path::Path;
use std::process::{Command, Output};

use engine::craft::{Episode, Split, Task};
use engine::dldm::{DldmConfig, KEYS};
use engine::gpu::{self, DeviceChoice};
use engine::media::{FrameSize, write_gif};
use engine::pack::{Manifest, Pack, PackContents};
use engine::weights::Weights;

fn studio(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_videoworld-studio"))
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// What a mistake ends with: exit code 2, nothing on standard output, one sentence at the end of
/// standard error.
fn refused(folder: &Path, args: &[&str], said: &str) {
    let output = studio(folder, args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains(said), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

#[test]
fn mistakes_end_with_code_2_and_one_sentence() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    std::fs::write(folder.join("text.png"), "not a picture").expect("written");
    std::fs::write(folder.join("file"), "in the way").expect("written");
    refused(folder, &["rolout"], "rolout");
    refused(folder, &["rollout"], "--out <DIR>");
    refused(
        folder,
        &["rollout", "--out", "o", "--frame", "none.png"],
        "none.png could not be read",
    );
    refused(folder, &["rollout", "--out", "o", "--frame", "text.png"], "text.png is not a picture");
    refused(folder, &["rollout", "--out", "o", "--task", "kite"], "there is no task 'kite'");
    refused(folder, &["rollout", "--out", "o", "--device", "cuda"], "there is no device 'cuda'");
    let half = ["rollout", "--out", "o", "--device", "cpu", "--precision", "f16"];
    refused(folder, &half, "use --precision f32");
    refused(folder, &["info", "--precision", "f8"], "there is no precision 'f8'");
    refused(folder, &["rollout", "--out", "o", "--clips", "0"], "--clips must be at least 1");
    refused(folder, &["rollout", "--out", "file/o", "--device", "cpu"], "could not be written");
    refused(folder, &["rollout", "--out", "o", "--pack", "."], "it is no pack");
    refused(folder, &["encode", "--video", "none", "--out", "c.json"], "none could not be read");
    refused(folder, &["craft", "--out", "c", "--count", "1"], "--seed <S>");
    refused(
        folder,
        &["craft", "--out", "c", "--count", "1", "--seed", "1", "--size", "9"],
        "WIDTHxHEIGHT",
    );
}

#[cfg(not(feature = "remote"))]
#[test]
fn a_build_without_other_machines_says_how_to_get_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = "--features remote";
    refused(dir.path(), &["serve"], said);
    refused(dir.path(), &["rollout", "--out", "o", "--device", "ws://127.0.0.1:1"], said);
}

#[test]
fn help_is_no_mistake() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [&["--help"][..], &["rollout", "--help"], &["--version"]] {
        let output = studio(dir.path(), args);
        assert!(output.status.success(), "{args:?}");
        assert!(text(&output.stdout).contains("videoworld-studio"), "{args:?}");
    }
}

#[test]
fn a_rollout_leaves_everything_and_its_video_can_be_encoded() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let args =
        ["rollout", "--clips", "2", "--steps", "2", "--seed", "3", "--device", "cpu", "--out", "o"];
    let output = studio(folder, &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(" o: "), "says where: {}", text(&output.stdout));
    for file in [
        "start.png",
        "coarse.png",
        "coarse.gif",
        "refined.png",
        "refined.gif",
        "codes.png",
        "codes.json",
        "session.json",
        "sheet.png",
    ] {
        assert!(folder.join("o").join(file).exists(), "{file} is missing");
    }
    let codes = json(&folder.join("o/codes.json"));
    let frames_per_clip = codes["frames_per_clip"].as_u64().expect("a number") as usize;
    let frames = std::fs::read_dir(folder.join("o/refined")).expect("a folder").count();
    assert_eq!(frames, 2 * (frames_per_clip - 1), "each clip drops its last frame");
    assert_eq!(codes["clips"].as_array().expect("a list").len(), 2);

    // The same seed gives the same files.
    let again: Vec<&str> = args.iter().map(|a| if *a == "o" { "again" } else { a }).collect();
    assert!(studio(folder, &again).status.success());
    for file in ["codes.json", "coarse.png", "refined.png"] {
        let bytes = |out: &str| std::fs::read(folder.join(out).join(file)).expect("written");
        assert!(bytes("o") == bytes("again"), "{file} differs");
    }

    let encode = ["encode", "--video", "o/refined.png", "--device", "cpu", "--out", "e.json"];
    let output = studio(folder, &encode);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(json(&folder.join("e.json"))["clips"].as_array().expect("a list").len(), 2);
}

#[test]
fn recorded_codes_are_played_like_predicted_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let common = ["--steps", "2", "--seed", "3", "--device", "cpu", "--coarse-only"];
    let rollout = |rest: &[&str]| studio(folder, &[&["rollout"], rest, &common].concat());
    assert!(rollout(&["--clips", "2", "--out", "o"]).status.success());
    let output = rollout(&["--codes", "o/codes.json", "--out", "again"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("the codes are those of o/codes.json"));
    let bytes = |out: &str| std::fs::read(folder.join(out).join("coarse.png")).expect("written");
    assert!(bytes("o") == bytes("again"), "the same codes give the same video");
    let (first, again) =
        (json(&folder.join("o/codes.json")), json(&folder.join("again/codes.json")));
    assert_eq!(again["codes_from"], "o/codes.json");
    for clip in 0..2 {
        assert_eq!(first["clips"][clip]["codes"], again["clips"][clip]["codes"]);
    }
    let args = |codes: &'static str, clips: &'static str| {
        ["rollout", "--out", "p", "--device", "cpu", "--codes", codes, "--clips", clips]
    };
    refused(folder, &args("o/codes.json", "3"), "more than the 2 clips of o/codes.json");
    refused(folder, &args("airplane", "1"), "no codes came with this pack");
    refused(folder, &args("o/session.json", "1"), "no file of codes");
    let short = r#"{"levels": [8, 5, 5, 5], "clips": [{"codes": [1, 2]}]}"#;
    std::fs::write(folder.join("short.json"), short).expect("written");
    refused(folder, &args("short.json", "1"), "has 2 codes");
    std::fs::write(folder.join("other.json"), short.replace('8', "7")).expect("written");
    refused(folder, &args("other.json", "1"), "other levels");
}

#[test]
fn an_import_without_weights_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    std::fs::create_dir(folder.join("weights")).expect("made");
    let import = |from: &'static str| ["import", "--from", from, "--out", "pack"];
    refused(folder, &import("nowhere"), "nowhere is no folder");
    refused(folder, &import("weights"), "it holds no files at all");
    std::fs::write(folder.join("weights/a.pth"), b"\x80\x02cos\nsystem\n.").expect("written");
    refused(folder, &import("weights"), "os.system, which is not on the list");
    std::fs::write(folder.join("weights/a.pth"), b"PK\x03\x04 cut short").expect("written");
    refused(folder, &import("weights"), "download it again");
    refused(folder, &[&import("weights")[..], &["--sizes", "weights/a.pth"]].concat(), "the sizes");
    assert!(!folder.join("pack").exists());
}

/// The networks of the embedded pack lie in the layout of the release.
#[test]
fn an_imported_pack_paints_what_the_published_networks_paint() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack/craft-mini");
    let from = from.to_str().expect("UTF-8");
    let sizes = format!("{from}/manifest.json");
    let args = ["import", "--from", from, "--out", "pack", "--sizes", &sizes, "--name", "mine"];
    let output = studio(folder, &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for part in ["dit.safetensors: video transformer", "reference.json: not used", "wrote the pack"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let account = json(&folder.join("pack/import.json"));
    assert_eq!(account["files"].as_array().expect("a list").len(), 5);
    assert!(!folder.join(".pack.importing").exists());
    for (pack, out) in [("embedded", "a"), ("pack", "b")] {
        let args = ["rollout", "--pack", pack, "--clips", "1", "--steps", "2", "--seed", "3"];
        let output = studio(folder, &[&args[..], &["--device", "cpu", "--out", out]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for file in ["coarse.png", "refined.png"] {
        let bytes = |out: &str| std::fs::read(folder.join(out).join(file)).expect("written");
        assert!(bytes("a") == bytes("b"), "{file} differs");
    }
    refused(folder, &args, "pack is taken");
}

#[test]
fn info_names_device_memory_and_pack() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = studio(dir.path(), &["info", "--device", "cpu"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in ["Devices", "CPU", "Memory", "Pack", "vocabulary 1000"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
}

#[test]
fn a_scale_refines_smaller_frames_and_changes_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let whole = ["rollout", "--device", "cpu", "--clips", "1", "--temperature", "0", "--out", "a"];
    let scaled = [&whole[..8], &["b", "--scale", "0.5"]].concat();
    for args in [&whole[..], &scaled] {
        let output = studio(folder, args);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let size = |of: &str| {
        let file = std::fs::read_dir(folder.join(of)).expect("frames").next().expect("one");
        image::image_dimensions(file.expect("readable").path()).expect("a picture")
    };
    let of_whole = size("a/refined");
    assert_eq!(size("b/refined"), (of_whole.0 / 2, of_whole.1 / 2));
    let read = |of: &str| std::fs::read(folder.join(of)).expect("written");
    assert!(read("a/coarse.png") == read("b/coarse.png"), "the coarse video is the same");
    let codes = |of: &str| json(&folder.join(of))["clips"].clone();
    assert_eq!(codes("a/codes.json"), codes("b/codes.json"));
    refused(folder, &["rollout", "--out", "c", "--scale", "3"], "a number from 0.1 to 1");
}

#[test]
fn a_second_rollout_takes_the_refined_clips_of_the_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |out: &str, more: &[&str]| {
        let args = ["rollout", "--device", "cpu", "--clips", "1", "--out", out];
        let output = studio(dir.path(), &[&args, more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        let refined = std::fs::read(dir.path().join(out).join("refined.png")).expect("a video");
        (said.contains("1 refined clip was finished before"), refined)
    };
    let (first, second, fresh) = (run("a", &[]), run("b", &[]), run("c", &["--fresh"]));
    assert_eq!([first.0, second.0, fresh.0], [false, true, false]);
    assert!(first.1 == second.1 && first.1 == fresh.1, "the videos are the same to the byte");
}

#[test]
fn a_policy_is_trained_on_videos_and_attached_to_a_pack_without_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    let dldm = DldmConfig {
        channels: 8,
        channels_mult: vec![1, 2],
        z_channels: 16,
        connector_channels: 16,
        ..DldmConfig::craft_mini()
    };
    let device = gpu::choose(DeviceChoice::Cpu).expect("a processor").device;
    let contents =
        PackContents { dldm: Weights::of(&dldm.init(&device), &KEYS), ..PackContents::default() };
    let manifest = Manifest {
        name: "bare".to_owned(),
        frame_size: FrameSize { height: 32, width: 64 },
        coarse_size: FrameSize { height: 16, width: 32 },
        frames_per_clip: 9,
        vdm: None,
        dldm,
        ..Manifest::videoworld2()
    };
    Pack::write(&folder.join("bare"), manifest, &contents).expect("written");
    let size = FrameSize { height: 40, width: 60 };
    let frames = Episode::sample(Task::Boat, Split::Train, 1).clip(0, size).frames;
    std::fs::create_dir_all(folder.join("mine/boat")).expect("made");
    write_gif(&folder.join("mine/boat/a.gif"), &frames, 8.0).expect("written");
    write_gif(&folder.join("mine/boat/b.gif"), &frames[..9], 8.0).expect("written");

    let policy = |rest: &[&'static str]| {
        [&["train", "policy", "--run", "run", "--iterations", "2", "--device", "cpu"], rest]
            .concat()
    };
    refused(folder, &policy(&["--videos", "mine"]), "--from");
    refused(folder, &policy(&["--from", "bare", "--videos", "none"]), "none: ");
    refused(folder, &policy(&["--from", "bare", "--videos", "."]), "bare is no folder of a task");
    let all = ["train", "all", "--run", "run", "--from", "bare"];
    refused(folder, &[&all[..], &["--videos", "mine"]].concat(), "train policy alone");
    assert!(!folder.join("run").exists(), "nothing was begun");

    let output = studio(folder, &policy(&["--from", "bare", "--videos", "mine"]));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("found: 2, clips of the longest: boat 2; "), "{said}");
    assert!(said.contains("mine/boat/a.gif has 8"), "{said}");
    // Gone on with under another spelling of the same name.
    let again = studio(folder, &policy(&["--from", "bare", "--videos", "./mine"]));
    assert!(again.status.success(), "{}", text(&again.stderr));
    refused(folder, &policy(&["--episodes", "5"]), "learns from videos");
    std::fs::rename(folder.join("mine"), folder.join("other")).expect("renamed");
    let other = policy(&["--from", "bare", "--videos", "other"]);
    refused(folder, &other, "run was begun without these videos");
    refused(folder, &["train", "pack", "--run", "run", "--out", "bare"], "into another folder");
    let output = studio(folder, &["train", "pack", "--run", "run", "--out", "with"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("coarse video alone, a policy"));

    let rollout = ["rollout", "--pack", "with", "--device", "cpu", "--coarse-only", "--out", "o"];
    let output = studio(folder, &[&rollout[..], &["--clips", "2"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let codes = json(&folder.join("o/codes.json"));
    let clips = codes["clips"].as_array().expect("a list");
    let count = |clip: &serde_json::Value| clip["codes"].as_array().expect("codes").len();
    assert!(clips.len() == 2 && clips.iter().all(|clip| count(clip) == 8), "{codes}");
    let before = ["rollout", "--pack", "bare", "--device", "cpu", "--coarse-only", "--out", "p"];
    refused(folder, &before, "no policy");
}
