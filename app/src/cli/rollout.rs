//! `rollout`: a whole task from one picture, written as videos, pictures and JSON.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use engine::craft::{Episode, Split, Task};
use engine::media::{self, Clip, Fit, Frame};
use engine::memory::{self, Budget, human};
use engine::pack::{Estimate, Job, Manifest, Pack, Residence, Scale};
use engine::rollout::{
    ClipCache, ClipKey, NewClip, Node, NodeId, Origin, PackSummary, Rollout, Runner, Sampling,
    Session, Unfinished, code_strip, map_picture,
};

use super::engine_args::{EngineArgs, load};
use super::progress::Progress;
use crate::codes::{CodesFile, Recorded};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The starting frame: PNG, JPEG, WebP, GIF or BMP; a built-in test frame when left out
    #[arg(long, value_name = "F")]
    pub frame: Option<PathBuf>,
    /// What is to be done: airplane, boat, tower, horse or person; the pack's first task when left out
    #[arg(long, value_name = "T")]
    pub task: Option<Task>,
    /// Play these codes instead of the policy's: a name that came with the pack (see info) or a
    /// file that rollout or encode wrote
    #[arg(long, value_name = "NAME|FILE")]
    pub codes: Option<String>,
    /// Clips to predict; the whole task when left out, or all that --codes has
    #[arg(long, value_name = "N")]
    pub clips: Option<usize>,
    /// Seed of the code draw and of the diffusion noise
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// 0 takes the most likely code everywhere; the pack's own when left out
    #[arg(long, value_name = "X")]
    pub temperature: Option<f32>,
    /// Steps of the diffusion sampler; the pack's own when left out
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Guidance weight of the diffusion sampler; the pack's own when left out
    #[arg(long, value_name = "X")]
    pub guidance: Option<f32>,
    /// How a picture of another shape is fitted: crop or letterbox
    #[arg(long, default_value = "crop", value_parser = parse_fit)]
    pub fit: Fit,
    /// Memory to stay within: auto, 24G or 800M; auto is what is free on this machine when the
    /// processor computes, a card's own memory less a tenth, and no limit where neither is known
    #[arg(long, value_name = "M", default_value_t)]
    pub memory: Budget,
    /// Refine at this share of the pack's height and width, 0.1 to 1: less memory, and at 0.5 about a
    /// ninth of the release's arithmetic. The networks were made for one size; how good smaller
    /// video is was not measured
    #[arg(long, value_name = "S", default_value_t)]
    pub scale: Scale,
    /// Leave the refined video out
    #[arg(long)]
    pub coarse_only: bool,
    /// Refine every clip anew, also those that an earlier run or the window finished and kept in
    /// this user's cache, and keep none there
    #[arg(long)]
    pub fresh: bool,
    /// The folder to write into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub engine: EngineArgs,
}

pub fn parse_fit(name: &str) -> Result<Fit, String> {
    match name {
        "crop" => Ok(Fit::Crop),
        "letterbox" => Ok(Fit::Letterbox),
        _ => Err(format!("there is no fit '{name}'; choose crop or letterbox")),
    }
}

pub fn run(args: &Args) -> Result<()> {
    // What is wrong with the arguments is told before the networks are loaded.
    if args.clips == Some(0) {
        bail!("--clips must be at least 1");
    }
    let out = &args.out;
    std::fs::create_dir_all(out)
        .map_err(|error| anyhow!("{} could not be written: {error}", out.display()))?;
    let picture = args.frame.as_deref().map(media::load_image).transpose()?;
    let (pack, chosen) = args.engine.open()?;
    let known = PackSummary::of(&pack, chosen.description.clone())?;
    let recorded = args.codes.as_deref().map(|name| Recorded::open(name, &known)).transpose()?;
    let there = recorded.as_ref().map(|recorded| recorded.clips.len());
    let job = Job {
        clips: args.clips.or(there).unwrap_or_else(|| pack.manifest.longest_task()),
        refined: !args.coarse_only,
        scale: args.scale,
        ..Job::on(&chosen)
    };
    let limit = args.memory.limit(chosen.free_memory());
    let (estimate, residence) = Estimate::plan(&pack.manifest, job, limit)?;
    tell(&estimate, residence, limit);
    check_clips(&pack.manifest, job, memory::free())?;
    let cache = if args.fresh { None } else { ClipCache::of_user().map(Arc::new) };
    let runner = load(&pack, &chosen, residence)?.keeping(cache.clone());
    // What is written at the end must still be there, and fits as was asked above.
    runner.store().set_budget(usize::MAX);
    let summary = runner.pack().clone();
    let task = match args.task {
        Some(task) => task,
        None => *summary.tasks.first().context("the pack knows no task")?,
    };
    let clips = match (&recorded, args.clips, summary.clips_of(task)) {
        (Some(recorded), clips, _) => {
            let there = recorded.clips.len();
            match clips {
                Some(clips) if clips > there => {
                    bail!("--clips {clips} is more than the {there} clips of {}", recorded.source)
                }
                clips => clips.unwrap_or(there),
            }
        }
        (None, _, _) if !summary.has_policy => {
            bail!("this pack has no policy; give codes to play with --codes")
        }
        (None, Some(clips), _) => clips,
        (None, None, Some(clips)) => clips,
        (None, None, None) => bail!("this pack does not know the task {}", task.label()),
    };
    let (start, source) = match (picture, &args.frame) {
        (Some(picture), Some(path)) => {
            (args.fit.apply(&picture, summary.frame_size()), path.display().to_string())
        }
        _ => built_in_start(task, args.seed, &summary),
    };
    let sampling = sampling(args, &summary)?;
    let rollout = Rollout::new(Arc::new(start), source, task);
    let out = Output { folder: &args.out, pack: &pack, runner: &runner, sampling, recorded };
    out.write(rollout, clips)?;
    if let Some(cache) = cache {
        cache.flush();
        if let Some(reason) = cache.take_failure() {
            eprintln!("{reason}");
        }
    }
    if let Some(beside) = chosen.taken().beside(estimate.peak(residence)) {
        println!("memory: {beside}");
    }
    Ok(())
}

