//! What is computed and what waits: the list, cancelling one by one, and going on after a restart.

use std::path::Path;
use std::time::{Duration, Instant};

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use engine::rollout::{ClipQuality, Session as SavedSession, Unfinished};
use engine::worker::{Event, JobId, Request};
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::jobs::JobKind;
use videoworld_studio::studio::queue::Pending;

use crate::fake::{Refining, Shared, options};
use crate::flow::{open, press, started};
use crate::sessions::{files, keeping_in, start, wait_for_offer};

/// A rollout of three clips, the first of which is being refined.
fn three_clips(script: &Shared) -> Harness<'static, Studio> {
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(script);
    for _ in 0..3 {
        press(&mut harness, Key::N);
    }
    harness
}

/// Clips that wait to be refined or are, by their place in the rollout.
fn to_refine(harness: &Harness<'_, Studio>) -> Vec<usize> {
    let model = harness.state().model();
    let session = model.session.as_ref().expect("a rollout is on the stage");
    let depth = |pending: Pending| match pending {
        Pending::Refine(node) => Some(session.rollout.line(node).len()),
        Pending::Coarse(_) | Pending::ToTheEnd => None,
    };
    model.pending().into_iter().filter_map(depth).collect()
}

fn refines(script: &Shared) -> usize {
    let script = script.borrow();
    script.requests.iter().filter(|r| matches!(r, Request::Refine { .. })).count()
}

/// Waits until the only rollout in the folder is written with what is left to do.
fn wait_for(folder: &Path, wanted: impl Fn(&Unfinished) -> bool) -> SavedSession {
    let asked = Instant::now();
    loop {
        if let [path] = files(folder).as_slice() {
            let saved = SavedSession::load(path).expect("what is kept is whole");
            if wanted(&saved.unfinished) {
                return saved;
            }
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "it was not written");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_clip_is_a_job_and_is_cancelled_alone() {
    let script = Shared::default();
    let mut harness = three_clips(&script);
    assert_eq!(to_refine(&harness), [1, 2, 3], "one after the other, as the chain needs them");
    harness.get_by_label("Queue").click();
    harness.run_steps(3);
    harness.get_by_label("Refine clip 2");
    harness.get_by_label("40 %");
    harness.get_by_label("Cancel: Refine clip 3").click();
    harness.run_steps(3);
    assert_eq!(to_refine(&harness), [1, 2]);
    let running = harness.state().model().jobs.running().map(|job| job.id);
    assert!(!script.borrow().cancelled.contains(&running.unwrap()), "the first goes on");
    let before = refines(&script);
    harness.get_by_label("Cancel: Refining clip 1").click();
    harness.run_steps(6);
    // What goes on from a clip cannot be refined without it.
    assert!(to_refine(&harness).is_empty());
    assert_eq!(refines(&script), before, "nothing is begun in its place");
    press(&mut harness, Key::N);
    assert!(to_refine(&harness).is_empty(), "nor by a step after it");
    harness.key_press_modifiers(eframe::egui::Modifiers::COMMAND, Key::Enter);
    harness.run_steps(6);
    assert_eq!(to_refine(&harness), [1, 2, 3, 4], "but when the user asks");
}

#[test]
fn a_cancelled_clip_shows_its_preview_as_a_preview() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let shown = |harness: &Harness<'_, Studio>| harness.state().model().best().expect("a clip").1;
    assert_eq!(shown(&harness), "preview 14/35");
    harness.get_by_label("Cancel").click();
    harness.run_steps(6);
    assert_eq!(shown(&harness), "preview 14/35, refining stopped");
    let session = harness.state().model().session.as_ref().unwrap();
    let view = session.view(session.current());
    let preview = ClipQuality::Preview { step: 14, of: 35 };
    assert_eq!(view.refined.as_ref().map(|stored| stored.quality), Some(preview));
    assert!(!view.is_refined());
    assert!(script.borrow().disk().is_empty());
}

#[test]
fn a_preview_smaller_than_the_coarse_clip_is_shown_while_refining_goes_on_and_kept_nowhere() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    script.borrow_mut().sketches = true;
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let kept = |harness: &Harness<'_, Studio>| {
        let model = harness.state().model();
        let session = model.session.as_ref().expect("a rollout was begun");
        let thumbnail = session.thumbnail(session.current()).expect("it is painted");
        assert_eq!(thumbnail.last().expect("it has frames").dimensions(), (48, 32));
        model.best().expect("a clip").1
    };
    let preview =
        |harness: &Harness<'_, Studio>| harness.state().model().sides().1.map(|(_, name)| name);
    assert_eq!(preview(&harness).as_deref(), Some("preview 14/35"));
    assert_eq!(kept(&harness), "coarse");
    harness.get_by_label("Cancel").click();
    harness.run_steps(6);
    assert_eq!(preview(&harness), None, "then the sharper one is shown");
    assert_eq!(kept(&harness), "coarse");
}

