//! `eval`: the tables behind every claim about a pack.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail};
use engine::craft::judge;
use engine::eval;
use engine::media::{write_atomic, write_png};
use engine::pack::Pack;
use engine::rollout::Runner;
use serde::Serialize;

use super::engine_args::EngineArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// codes, refined, policy, rollouts, judge, or craft for all of them
    #[arg(value_name = "WHAT")]
    what: What,
    /// Clips or rollouts a task
    #[arg(long, value_name = "N", default_value_t = 40)]
    clips: usize,
    /// Judge rollouts by their coarse video alone, which is much faster
    #[arg(long)]
    coarse_only: bool,
    /// Also write the tables as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write tables and pictures into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Codes,
    Refined,
    Policy,
    Rollouts,
    Judge,
    Craft,
}

impl FromStr for What {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "codes" => Self::Codes,
            "refined" => Self::Refined,
            "policy" => Self::Policy,
            "rollouts" => Self::Rollouts,
            "judge" => Self::Judge,
            "craft" => Self::Craft,
            _ => {
                return Err(format!(
                    "there is no measure '{name}'; choose one of codes, refined, policy, rollouts, judge or craft"
                ));
            }
        })
    }
}

/// Everything that was measured, as JSON.
#[derive(Serialize)]
struct Report {
    pack: String,
    pack_id: String,
    clips_a_task: usize,
    tables: serde_json::Map<String, serde_json::Value>,
    /// What was asked for and could not be measured, with the reason.
    left_out: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl Report {
    fn add(&mut self, name: &str, table: &(impl Serialize + Display)) -> Result<()> {
        println!("{table}");
        self.text.push_str(&format!("{table}\n"));
        self.tables.insert(name.to_owned(), serde_json::to_value(table)?);
        Ok(())
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        println!("{what}: not measured, {why}\n");
        self.text.push_str(&format!("{what}: not measured, {why}\n\n"));
        self.left_out.push(format!("{what}: {why}"));
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.clips == 0 {
        bail!("--clips must be at least 1");
    }
    let pack = args.engine.pack.open()?;
    let mut report = Report {
        pack: pack.manifest.name.clone(),
        pack_id: pack.id.to_string(),
        clips_a_task: args.clips,
        tables: serde_json::Map::new(),
        left_out: Vec::new(),
        text: String::new(),
    };
    if matches!(args.what, What::Judge | What::Craft) {
        report.add("judge", &judge::measure(args.clips, pack.manifest.frame_size))?;
    }
    if args.what != What::Judge {
        networks(args, &pack, &mut report)?;
    }
    if let Some(file) = &args.json {
        write_atomic(file, &serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(folder) = &args.out {
        write_atomic(&folder.join("tables.txt"), report.text.as_bytes())?;
    }
    Ok(())
}

/// The measures that need the pack's networks.
fn networks(args: &Args, pack: &Pack, report: &mut Report) -> Result<()> {
    let (_, runner) = args.engine.runner()?;
    let models = runner.models();
    let all = args.what == What::Craft;
    let asked = |what: What| all || args.what == what;
    let mut line = Line::new();
    let mut progress = |doing: &'static str, done: usize, of: usize| line.show(doing, done, of);
    if asked(What::Codes) {
        report.add("codes", &eval::codes(models, args.clips, &mut progress)?)?;
    }
    if asked(What::Refined) {
        if all && !runner.pack().has_refiner {
            report.leave_out("refined video", "this pack has no diffusion model");
        } else {
            refined(args, pack, &runner, report, &mut progress)?;
        }
    }
    if all && !runner.pack().has_policy {
        report.leave_out("policy and rollouts", "this pack has no policy");
        return Ok(());
    }
    if asked(What::Policy) {
        let networks = pack.load(models.device())?;
        let table = eval::policy(&networks, &pack.manifest, args.clips, &mut progress)?;
        report.add("policy", &table)?;
    }
    if asked(What::Rollouts) {
        let table = eval::rollouts(&runner, args.clips, args.coarse_only, &mut progress)?;
        report.add("rollouts", &table)?;
    }
    Ok(())
}

fn refined(
    args: &Args,
    pack: &Pack,
    runner: &Runner,
    report: &mut Report,
    progress: &mut eval::Progress<'_>,
) -> Result<()> {
    let networks = pack.load(runner.models().device())?;
    let refined = eval::refined(runner.models(), &networks, args.clips, progress)?;
    report.add("refined", &refined)?;
    if let Some(folder) = &args.out {
        write_png(&folder.join("refined.png"), &refined.sheet)?;
    }
    Ok(())
}

/// One moving line on a terminal, one line a measure elsewhere.
struct Line {
    on_terminal: bool,
    doing: &'static str,
}

impl Line {
    fn new() -> Self {
        Self { on_terminal: std::io::stderr().is_terminal(), doing: "" }
    }

    fn show(&mut self, doing: &'static str, done: usize, of: usize) {
        if self.on_terminal {
            eprint!("\r{:<60}", format!("{doing} {done}/{of}"));
            if done == of {
                eprintln!();
            }
            std::io::stderr().flush().ok();
        } else if self.doing != doing {
            eprintln!("{doing}");
        }
        self.doing = doing;
    }
}

#[cfg(test)]
mod tests {
    use engine::pack::PackSource;

    use super::*;

    #[test]
    fn measures_are_called_by_name() {
        assert_eq!("rollouts".parse(), Ok(What::Rollouts));
        let error = "rolouts".parse::<What>().unwrap_err();
        assert!(error.contains("'rolouts'") && error.contains("craft"), "{error}");
    }

    #[test]
    fn the_judge_needs_no_network_and_its_table_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("judge.json");
        let args = Args {
            what: What::Judge,
            clips: 1,
            coarse_only: false,
            json: Some(json.clone()),
            out: Some(dir.path().to_owned()),
            engine: EngineArgs {
                pack: PackSource::Embedded,
                device: engine::gpu::DeviceChoice::Cpu,
                token: None,
                precision: engine::gpu::PrecisionChoice::Auto,
                eight_bit: false,
            },
        };
        run(&args).unwrap();
        let report: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        assert_eq!(report["tables"]["judge"]["rows"].as_array().unwrap().len(), 5);
        let text = std::fs::read_to_string(dir.path().join("tables.txt")).unwrap();
        assert!(text.contains("airplane"), "{text}");
        assert!(run(&Args { clips: 0, ..args }).is_err());
    }
}