/// What memory a rollout will take, before it takes any.
fn tell(estimate: &Estimate, residence: Residence, limit: Option<u64>) {
    let there =
        limit.map_or_else(|| "no limit is known".to_owned(), |l| format!("{} are there", human(l)));
    eprintln!("about {} of memory will be needed, {there}", human(estimate.peak(residence)));
    if residence == Residence::Released {
        eprintln!(
            "to stay within, the diffusion model is loaded for every clip and released after it"
        );
    }
}

/// Clips are kept on this machine. Where something else computes, its estimate leaves them out.
fn check_clips(manifest: &Manifest, job: Job, free: Option<u64>) -> Result<()> {
    let clips = Estimate::of(manifest, Job { in_own_memory: true, ..job }).clips;
    match free {
        Some(free) if !job.in_own_memory && clips > free => bail!(
            "{} clips take about {} of this machine's memory and {} are there; give fewer with --clips",
            job.clips,
            human(clips),
            human(free)
        ),
        _ => Ok(()),
    }
}

/// The first frame of a craft-world task in an environment that training never saw.
fn built_in_start(task: Task, seed: u64, pack: &PackSummary) -> (Frame, String) {
    let episode = Episode::sample(task, Split::Test, seed);
    let source = format!("craft world, {}, test environment {seed}", task.label());
    (episode.frame(0, pack.frame_size()), source)
}

fn sampling(args: &Args, pack: &PackSummary) -> Result<Sampling> {
    let own = &pack.sampling;
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or(own.temperature),
        seed: args.seed,
        refine_steps: args.steps.unwrap_or(own.refine_steps),
        guidance: args.guidance.unwrap_or(own.guidance),
        scale: args.scale,
    };
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        bail!("--temperature must be 0 or more");
    }
    if sampling.refine_steps == 0 {
        bail!("--steps must be at least 1");
    }
    if !sampling.guidance.is_finite() {
        bail!("--guidance must be a number");
    }
    Ok(sampling)
}

/// Where a rollout goes, and what makes it.
struct Output<'a> {
    folder: &'a FilePath,
    pack: &'a Pack,
    runner: &'a Runner,
    sampling: Sampling,
    /// Codes that take the place of the policy's.
    recorded: Option<Recorded>,
}