#[test]
fn looking_at_another_clip_does_not_throw_away_what_is_half_refined() {
    let script = Shared::default();
    let mut harness = three_clips(&script);
    let running = |harness: &Harness<'_, Studio>| -> JobId {
        harness.state().model().jobs.running().expect("a clip is being refined").id
    };
    let before = running(&harness);
    for key in [Key::Backspace, Key::ArrowLeft, Key::Home, Key::End] {
        press(&mut harness, key);
        assert_eq!(running(&harness), before, "{key:?}");
    }
    press(&mut harness, Key::B);
    assert_ne!(running(&harness), before, "another branch needs other clips");
}

#[test]
fn what_was_not_finished_is_offered_after_a_crash_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let script = Shared::default();
    let mut harness = open(&script, keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    harness.run_steps(20);
    script.borrow_mut().refining = Refining::Stuck(14);
    press(&mut harness, Key::N);
    harness.run_steps(30);
    let saved = wait_for(folder.path(), |unfinished| unfinished.refine.len() == 1);
    assert!(saved.unfinished.cancelled.is_empty() && !saved.unfinished.to_the_end);

    let again = Shared::default();
    again.borrow_mut().kept = script.borrow().disk();
    assert_eq!(again.borrow().kept.len(), 1, "the first clip was finished");
    let mut next = open(&again, keeping_in(folder.path()));
    wait_for_offer(&mut next);
    next.get_by_label_contains("2 clips, 1 of them still to refine");
    next.get_by_label("Restore last session").click();
    next.run_steps(4);
    let session = next.state().model().session.as_ref().unwrap();
    let first = session.line()[0];
    assert!(session.view(first).is_refined(), "it is shown at once");
    next.run_steps(10);
    let session = next.state().model().session.as_ref().unwrap();
    assert!(session.line().iter().all(|node| session.view(*node).is_refined()));
    assert_eq!(again.borrow().refined_decodes, 1, "the second clip alone was computed");
    let order: Vec<bool> =
        again.borrow().requests.iter().map(|r| matches!(r, Request::Recall { .. })).collect();
    assert_eq!(order.iter().position(|recall| *recall), Some(1), "before all other work");
    assert_eq!(order.iter().filter(|recall| **recall).count(), 1, "once");
}

#[test]
fn what_was_cancelled_stays_so_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = open(&script, keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    harness.get_by_label("Cancel").click();
    harness.run_steps(30);
    wait_for(folder.path(), |unfinished| unfinished.cancelled.len() == 1);
    let again = Shared::default();
    let mut next = open(&again, keeping_in(folder.path()));
    wait_for_offer(&mut next);
    next.get_by_label("Last time: paper airplane, unseen environment 1, 1 clip");
    next.get_by_label("Restore last session").click();
    next.run_steps(10);
    assert!(again.borrow().coarse_decodes > 0);
    assert_eq!(refines(&again), 0);
}

