//! `import`: the official weights made into a pack.

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use engine::import::{Progress, REPORT, Stage, import, sizes};
use engine::pack::Manifest;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the files as they were published; what they are follows from their content
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// The folder to write the pack into
    #[arg(long, value_name = "PACK")]
    out: PathBuf,
    /// The manifest.json of a pack whose sizes the networks have; when left out the one in the
    /// folder, else the release's sizes
    #[arg(long, value_name = "FILE")]
    sizes: Option<PathBuf>,
    /// What the pack is called
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if !args.from.is_dir() {
        bail!("{} is no folder; give the one with the published files", args.from.display());
    }
    let mut manifest = match &args.sizes {
        None => sizes(&args.from),
        Some(file) => Manifest::open(file),
    }
    .context("the sizes could not be read")?;
    if let Some(name) = &args.name {
        manifest.name.clone_from(name);
    }
    let on_terminal = std::io::stderr().is_terminal();
    let mut told: Option<Stage> = None;
    let mut tell = |Progress { stage, done, total }| {
        if on_terminal {
            let percent = 100 * done / total.max(1);
            eprint!("\r{:<60}", format!("{stage} {percent} %"));
            std::io::stderr().flush().ok();
        } else if told != Some(stage) {
            eprintln!("{stage}");
        }
        told = Some(stage);
        ControlFlow::Continue(())
    };
    let report = import(&args.from, &args.out, manifest, &mut tell);
    if on_terminal && told.is_some() {
        eprintln!();
    }
    print!("{}", report?);
    let out = args.out.display();
    println!("wrote the pack to {out}; {REPORT} in it accounts for every tensor");
    Ok(())
}
