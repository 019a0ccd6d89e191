//! Another machine's device, here a second process on the loopback address: the same pixels, what
//! is said when it cannot be had, and what is left when it goes away in the middle of a clip.

use std::io::{BufRead as _, BufReader};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::craft::{Episode, Split, Task};
use engine::gpu::DeviceChoice;
use engine::media::FrameSize;
use engine::memory::Budget;
use engine::pack::{PackSource, Scale};
use engine::rollout::{ClipKey, ClipQuality, Path, Sampling, Stage};
use engine::worker::{Event, JobId, Request, Worker};

const TOKEN: &str = "loopback";
const PATIENCE: Duration = Duration::from_secs(300);

/// The program that was built beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let folder = test.parent().and_then(FilePath::parent).expect("target/release/deps");
    let program = folder.join("videoworld-studio").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "{} is missing; run tests/remote.sh", program.display());
    program
}

fn studio(folder: &FilePath, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(folder).env("HOME", folder).env_remove("XDG_CACHE_HOME");
    command
}

/// A process that lends its processor until it is dropped.
struct Lender {
    process: Child,
    address: String,
}

impl Lender {
    fn start(folder: &FilePath, port: &str) -> Self {
        let args = ["serve", "--device", "cpu", "--listen", "127.0.0.1", "--port", port];
        let mut command = studio(folder, &args);
        let mut process = command
            .env("VIDEOWORLD_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = said
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("address: ").map(str::to_owned))
            .expect("serve says its address");
        // What else it says has to go somewhere.
        std::thread::spawn(move || said.for_each(drop));
        Self { process, address }
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("an address ends with its port")
    }

    fn device(&self) -> DeviceChoice {
        match self.address.parse().expect("an address") {
            DeviceChoice::Remote(remote) => DeviceChoice::Remote(remote.with_token(TOKEN)),
            device => panic!("{device} is no other machine"),
        }
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Exit code 2 and one sentence at the end, without a trace of a panic.
fn refused(output: &Output, said: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.lines().last().unwrap_or_default().contains(said), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_rollout_elsewhere_is_the_one_made_here() {
    let dir = tempfile::tempdir().expect("a folder");
    let lender = Lender::start(dir.path(), "0");
    let rollout = |device: &str, out: &str| {
        let args = ["rollout", "--clips", "1", "--steps", "2", "--seed", "3", "--fresh"];
        let mut command = studio(dir.path(), &args);
        command.args(["--remote", device, "--out", out]).env("VIDEOWORLD_TOKEN", TOKEN);
        let output = command.output().expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = rollout(&lender.address, "there");
    assert!(said.contains(&format!("computing on another machine, {}", lender.address)), "{said}");
    rollout("cpu", "here");
    for file in ["coarse.png", "refined.png"] {
        let bytes = |out: &str| std::fs::read(dir.path().join(out).join(file)).expect("written");
        assert!(bytes("there") == bytes("here"), "{file} differs");
    }
}

#[test]
fn what_cannot_be_had_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().expect("a folder");
    let lender = Lender::start(dir.path(), "0");
    let info = |address: &str, token: &str| {
        let args = ["info", "--remote", address, "--token", token];
        studio(dir.path(), &args).env_remove("VIDEOWORLD_TOKEN").output().expect("it ran")
    };
    let output = info(&lender.address, TOKEN);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    refused(&info(&lender.address, "guessed"), "refused the token");
    refused(&info(&lender.address, ""), "refused the token");
    let address = lender.address.clone();
    drop(lender);
    let asked = Instant::now();
    refused(&info(&address, TOKEN), "cannot be reached");
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}

#[test]
fn a_rollout_whose_machine_goes_away_ends_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a folder");
    let lender = Lender::start(dir.path(), "0");
    let args = ["rollout", "--clips", "1", "--out", "o", "--remote", lender.address.as_str()];
    let mut process = studio(dir.path(), &args)
        .env("VIDEOWORLD_TOKEN", TOKEN)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stderr = BufReader::new(process.stderr.take().expect("piped"));
    let (mut lender, mut said) = (Some(lender), String::new());
    for line in stderr.lines().map_while(Result::ok) {
        if line.contains(Stage::Refining.label()) {
            lender = None;
        }
        said += &line;
        said.push('\n');
    }
    assert!(lender.is_none(), "it never refined: {said}");
    let status = process.wait().expect("it ended");
    refused(&Output { status, stdout: Vec::new(), stderr: said.into_bytes() }, "was lost");
    assert!(dir.path().join("o/coarse.png").exists(), "what was finished is kept");
}

/// What happened until `job` ended; `at` sees each event as it comes.
fn until_end(worker: &Worker, job: JobId, mut at: impl FnMut(&Event)) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = worker.events().recv_timeout(PATIENCE).expect("an event in time");
        at(&event);
        let ended = match &event {
            Event::Finished { job: of } | Event::Cancelled { job: of } => *of == job,
            Event::Failed { job: of, .. } => *of == job,
            Event::Died { .. } => true,
            _ => false,
        };
        events.push(event);
        if ended {
            return events;
        }
    }
}

