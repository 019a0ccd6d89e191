//! `train`: one stage, all of them, or the pack of what was trained so far.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use engine::gpu::{self, DeviceChoice};
use engine::pack::{PackSource, TaskEntry};
use engine::train::{PackSettings, Recipe, RunFolder, Stage, TaskVideos, Tick};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// vae, vdm, warmup, joint or policy; all of them in this order; or pack, to make a pack of the run
    #[arg(value_name = "STAGE")]
    what: What,
    /// The run's folder; a run that exists goes on from its last checkpoints
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Go on from a pack, a folder or embedded, instead of fresh networks; a run that exists keeps
    /// to what it began with
    #[arg(long, value_name = "PACK")]
    from: Option<PackSource>,
    /// With --from: the warm-up trains the decoder alone, so that the codes keep their meaning and
    /// the policy still fits
    #[arg(long, requires = "from")]
    keep_codes: bool,
    /// With policy --from: learn from videos of one's own instead of the craft world's. The folder
    /// holds one folder a task, named airplane, boat, tower, horse or person, and these the videos,
    /// as encode reads them; a video goes from a starting frame to the end of the task. Something
    /// else that is done goes under whichever of the names it shall be asked for by
    #[arg(long, requires = "from", value_name = "FOLDER")]
    videos: Option<PathBuf>,
    /// Craft-world episodes that the policy learns from, which are all encoded before its training
    /// begins; 1200 when left out, or what 2 GB of features allow for a larger pack
    #[arg(long, value_name = "N", conflicts_with = "videos")]
    episodes: Option<usize>,
    /// Minutes of training in all, those before a restart included
    #[arg(long, value_name = "MINUTES", default_value_t = 60.0)]
    budget: f64,
    /// Ends a stage after this many iterations, if its minutes last that long
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Where the networks run: auto, vulkan, metal, dx12, cpu, or ws://HOST:PORT, the device that
    /// another machine lends (its token in VIDEOWORLD_TOKEN)
    #[arg(long, visible_alias = "remote", value_name = "DEVICE", default_value_t)]
    device: DeviceChoice,
    /// The folder to write the pack into, with pack
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    One(Stage),
    All,
    Pack,
}

impl FromStr for What {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "all" => Ok(Self::All),
            "pack" => Ok(Self::Pack),
            stage => stage.parse().map(Self::One).map_err(|_| {
                let names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
                format!(
                    "there is no stage '{name}'; choose one of {}, all or pack",
                    names.join(", ")
                )
            }),
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    if !args.budget.is_finite() || args.budget <= 0.0 {
        bail!("--budget must be above 0 minutes");
    }
    if args.iterations == Some(0) {
        bail!("--iterations must be at least 1");
    }
    if args.episodes == Some(0) {
        bail!("--episodes must be at least 1");
    }
    if args.videos.is_some() && args.what != What::One(Stage::Policy) {
        bail!(
            "--videos belongs to train policy alone; the other stages learn from the craft world"
        );
    }
    match (args.what, &args.out) {
        (What::Pack, Some(out)) => return pack(args, out),
        (What::Pack, None) => bail!("train pack needs --out <FOLDER> to write the pack into"),
        (_, Some(_)) => bail!("--out belongs to train pack alone; training writes into --run"),
        (_, None) => {}
    }
    let folder = match RunFolder::open(&args.run)? {
        Some(folder) => {
            keeps_to(args, &folder.recipe)?;
            folder
        }
        None => RunFolder::begin(&args.run, recipe(args)?)?,
    };
    let chosen = gpu::choose(args.device)?;
    eprintln!("computing on {}", chosen.description);
    let budget = Duration::from_secs_f64(60.0 * args.budget);
    let stages: Vec<(Stage, Duration)> = match args.what {
        What::One(stage) => vec![(stage, budget)],
        _ => Stage::ALL.map(|stage| (stage, budget.mul_f64(stage.share()))).to_vec(),
    };
    for (stage, budget) in stages {
        let minutes = budget.as_secs_f64() / 60.0;
        eprintln!("stage {}, {minutes:.1} minutes in all", stage.name());
        folder.train(stage, budget, args.iterations, &chosen.device, &mut |tick| {
            eprintln!("{}", line(tick));
        })?;
        println!(
            "finished {}: log, plot and checkpoint in {}",
            stage.name(),
            folder.stage(stage).display()
        );
    }
    Ok(())
}

/// What a new run trains.
fn recipe(args: &Args) -> Result<Recipe> {
    let mut recipe = match &args.from {
        None => Recipe::craft_mini(),
        Some(pack) => {
            let videos = args.videos.as_deref().map(absolute).transpose()?;
            let recipe = Recipe::from_pack(pack.clone(), videos.as_deref())?;
            Recipe { keep_codes: args.keep_codes, ..recipe }
        }
    };
    if let Some(episodes) = args.episodes {
        recipe.policy_episodes = episodes;
    }
    if let Some(videos) = &recipe.videos {
        eprintln!("{}", found(videos));
    }
    Ok(recipe)
}

