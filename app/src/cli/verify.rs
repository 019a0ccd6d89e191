//! `verify`: whether the device computes what the processor computes.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::eval;
use engine::media::write_atomic;

use super::engine_args::EngineArgs;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let pack = args.engine.pack.open()?;
    let chosen = args.engine.choose(&pack)?;
    let description = &chosen.description;
    let mut said = "";
    let mut watch = |doing: &'static str, _: usize, _: usize| {
        if said != doing {
            said = doing;
            eprintln!("{doing}");
        }
        ControlFlow::Continue(())
    };
    let verified = eval::verify(&pack, &chosen, &mut watch)?;
    println!("{}", verified.table);
    if let Some(file) = &args.json {
        write_atomic(file, &serde_json::to_vec_pretty(&verified)?)?;
    }
    if !verified.wrong.is_empty() {
        let wrong = verified.wrong.join(", ");
        bail!("{description} computes wrongly: {wrong}; use --device cpu or another driver");
    }
    println!("every part agrees");
    Ok(())
}