/// The device that the pack was opened on last.
fn device(events: &[Event]) -> Option<&str> {
    events.iter().rev().find_map(|event| match event {
        Event::PackOpened { pack, .. } => Some(pack.device.as_str()),
        _ => None,
    })
}

#[test]
fn the_studio_goes_on_here_and_can_go_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut lender = Some(Lender::start(dir.path(), "0"));
    let elsewhere = lender.as_ref().expect("it was just started").device();
    let port = lender.as_ref().expect("it was just started").port().to_owned();
    let worker =
        Worker::spawn(DeviceChoice::Cpu.into(), Budget::Auto, Scale::default(), None, || {});
    let done = |request: Request| {
        let job = worker.send(request);
        until_end(&worker, job, |_| {})
    };
    let finished = |events: &[Event]| matches!(events.last(), Some(Event::Finished { .. }));
    let opened = done(Request::OpenPack(PackSource::Embedded));
    let Some(Event::PackOpened { pack, .. }) =
        opened.iter().find(|event| matches!(event, Event::PackOpened { .. }))
    else {
        panic!("{opened:?}");
    };
    let (height, width) = pack.frame_size;
    let (id, codes) = (pack.id, vec![7; pack.codes_per_clip()]);
    let episode = Episode::sample(Task::Boat, Split::Test, 5);
    let start = Arc::new(episode.frame(0, FrameSize { height, width }));
    let path = Path { start, task: Task::Boat, clips: Vec::new() }.then(codes, 0);
    let sampling = Sampling {
        temperature: 0.0,
        seed: 0,
        refine_steps: 30,
        guidance: 1.0,
        scale: Scale::default(),
    };

    let moved = done(Request::Move(elsewhere));
    assert!(finished(&moved) && device(&moved).is_some_and(|d| d.contains("ws://")), "{moved:?}");

    let job = worker.send(Request::Refine { path: path.clone(), sampling: sampling.clone() });
    let events = until_end(&worker, job, |event| {
        if let Event::Progressed { progress, .. } = event
            && progress.stage == Stage::Refining
            && progress.done > 0
        {
            lender = None;
        }
    });
    assert!(lender.is_none(), "it never refined: {events:?}");
    let Some(Event::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert!(reason.contains("was lost") && reason.contains("CPU"), "{reason}");
    assert!(device(&events).is_some_and(|device| device.starts_with("CPU")), "{events:?}");
    assert!(worker.store().get(ClipKey::coarse(&id, &path)).is_some(), "finished clips stay");

    let sampling = Sampling { refine_steps: 2, ..sampling };
    assert!(
        finished(&done(Request::Refine { path: path.clone(), sampling: sampling.clone() })),
        "this machine goes on"
    );
    let here = worker.store().get(ClipKey::refined(&id, &path, &sampling)).expect("refined here");
    assert_eq!(here.quality, ClipQuality::Refined);

    // burn keeps the session that was lost under this very address and token.
    let _again = Lender::start(dir.path(), &port);
    let moved = done(Request::Move(elsewhere));
    assert!(finished(&moved) && device(&moved).is_some_and(|d| d.contains("ws://")), "{moved:?}");
    let next = path.then(vec![9; pack.codes_per_clip()], 0);
    assert!(finished(&done(Request::Coarse { path: next, sampling })), "the new session computes");
}
