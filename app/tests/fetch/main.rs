//! The published files, fetched from a hub on this machine.

mod hub;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use engine::import::{FetchError, Hub, PUBLISHED, Progress, Stage, Watch};
use engine::pack::Pack;

use hub::{LocalHub, Manners};

const FIRST: &str = "VideoWorld2_dLDM_VAE.pt";

/// A hub with small files of no meaning.
fn noise() -> (LocalHub, BTreeMap<&'static str, Vec<u8>>) {
    let names = PUBLISHED.iter().flat_map(|(_, files)| files.iter());
    let file = |(i, name): (usize, &&'static str)| {
        let noise = (0..200_000 + i).map(|at| (at * (7 + i) / 3 % 251) as u8);
        (*name, noise.collect())
    };
    let files: BTreeMap<_, _> = names.enumerate().map(file).collect();
    (LocalHub::serve(files.clone()), files)
}

fn fetch_with(hub: &LocalHub, to: &Path, watch: &mut Watch<'_>) -> Result<(), FetchError> {
    Hub::new(Some(&hub.endpoint()))?.list(watch)?.fetch(to, watch)
}

fn fetch(hub: &LocalHub, to: &Path) -> Result<(), FetchError> {
    fetch_with(hub, to, &mut |_| ControlFlow::Continue(()))
}

fn refusal(hub: &LocalHub, to: &Path) -> String {
    fetch(hub, to).expect_err("it must be refused").to_string()
}

fn part(to: &Path) -> PathBuf {
    to.join(format!(".{FIRST}.part"))
}

fn assert_holds(to: &Path, files: &BTreeMap<&'static str, Vec<u8>>) {
    for (name, content) in files {
        assert!(fs::read(to.join(name)).expect("a file") == *content, "{name}");
    }
    assert_eq!(fs::read_dir(to).expect("a folder").count(), files.len(), "nothing is left over");
}

#[test]
fn all_files_come_whole_and_none_comes_twice() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("downloads");
    let mut told = Vec::new();
    fetch_with(&hub, &to, &mut |at| {
        told.push((at.stage, at.done, at.total));
        ControlFlow::Continue(())
    })
    .expect("fetched");
    assert_holds(&to, &files);
    for name in files.keys() {
        assert_eq!(hub.ranges(name), ["bytes=0-"], "{name}");
    }
    assert_eq!(told[0].0, Stage::Asking);
    let size = files[FIRST].len() as u64;
    assert!(told.contains(&(Stage::Fetching(FIRST), 0, size)), "{told:?}");
    assert!(told.iter().all(|(_, done, total)| done <= total), "{told:?}");
    let before = hub.asked().len();
    fetch(&hub, &to).expect("there is nothing to do");
    assert_eq!(hub.asked().len(), before + PUBLISHED.len(), "only the lists are asked for again");
}

#[test]
fn a_list_tells_sizes_and_making_a_hub_sends_nothing() {
    let (local, files) = noise();
    let hub = Hub::new(Some(&format!("{}/", local.endpoint()))).expect("an address");
    assert!(local.asked().is_empty());
    let listing = hub.list(&mut |_| ControlFlow::Continue(())).expect("a list");
    let sizes: u64 = files.values().map(|file| file.len() as u64).sum();
    assert_eq!((listing.size(), listing.files().count()), (sizes, files.len()));
    assert!(listing.refuse_beyond(sizes).is_ok());
    let error = listing.refuse_beyond(sizes - 1).expect_err("more than agreed to").to_string();
    assert!(error.contains("agreed to"), "{error}");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_was() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    hub.behave(Manners { cuts: vec![70_000, 50_000], ..Manners::default() });
    fetch(&hub, folder.path()).expect("fetched");
    assert_eq!(hub.ranges(FIRST), ["bytes=0-", "bytes=70000-", "bytes=120000-"]);
    assert_holds(folder.path(), &files);
}