/// Refuses what a run that exists was not begun with.
fn keeps_to(args: &Args, recipe: &Recipe) -> Result<()> {
    let run = args.run.display();
    let videos = args.videos.as_deref().map(absolute).transpose()?;
    let learns_from = recipe.videos.as_ref().map(|videos| &videos.folder);
    if videos.is_some() && learns_from != videos.as_ref() {
        bail!("{run} was begun without these videos; give another --run");
    }
    let begun_with = recipe.policy_episodes;
    match args.episodes {
        Some(_) if recipe.videos.is_some() => {
            bail!("{run} learns from videos and not from --episodes; give another --run")
        }
        Some(episodes) if episodes != begun_with => {
            bail!("{run} was begun with --episodes {begun_with}; give another --run")
        }
        _ => Ok(()),
    }
}

/// A folder by a name that holds from anywhere, since runs are gone on with from anywhere.
fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("{} is no folder", folder.display()))
}

fn pack(args: &Args, out: &Path) -> Result<()> {
    let Some(folder) = RunFolder::open(&args.run)? else {
        bail!("{} holds no training run; start one with train all", args.run.display());
    };
    let chosen = gpu::choose(args.device)?;
    let settings = PackSettings::craft_mini();
    let pack = folder
        .pack(out, &settings, &chosen.device, &mut |doing| eprintln!("{doing}"))
        .with_context(|| format!("no pack could be made of {}", args.run.display()))?;
    let manifest = &pack.manifest;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    println!(
        "wrote the pack {} to {}: {:.1} MB, {}, {}",
        manifest.name,
        out.display(),
        bytes as f64 / 1e6,
        if manifest.vdm.is_some() { "refined video" } else { "coarse video alone" },
        if manifest.planner.is_some() { "a policy" } else { "no policy" },
    );
    Ok(())
}

/// How many videos there are, the clips of the longest of each task, and whether one has another
/// speed than the pack.
fn found(videos: &TaskVideos) -> String {
    let task = |entry: &TaskEntry| format!("{} {}", entry.task.name(), entry.clips);
    let tasks: Vec<String> = videos.tasks.iter().map(task).collect();
    let speed = videos.other_fps.as_ref().map_or(String::new(), |(path, fps)| {
        let path = path.display();
        format!("; {path} has {fps:.1} frames a second, which is not the pack's speed: codes are those of frames, not of seconds")
    });
    let count = videos.count;
    format!("videos found: {count}, clips of the longest: {}{speed}", tasks.join(", "))
}

/// Stage, iteration, measures, speed and time left in one line.
fn line(tick: &Tick) -> String {
    let measures: Vec<String> = tick
        .measures
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| format!("{} {value:.4}", name.replace('_', " ")))
        .collect();
    let left = tick.left.as_secs();
    format!(
        "{} {:>6}  {}  {:.2} a second  {}:{:02} left",
        tick.stage,
        tick.iteration,
        measures.join("  "),
        tick.per_second,
        left / 60,
        left % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(what: What, run: &Path) -> Args {
        Args {
            what,
            run: run.to_owned(),
            budget: 1.0,
            iterations: Some(1),
            device: DeviceChoice::Cpu,
            from: None,
            keep_codes: false,
            videos: None,
            episodes: None,
            out: None,
        }
    }

    #[test]
    fn stages_are_called_by_name() {
        assert_eq!("all".parse(), Ok(What::All));
        assert_eq!("joint".parse(), Ok(What::One(Stage::Joint)));
        let error = "jiont".parse::<What>().unwrap_err();
        assert!(error.contains("'jiont'") && error.contains("warmup") && error.contains("pack"));
    }

    #[test]
    fn a_tick_is_one_line() {
        let tick = Tick {
            stage: "joint",
            iteration: 120,
            per_second: 1.25,
            left: Duration::from_secs(125),
            measures: vec![("loss", 0.5), ("wrong_code_gap_db", 1.0), ("none", f64::NAN)],
        };
        assert_eq!(
            line(&tick),
            "joint    120  loss 0.5000  wrong code gap db 1.0000  1.25 a second  2:05 left"
        );
    }

    #[test]
    fn what_cannot_be_done_is_told_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let refused = |args: &Args| run(args).unwrap_err().to_string();
        assert!(refused(&args(What::Pack, &path)).contains("--out"));
        let out = Some(dir.path().join("pack"));
        let told = refused(&Args { out: out.clone(), ..args(What::Pack, &path) });
        assert!(told.contains("holds no training run"), "{told}");
        assert!(refused(&Args { out, ..args(What::All, &path) }).contains("--run"));
        let videos = Some(dir.path().to_owned());
        assert!(refused(&Args { videos, ..args(What::All, &path) }).contains("train policy alone"));
        let episodes = Some(0);
        assert!(refused(&Args { episodes, ..args(What::All, &path) }).contains("--episodes"));
        assert!(refused(&Args { budget: 0.0, ..args(What::All, &path) }).contains("--budget"));
        assert!(!path.exists());
    }
}
