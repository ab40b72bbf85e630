//! Evaluations of whole runs, with fake actors and fake evaluators.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use std::fs;
use std::path::Path;

use engram_learner::rpc::evaluation_queue::CheckpointKind::{self, Best, Both, Newest};
use engram_learner::storage::best_checkpoint::BestCheckpoint;
use engram_learner::storage::final_evaluation::FinalScore;
use engram_learner::{Ended, RunSummary};
use engram_proto::v1::evaluate_response::Body;
use engram_proto::v1::{self, Evaluation};
use fixtures::*;
use harness::{Run, pair, run_folder};

/// Evaluations of three episodes every two updates, which have 8 env steps each.
const WHILE_TRAINING: [&str; 2] = ["run.eval_env_steps=16", "run.eval_episodes=3"];

/// Two sets of five episodes at the end.
const AT_THE_END: [&str; 2] = ["run.final_eval_episodes=5", "run.final_eval_sets=2"];

fn changes<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

/// The best checkpoint's env steps and return.
fn best(folder: &Path) -> (u64, f64) {
    let best = BestCheckpoint::read(&folder.join("checkpoints")).unwrap().unwrap();
    (best.evaluation.env_steps, best.evaluation.score.mean_return)
}

/// Columns of `evaluations.csv`: env steps, updates, version, return.
fn rows(folder: &Path) -> Vec<Vec<f64>> {
    let mut table = csv::Reader::from_path(folder.join("evaluations.csv")).unwrap();
    let header = table.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    let columns = "env_steps,updates,policy_version,episodes,episode_return,return_std,success,\
                   episode_length";
    assert_eq!(header, columns);
    let row = |row: csv::StringRecord| [0, 1, 2, 4].map(|at| row[at].parse().unwrap()).to_vec();
    table.records().map(|record| row(record.unwrap())).collect()
}

fn place(score: &FinalScore) -> (CheckpointKind, u32, f64) {
    (score.checkpoint, score.set, score.episode_return)
}

/// Plays every evaluation until the run is over: what was asked for. The score is the version of
/// the weights, taken as a return.
async fn play_all(evaluator: &mut Evaluator) -> Vec<Evaluation> {
    let mut played = Vec::new();
    while let Some(body) = evaluator.hear().await.unwrap() {
        match body {
            Body::Evaluation(evaluation) => played.push(evaluation),
            Body::Weights(_) => {
                let Evaluation { episodes, policy_version, .. } = *played.last().unwrap();
                evaluator.tell(episodes, policy_version as f64).await;
            }
            Body::Finished(_) => {}
            Body::Registered(_) => panic!("registered twice"),
        }
    }
    played
}

async fn push_all(actor: &Actor, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        actor.send(push(&pair(sequence))).await;
    }
}

/// A whole run of three updates, whose evaluator is there from the start.
async fn whole_run(folder: &Path, changes: &[&str]) -> (RunSummary, Vec<Evaluation>) {
    let run = Run::start(Some(folder.into()), changes);
    let mut evaluator = Evaluator::register(&run.channel).await;
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..3).await;
    let played = play_all(&mut evaluator).await;
    (run.learner.await.unwrap().unwrap(), played)
}