#[test]
fn a_fetch_that_failed_goes_on_the_next_time() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    hub.behave(Manners { cuts: vec![70_000, 0], ..Manners::default() });
    let error = refusal(&hub, folder.path());
    assert!(error.contains("broke off after 70.0 kB of 200.0 kB"), "{error}");
    assert_eq!(fs::read(part(folder.path())).expect("what came"), files[FIRST][..70_000]);
    fetch(&hub, folder.path()).expect("fetched");
    assert_eq!(hub.ranges(FIRST), ["bytes=0-", "bytes=70000-", "bytes=70000-"]);
    assert_holds(folder.path(), &files);
}

#[test]
fn a_whole_part_needs_no_more_bytes() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(part(folder.path()), &files[FIRST]).expect("written");
    fetch(&hub, folder.path()).expect("fetched");
    assert!(hub.ranges(FIRST).is_empty());
    assert_holds(folder.path(), &files);
}

#[test]
fn a_hub_without_ranges_sends_all_again() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(part(folder.path()), &files[FIRST][..1000]).expect("written");
    hub.behave(Manners { ignores_ranges: true, ..Manners::default() });
    fetch(&hub, folder.path()).expect("fetched");
    assert_eq!(hub.ranges(FIRST), ["bytes=1000-"]);
    assert_holds(folder.path(), &files);
}

#[test]
fn damaged_files_are_refused_and_removed() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    let removed = "came with another content than";
    hub.behave(Manners { is_damaged: true, ..Manners::default() });
    let error = refusal(&hub, folder.path());
    assert!(error.contains(FIRST) && error.contains(removed), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    hub.behave(Manners::default());
    // What lay there from before counts as well, and so does what is too long.
    for damaged in [vec![0; 1000], vec![0; 300_000]] {
        fs::write(part(folder.path()), damaged).expect("written");
        let error = refusal(&hub, folder.path());
        assert!(error.contains(removed), "{error}");
        assert!(!part(folder.path()).exists());
    }
    fetch(&hub, folder.path()).expect("fetched");
    assert_holds(folder.path(), &files);
}

#[test]
fn files_of_others_are_left_alone() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join(FIRST);
    for other in [vec![1; 10], vec![1; files[FIRST].len()]] {
        fs::write(&place, &other).expect("written");
        let error = refusal(&hub, folder.path());
        assert!(error.contains("is there already and is not the published file"), "{error}");
        assert!(fs::read(&place).expect("still there") == other);
    }
    fs::remove_file(&place).expect("removed");
    let held = File::create(part(folder.path())).expect("created");
    held.lock().expect("locked");
    let error = refusal(&hub, folder.path());
    assert!(error.contains("being fetched by another program"), "{error}");
}

#[test]
fn what_a_hub_refuses_is_one_clear_sentence() {
    let (hub, _) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    let (repository, _) = PUBLISHED[0];
    let cases = [
        (401, "wants a token or an accepted licence"),
        (403, "wants a token or an accepted licence"),
        (404, "has no"),
        (503, "answered 503"),
    ];
    for (status, said) in cases {
        hub.behave(Manners { status: Some(status), ..Manners::default() });
        let error = refusal(&hub, folder.path());
        assert!(error.contains(said) && error.contains(repository), "{error}");
        assert!(error.contains(&hub.endpoint()) && !error.contains('\n'), "{error}");
    }
    // The list was given, the files are not.
    hub.behave(Manners::default());
    let listing = Hub::new(Some(&hub.endpoint())).expect("an address");
    let listing = listing.list(&mut |_| ControlFlow::Continue(())).expect("a list");
    for (status, said) in cases {
        hub.behave(Manners { status: Some(status), ..Manners::default() });
        let error = listing.fetch(folder.path(), &mut |_| ControlFlow::Continue(()));
        let error = error.expect_err("it must be refused").to_string();
        assert!(error.contains(said) && error.contains(FIRST), "{error}");
    }
    hub.behave(Manners { is_a_website: true, ..Manners::default() });
    let error = refusal(&hub, folder.path());
    assert!(error.contains("is no list of files"), "{error}");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let nobody = format!("http://{}", port.expect("an address"));
    let nobody = Hub::new(Some(&nobody)).expect("an address");
    let error = nobody.list(&mut |_| ControlFlow::Continue(())).err().expect("nobody is there");
    assert!(error.to_string().contains("could not be reached (Connection"), "{error}");
    for wrong in ["", "hub.example", "ftp://hub.example", "https://"] {
        let error = Hub::new(Some(wrong)).expect_err("no address").to_string();
        assert!(error.contains("is no address of a hub"), "{error}");
    }
}

