//! `import`: the official weights made into a pack, and fetched before where that is asked for.

use std::io::{BufRead, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use engine::import::{
    ESTIMATE, Hub, PUBLISHED, Progress, REPORT, Stage, Watch, beside, import, refuse_taken, sizes,
};
use engine::memory::human;
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
    /// Fetch the published files into the folder first, or what it lacks of them; asks before
    /// anything is sent
    #[arg(long)]
    fetch: bool,
    /// Fetch without asking
    #[arg(long, requires = "fetch")]
    yes: bool,
    /// The address of the hub to fetch from; when left out that in HF_ENDPOINT, else the public one
    #[arg(long, value_name = "URL", requires = "fetch")]
    endpoint: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if args.fetch {
        // Told now rather than after gigabytes.
        refuse_taken(&args.out)?;
        let stdin = std::io::stdin();
        let can_answer = stdin.is_terminal();
        if !fetch(args, can_answer, &mut stdin.lock())? {
            println!("nothing was fetched");
            return Ok(());
        }
    }
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
    eprintln!(
        "the pack grows in {}; stopped with Ctrl-C that stays, until the next import to {} clears \
         it away",
        beside(&args.out)?.display(),
        args.out.display()
    );
    let report = telling(|tell| import(&args.from, &args.out, manifest, tell));
    print!("{}", report?);
    let out = args.out.display();
    println!("wrote the pack to {out}; {REPORT} in it accounts for every tensor");
    Ok(())
}

/// Asks and fetches; `false` when the answer was no.
fn fetch(args: &Args, can_answer: bool, answers: &mut dyn BufRead) -> Result<bool> {
    let hub = Hub::new(args.endpoint.as_deref())?;
    for (repository, files) in PUBLISHED {
        println!("{repository}: {}", files.join(", "));
    }
    let (to, endpoint) = (args.from.display(), hub.endpoint());
    let sizes = format!("an estimated {} to {}", human(*ESTIMATE.start()), human(*ESTIMATE.end()));
    println!("from {endpoint} into {to}: {sizes}");
    let mut is_agreed = || -> Result<bool> {
        Ok(args.yes || {
            if !can_answer {
                bail!("nobody can be asked here; --yes fetches without asking");
            }
            agreed(answers)?
        })
    };
    if !is_agreed()? {
        return Ok(false);
    }
    let listing = telling(|tell| hub.list(tell))?;
    for (file, size) in listing.files() {
        println!("{file}: {}", human(size));
    }
    if listing.size() > *ESTIMATE.end() {
        println!("{}, more than was estimated", human(listing.size()));
        if !is_agreed()? {
            return Ok(false);
        }
    }
    telling(|tell| listing.fetch(&args.from, tell))?;
    println!("fetched {} into {to}", human(listing.size()));
    Ok(true)
}

/// Only a yes is one.
fn agreed(answers: &mut dyn BufRead) -> Result<bool> {
    print!("Fetch them? [y/N] ");
    std::io::stdout().flush().context("the question could not be asked")?;
    let mut answer = String::new();
    answers.read_line(&mut answer).context("the answer could not be read")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Does something that tells how far it is, and shows that on standard error.
fn telling<T>(work: impl FnOnce(&mut Watch<'_>) -> T) -> T {
    let on_terminal = std::io::stderr().is_terminal();
    let mut told: Option<(Stage, u64)> = None;
    let done = work(&mut |at: Progress| {
        let stage = at.stage;
        let percent = 100 * at.done / at.total.max(1);
        let before = told.replace((stage, percent));
        if on_terminal && before != told {
            eprint!("\r{:<60}", format!("{stage} {}", at.figures()));
            std::io::stderr().flush().ok();
        } else if !on_terminal && before.is_none_or(|(before, _)| before != stage) {
            eprintln!("{stage}");
        }
        ControlFlow::Continue(())
    });
    if on_terminal && told.is_some() {
        eprintln!();
    }
    done
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    /// What a fetch does that is answered so, and that it sends nothing.
    fn sends_nothing(can_answer: bool, mut answer: &[u8]) -> Result<bool> {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        server.set_nonblocking(true).expect("non-blocking");
        let folder = tempfile::tempdir().expect("a folder");
        let args = Args {
            from: folder.path().join("downloads"),
            out: folder.path().join("pack"),
            sizes: None,
            name: None,
            fetch: true,
            yes: false,
            endpoint: Some(format!("http://{}", server.local_addr().expect("an address"))),
        };
        let done = fetch(&args, can_answer, &mut answer);
        let nobody = server.accept().expect_err("nothing may be sent");
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
        done
    }

    #[test]
    fn whoever_does_not_say_yes_sends_nothing() {
        for answer in ["n\n", "\n", "", "no\n", "perhaps\n"] {
            assert!(!sends_nothing(true, answer.as_bytes()).expect("an answer"), "{answer:?}");
        }
        let error = sends_nothing(false, b"y\n").expect_err("nobody was there").to_string();
        assert!(error.contains("--yes fetches without asking"), "{error}");
    }

    #[test]
    fn a_yes_is_one_in_any_case() {
        for answer in ["y\n", "YES\n", " Yes \r\n"] {
            assert!(agreed(&mut answer.as_bytes()).expect("an answer"), "{answer:?}");
        }
    }
}