#[test]
fn playing_to_the_end_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Shared::default();
    let mut harness = open(&script, keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    script.borrow_mut().mute_predictions = true;
    press(&mut harness, Key::Space);
    harness.get_by_label("Queue").click();
    harness.run_steps(3);
    harness.get_by_label("Predict clips 3 to 7");
    harness.run_steps(30);
    wait_for(folder.path(), |unfinished| unfinished.to_the_end);

    let again = Shared::default();
    let mut next = open(&again, keeping_in(folder.path()));
    wait_for_offer(&mut next);
    next.get_by_label_contains("on the way to the end of the task");
    next.get_by_label("Restore last session").click();
    next.run_steps(300);
    let session = next.state().model().session.as_ref().unwrap();
    assert_eq!(session.line().len(), 7);
    wait_for(folder.path(), Unfinished::is_empty);
}

#[test]
fn predicting_the_rest_is_taken_out_of_the_queue() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    script.borrow_mut().mute_predictions = true;
    press(&mut harness, Key::Space);
    harness.get_by_label("Queue").click();
    harness.run_steps(3);
    harness.get_by_label("Cancel: Predict clips 3 to 7").click();
    harness.run_steps(3);
    let model = harness.state().model();
    assert!(!model.player.to_the_end);
    assert_eq!(model.jobs.extending().len(), 1, "the clip that is being predicted still comes");
}

#[test]
fn a_pause_holds_the_whole_queue() {
    let script = Shared::default();
    let mut harness = three_clips(&script);
    harness.key_press(Key::P);
    harness.run_steps(4);
    let before = script.borrow().requests.len();
    harness.get_by_label("Queue").click();
    harness.run_steps(3);
    harness.get_by_label("Cancel: Refining clip 1");
    assert_eq!(harness.get_all_by_label("paused").count(), 2, "in the bar and in the list");
    harness.get_by_label("Cancel: Refine clip 3").click();
    harness.run_steps(3);
    assert_eq!(to_refine(&harness), [1, 2], "cancelling works all the while");
    assert_eq!(script.borrow().requests.len(), before, "nothing was begun");
    assert!(script.borrow().paused);
}

#[test]
fn without_the_memory_to_refine_there_is_coarse_video_and_the_reason() {
    let script = Shared::default();
    let reason = "Refining needs about 24.1 GB of memory and 8.0 GB are there, so there is coarse video alone";
    script.borrow_mut().pack.has_refiner = false;
    script.borrow_mut().pack.refiner_left_out = Some(reason.to_owned());
    let mut harness = started(&script);
    harness.get_by_label(reason);
    press(&mut harness, Key::N);
    harness.run_steps(100);
    assert_eq!(refines(&script), 0);
    assert_eq!(harness.state().model().best().expect("a clip").1, "coarse");
    assert!(harness.query_by_label(reason).is_none(), "the message went by itself");
    harness.get_by_label("Rollout").click();
    harness.run_steps(2);
    let refine = harness.get_all_by_label_contains("Refine").last().unwrap();
    assert!(refine.accesskit_node().is_disabled());
    refine.hover();
    harness.run_steps(24);
    harness.get_by_label(reason);
}

#[test]
fn the_device_is_verified_from_the_menu() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.get_by_label("Device").click();
    harness.run_steps(2);
    harness.get_by_label_contains("Verify device").click();
    harness.run_steps(4);
    harness.get_by_label("Off: video VAE decoder, diffusion model at noise 1");
    harness.get_by_label("no number");
    assert_eq!(harness.get_all_by_label("agrees").count(), 3);
    harness.get_by_label("Close the comparison").click();
    harness.run_steps(3);
    assert!(harness.state().model().verified.is_none());

    script.borrow_mut().mute_predictions = true;
    harness.get_by_label("Device").click();
    harness.run_steps(2);
    harness.get_by_label_contains("Verify device").click();
    harness.run_steps(4);
    harness.get_by_label("Comparing with the processor");
    assert!(harness.state().model().jobs.of_kind(JobKind::Verify).is_some());
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    assert!(harness.state().model().jobs.is_empty());
    assert!(harness.state().model().verified.is_none());
}

#[test]
fn a_disk_that_keeps_nothing_is_told() {
    let script = Shared::default();
    let mut harness = started(&script);
    let reason = "Refined clips cannot be kept on the disk: it is full".to_owned();
    script.borrow_mut().events.push_back(Event::NotKept { reason });
    harness.run_steps(3);
    harness.get_by_label_contains("cannot be kept on the disk");
}