#[tokio::test]
async fn weights_are_evaluated_as_they_were_and_the_best_ones_are_kept() {
    let (_runs, folder) = run_folder();
    let mut run =
        Run::start(Some(folder.clone()), &changes(&[&WHILE_TRAINING, &["run.env_steps=48"]]));
    let mut evaluator = Evaluator::register(&run.channel).await;
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..2).await;
    let (first, weights) = evaluator.evaluation().await;
    assert_eq!((first.env_steps, first.policy_version, first.episodes), (16, 3, 3));
    // Training goes on meanwhile, and the evaluation is about the weights of its moment.
    push_all(&actor, 2..4).await;
    run.updates(4).await;
    evaluator.tell(3, 1.0).await;
    let (second, _) = evaluator.evaluation().await;
    assert_eq!((second.env_steps, second.policy_version), (32, 5));
    assert_ne!(second.seed, first.seed);
    assert_eq!(best(&folder), (16, 1.0));
    let kept = BestCheckpoint::read(&folder.join("checkpoints")).unwrap().unwrap();
    assert_eq!(kept.weights, weights.data);
    evaluator.tell(3, 0.5).await;
    push_all(&actor, 4..6).await;
    let played = play_all(&mut evaluator).await;
    assert_eq!(played.len(), 1, "the last one ends the run");

    let summary = run.learner.await.unwrap().unwrap();
    assert_eq!((summary.ended, summary.env_steps), (Ended::Finished, 48));
    let expected = [[16.0, 2.0, 3.0, 1.0], [32.0, 4.0, 5.0, 0.5], [48.0, 6.0, 7.0, 7.0]];
    assert_eq!(rows(&folder), expected);
    assert_eq!(best(&folder), (48, 7.0));
    assert_eq!(summary.final_evaluation, []);
}

#[tokio::test]
async fn a_lost_evaluator_does_not_stop_training_and_the_next_one_goes_on() {
    let (_runs, folder) = run_folder();
    let mut run = Run::start(Some(folder.clone()), &WHILE_TRAINING);
    let mut evaluator = Evaluator::register(&run.channel).await;
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..2).await;
    let (lost, _) = evaluator.evaluation().await;
    drop(evaluator);
    push_all(&actor, 2..5).await;
    run.updates(5).await;
    let mut evaluator = Evaluator::register(&run.channel).await;
    assert_eq!(evaluator.evaluation().await.0, lost);
    evaluator.tell(3, 0.5).await;
    assert_eq!(evaluator.evaluation().await.0.env_steps, 32);
    run.stop().await;
    assert_eq!(rows(&folder).len(), 1);
}

#[tokio::test]
async fn a_run_that_asks_for_no_final_evaluation_does_not_wait_for_evaluators_that_never_came() {
    let (_runs, folder) = run_folder();
    let run = Run::start(Some(folder.clone()), &changes(&[&WHILE_TRAINING, &["run.env_steps=24"]]));
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..3).await;
    assert_eq!(run.learner.await.unwrap().unwrap().ended, Ended::Finished);
    assert!(!folder.join("evaluations.csv").exists());
}

#[tokio::test]
async fn a_run_ends_with_all_sets_of_its_final_evaluation_and_plays_none_twice() {
    let (_runs, folder) = run_folder();
    let settings = changes(&[&WHILE_TRAINING, &AT_THE_END, &["run.env_steps=24"]]);
    let (summary, played) = whole_run(&folder, &settings).await;
    // The evaluation while training is of version 3, the best one then, and the newest is 4.
    let asked = |of: &Evaluation| (of.policy_version, of.episodes, of.env_steps);
    let expected = [(3, 3, 16), (4, 5, 24), (4, 5, 24), (3, 5, 16), (3, 5, 16)];
    assert_eq!(played.iter().map(asked).collect::<Vec<_>>(), expected);
    assert_eq!(played[1..].iter().map(|of| of.seed).collect::<Vec<_>>(), [1, 2, 1, 2]);
    let scores: Vec<_> = summary.final_evaluation.iter().map(place).collect();
    let expected = [(Newest, 0, 4.0), (Newest, 1, 4.0), (Best, 0, 3.0), (Best, 1, 3.0)];
    assert_eq!(scores, expected);
    assert_eq!(summary.ended, Ended::Finished);

    // Once more, with nothing and with one set more to play.
    let again = Run::start(Some(folder.clone()), &settings).learner.await.unwrap().unwrap();
    assert_eq!(again.final_evaluation, summary.final_evaluation);
    let more = changes(&[&settings, &["run.final_eval_sets=3"]]);
    let run = Run::start(Some(folder), &more);
    let played = play_all(&mut Evaluator::register(&run.channel).await).await;
    assert_eq!(played.iter().map(|of| of.seed).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(run.learner.await.unwrap().unwrap().final_evaluation.len(), 6);
}

#[tokio::test]
async fn newest_weights_that_are_the_best_ones_are_evaluated_once() {
    let (_runs, folder) = run_folder();
    let settings = changes(&[
        &AT_THE_END,
        &["run.eval_env_steps=24", "run.eval_episodes=3", "run.env_steps=24"],
    ]);
    let (summary, played) = whole_run(&folder, &settings).await;
    assert_eq!(played.len(), 3);
    let scores: Vec<_> = summary.final_evaluation.iter().map(place).collect();
    assert_eq!(scores, [(Both, 0, 4.0), (Both, 1, 4.0)]);
}

#[tokio::test]
async fn a_run_that_is_stopped_during_its_final_evaluation_goes_on_with_it() {
    let (_runs, folder) = run_folder();
    let settings = changes(&[&AT_THE_END, &["run.env_steps=24"]]);
    let run = Run::start(Some(folder.clone()), &settings);
    let mut evaluator = Evaluator::register(&run.channel).await;
    let mut actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..3).await;
    evaluator.evaluation().await;
    evaluator.tell(5, 0.5).await;
    let (second, _) = evaluator.evaluation().await;
    // Actors may go: nothing more is learned.
    while actor.hear().await.unwrap().is_some() {}
    let stopped = run.stop().await;
    assert_eq!((stopped.ended, stopped.env_steps), (Ended::Stopped, 24));
    assert_eq!(stopped.final_evaluation.len(), 1);

    let run = Run::start(Some(folder), &settings);
    let played = play_all(&mut Evaluator::register(&run.channel).await).await;
    assert_eq!(played, [second]);
    let summary = run.learner.await.unwrap().unwrap();
    assert_eq!((summary.ended, summary.final_evaluation.len()), (Ended::Finished, 2));
}