#[test]
fn a_stop_is_heard_at_once_and_keeps_what_came() {
    let (hub, files) = noise();
    let folder = tempfile::tempdir().expect("a folder");
    hub.behave(Manners { falls_silent: Some(70_000), ..Manners::default() });
    let mut since = None;
    let error = fetch_with(&hub, folder.path(), &mut |Progress { stage, done, .. }| {
        if (stage, done) != (Stage::Fetching(FIRST), 70_000) {
            return ControlFlow::Continue(());
        }
        // Only the second look, while nothing comes any more.
        match since {
            None => {
                since = Some(Instant::now());
                ControlFlow::Continue(())
            }
            Some(_) => ControlFlow::Break(()),
        }
    })
    .expect_err("it was stopped");
    assert!(matches!(error, FetchError::Cancelled), "{error}");
    assert!(since.expect("bytes came").elapsed() < Duration::from_secs(1));
    assert_eq!(fs::metadata(part(folder.path())).expect("what came").len(), 70_000);
    hub.behave(Manners::default());
    fetch(&hub, folder.path()).expect("fetched");
    assert_eq!(hub.ranges(FIRST), ["bytes=0-", "bytes=70000-"]);
    assert_holds(folder.path(), &files);
    let before = hub.asked().len();
    let stopped = fetch_with(&hub, folder.path(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(FetchError::Cancelled)));
    assert_eq!(hub.asked().len(), before, "stopped before anything was sent");
}

fn studio(folder: &Path, hub: &LocalHub, args: &[&str]) -> Output {
    let token = folder.join("settings/token");
    fs::create_dir_all(token.parent().expect("a folder")).expect("created");
    fs::write(token, "secret\n").expect("written");
    Command::new(env!("CARGO_BIN_EXE_videoworld-studio"))
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .env("HF_HOME", folder.join("settings"))
        .env("HF_ENDPOINT", hub.endpoint())
        .output()
        .expect("the program starts")
}

#[test]
fn the_command_fetches_after_a_yes_and_makes_a_pack() {
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack/craft-mini");
    let hub = LocalHub::of_pack(&networks);
    let folder = tempfile::tempdir().expect("a folder");
    let sizes = networks.join("manifest.json");
    let sizes = sizes.to_str().expect("a path in words");
    let asked = ["import", "--fetch", "--from", "downloads", "--out", "pack", "--sizes", sizes];
    let output = studio(folder.path(), &hub, &asked);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr, "nobody can be asked here; --yes fetches without asking\n");
    assert!(hub.asked().is_empty(), "nothing is sent unasked");
    assert!(!folder.path().join("downloads").exists());

    let agreed = [asked.as_slice(), &["--yes"]].concat();
    let output = studio(folder.path(), &hub, &agreed);
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains(&format!("from {} into downloads", hub.endpoint())), "{stdout}");
    assert!(stdout.contains("VideoWorld2_dLDM_DiT.pth: 9.0 MB"), "{stdout}");
    assert!(stderr.contains("Fetching Wan2.1_VAE.pth"), "{stderr}");
    let pack = Pack::open(&folder.path().join("pack")).expect("a pack");
    assert!(pack.manifest.vdm.is_some() && pack.manifest.planner.is_some());
    for asked in hub.asked() {
        let token = asked.host.starts_with("127.0.0.1").then(|| "Bearer secret".to_owned());
        assert_eq!(asked.token, token, "the hub alone gets the token: {}", asked.path);
    }

    let before = hub.asked().len();
    let output = studio(folder.path(), &hub, &agreed);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is taken"));
    assert_eq!(hub.asked().len(), before, "a taken place is told before anything is sent");
}