impl Output<'_> {
    /// Coarse video, codes and map are written before refining begins: they are there whatever
    /// happens then.
    fn write(&self, mut rollout: Rollout, clips: usize) -> Result<()> {
        let mut progress = Progress::new();
        let end = self.grow(&mut rollout, clips, &mut progress)?;
        let line: Vec<NodeId> = rollout.line(end);
        let nodes: Vec<&Node> = line.iter().map(|id| rollout.node(*id)).collect();
        let coarse_keys = self.keys(&rollout, &line, |path| ClipKey::coarse(&self.pack.id, path));
        let coarse = self.clips(&coarse_keys)?;
        progress.end();
        media::write_png(&self.folder.join("start.png"), &rollout.start)?;
        self.video("coarse", &coarse)?;
        self.codes(&rollout, &nodes)?;
        self.map(&nodes)?;
        let refine = self.runner.pack().has_refiner;
        if refine {
            for node in &line {
                // One by one, so that clips from the cache are in memory as well.
                self.runner.refine(&rollout.path(*node), &self.sampling, &mut progress)?;
            }
            progress.end();
            let found = line.len() as u64 - self.runner.store().decodes().refined;
            if found > 0 {
                let clips = if found == 1 { "clip was" } else { "clips were" };
                println!("{found} refined {clips} finished before; --fresh refines them anew");
            }
            let keys = self.keys(&rollout, &line, |path| {
                ClipKey::refined(&self.pack.id, path, &self.sampling)
            });
            let refined = self.clips(&keys)?;
            self.video("refined", &refined)?;
            self.sheet(&[&coarse, &refined])?;
        } else {
            self.sheet(&[&coarse])?;
        }
        if let Some(Recorded { source, .. }) = &self.recorded {
            println!("the codes are those of {source}");
        }
        println!(
            "wrote {} clips of \"{}\" to {}: {}coarse video (PNG frames, animated PNG, GIF), codes and map",
            clips,
            rollout.task.label(),
            self.folder.display(),
            if refine { "refined and " } else { "" },
        );
        Ok(())
    }

    fn grow(&self, rollout: &mut Rollout, clips: usize, progress: &mut Progress) -> Result<NodeId> {
        let mut end = Rollout::ROOT;
        for clip in 0..clips {
            let seed = self.sampling.seed;
            let recorded = self.recorded.as_ref().and_then(|codes| codes.clip(clip, seed));
            let grown = match recorded {
                Some(recorded) => recorded,
                None => {
                    let path = rollout.path(end);
                    let predictions = self.runner.predict(&path, &[], &self.sampling, progress)?;
                    NewClip { origin: Origin::Policy, predictions, seed }
                }
            };
            end = rollout.grow(end, grown);
            self.runner.coarse(&rollout.path(end), progress)?;
        }
        rollout.go_to(end);
        Ok(end)
    }

    fn keys(
        &self,
        rollout: &Rollout,
        line: &[NodeId],
        key: impl Fn(&engine::rollout::Path) -> ClipKey,
    ) -> Vec<ClipKey> {
        line.iter().map(|id| key(&rollout.path(*id))).collect()
    }

    fn clips(&self, keys: &[ClipKey]) -> Result<Vec<Clip>> {
        let found = keys.iter().map(|key| Some(self.runner.store().get(*key)?.clip));
        found.collect::<Option<_>>().context("the clips of this rollout do not fit into memory")
    }

    /// A video as PNG frames, animated PNG and GIF.
    fn video(&self, name: &str, clips: &[Clip]) -> Result<()> {
        let frames = media::join_clips(clips);
        let fps = self.runner.pack().fps;
        media::write_png_sequence(&self.folder.join(name), &frames)?;
        media::write_apng(&self.folder.join(format!("{name}.png")), &frames, fps)?;
        media::write_gif(&self.folder.join(format!("{name}.gif")), &frames, fps)?;
        Ok(())
    }

    /// The last frame of every clip, a row a kind of video, all at the refined video's size.
    fn sheet(&self, videos: &[&Vec<Clip>]) -> Result<()> {
        let size = self.runner.pack().frame_size();
        let last = videos.iter().flat_map(|clips| clips.iter().filter_map(|c| c.last()));
        let frames: Vec<Frame> = last.map(|frame| Fit::Crop.apply(frame, size)).collect();
        let columns = frames.len() / videos.len();
        let sheet = media::contact_strip(&frames, columns);
        Ok(media::write_png(&self.folder.join("sheet.png"), &sheet)?)
    }

    fn codes(&self, rollout: &Rollout, nodes: &[&Node]) -> Result<()> {
        let pack = self.runner.pack();
        let title = format!("{}, {}", rollout.task.label(), pack.name);
        let strip = code_strip(&title, nodes, pack)?;
        media::write_png(&self.folder.join("codes.png"), &strip)?;
        let (source, task, seed) = (rollout.source.clone(), rollout.task, self.sampling.seed);
        let file = match &self.recorded {
            Some(recorded) => {
                CodesFile::of_recorded(pack, source, task, seed, recorded, nodes.len())
            }
            None => {
                let predictions = nodes.iter().map(|node| node.predictions.as_slice());
                CodesFile::of_rollout(pack, source, task, seed, predictions)
            }
        };
        file.write(&self.folder.join("codes.json"))?;
        let session = Session {
            pack: pack.name.clone(),
            pack_id: pack.id.to_string(),
            sampling: self.sampling.clone(),
            rollout: rollout.clone(),
            unfinished: Unfinished::default(),
        };
        Ok(session.save(&self.folder.join("session.json"))?)
    }

    fn map(&self, nodes: &[&Node]) -> Result<()> {
        let pack = self.runner.pack();
        let set = self.pack.reference()?;
        let map = set.as_ref().and_then(|set| set.map(&pack.levels));
        let (Some(set), Some(map)) = (set, map) else {
            eprintln!("this pack has no map, so no map picture is written");
            return Ok(());
        };
        let codes: Vec<&[u16]> = nodes.iter().map(|node| node.choice.codes.as_slice()).collect();
        let title = format!("The rollout among the codes of {} known clips", set.clips.len());
        let picture = map_picture(&title, &set, &map, &codes)?;
        Ok(media::write_png(&self.folder.join("map.png"), &picture)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_that_a_card_computes_have_to_fit_into_this_machine() {
        let manifest = Manifest::videoworld2();
        let card = Job { clips: 100, in_own_memory: false, ..Job::default() };
        let check = |job, free| check_clips(&manifest, job, free);
        let error = check(card, Some(8_000_000_000)).unwrap_err().to_string();
        assert!(error.contains("8.0 GB are there") && error.contains("--clips"), "{error}");
        assert!(check(Job { clips: 7, ..card }, Some(8_000_000_000)).is_ok());
        assert!(check(card, None).is_ok(), "nobody knows");
        // The estimate of the processor has counted them.
        assert!(check(Job { in_own_memory: true, ..card }, Some(1)).is_ok());
    }
}