#[tokio::test]
async fn a_killed_run_forgets_later_evaluations_and_keeps_its_best_checkpoint() {
    let (_runs, folder) = run_folder();
    Run::start(Some(folder.clone()), &WHILE_TRAINING).learn_once().await;
    let mut run = Run::start(Some(folder.clone()), &WHILE_TRAINING);
    let mut evaluator = Evaluator::register(&run.channel).await;
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 1..3).await;
    evaluator.evaluation().await;
    evaluator.tell(3, 1.0).await;
    run.updates(3).await;
    // The next one is sent when this one is kept.
    push_all(&actor, 3..4).await;
    evaluator.evaluation().await;
    run.stop().await;
    assert_eq!(best(&folder), (16, 1.0));
    // As if it had been killed before its last checkpoint: what is left is of update 1.
    fs::remove_dir_all(folder.join("checkpoints/000000000004")).unwrap();

    let run = Run::start(Some(folder.clone()), &WHILE_TRAINING);
    let mut evaluator = Evaluator::register(&run.channel).await;
    // Published when the folder is open.
    run.weights().await.message().await.unwrap();
    assert_eq!(rows(&folder), Vec::<Vec<f64>>::new());
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 4..5).await;
    let (again, _) = evaluator.evaluation().await;
    assert_eq!(again.env_steps, 16);
    evaluator.tell(3, 0.5).await;
    push_all(&actor, 5..7).await;
    evaluator.evaluation().await;
    run.stop().await;
    assert_eq!(rows(&folder).len(), 1);
    assert_eq!(best(&folder), (16, 1.0), "the better one of a stretch that is lost");
}

#[tokio::test]
async fn an_evaluation_that_a_killed_learner_owed_is_of_the_weights_that_it_resumes_with() {
    let (_runs, folder) = run_folder();
    let mut run = Run::start(Some(folder.clone()), &WHILE_TRAINING);
    let actor = Actor::register(&run.channel).await;
    push_all(&actor, 0..3).await;
    run.updates(3).await;
    run.stop().await;
    let run = Run::start(Some(folder), &WHILE_TRAINING);
    let (owed, _): (Evaluation, v1::WeightsChunk) =
        Evaluator::register(&run.channel).await.evaluation().await;
    assert_eq!((owed.env_steps, owed.policy_version), (24, 4));
    run.stop().await;
}
