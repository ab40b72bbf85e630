//! Metrics as graphs show them. The recorder belongs to the process, so this is alone in its own.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use engram_service::metrics;
use fixtures::*;
use harness::Run;

#[tokio::test]
async fn every_trajectory_is_accounted_for_and_what_streams_carry() {
    metrics::install();
    every_trajectory_is_accounted_for().await;
    what_streams_carry_is_shown().await;
}

async fn what_streams_carry_is_shown() {
    let memory = "seq.memory={ name = \"elstm\", hidden = 16, forget_bias = 1.0, \
                  gradient = \"rtrl\" }";
    let mut run = Run::start(None, &[memory]);
    let actor = Actor::register(&run.channel).await;
    // One batch could not hold both trajectories of stream 0; the last one follows a hole.
    actor.send(push(&[trajectory(0, 0), trajectory(0, 1), trajectory(1, 0)])).await;
    actor.send(push(&[trajectory(1, 1), trajectory(0, 2), trajectory(1, 4)])).await;
    run.updates(3).await;
    run.stop().await;
    let page = metrics::snapshot();
    for line in [
        "engram_carry_table_streams 2",
        // Sensitivities to z and f, of 16 cells each, to 7 inputs, a bias, and the cell.
        "engram_carry_table_bytes 2304",
        "engram_stream_restarts_total 1",
        "engram_carry_table_evictions_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

/// Value of our run on the page: 1 while it goes on.
fn shown(page: &str) -> Option<&str> {
    let ours = format!("engram_run_info{{run=\"{RUN}\",");
    page.lines().find(|line| line.starts_with(&ours))?.rsplit(' ').next()
}

async fn every_trajectory_is_accounted_for() {
    let mut run = Run::start(None, &[]);
    let mut actor = Actor::register(&run.channel).await;
    let page = metrics::snapshot();
    assert!(!page.contains("engram_learner_episode_return "), "no episode has ended: {page}");
    assert_eq!(shown(&page), Some("1"));
    // One repeat, one gap, one malformed.
    actor.send(push(&[trajectory(0, 0), trajectory(0, 0), trajectory(0, 3)])).await;
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(1)));
    run.updates(1).await;
    let page = metrics::snapshot();
    assert!(page.contains("engram_actors 1"), "{page}");
    actor.send(push(&[trajectory(9, 0)])).await;
    actor.hear().await.unwrap_err();
    run.stop().await;
    let page = metrics::snapshot();
    assert_eq!(shown(&page), Some("0"), "the run is over");
    for line in [
        "engram_run_env_steps 8",
        "engram_trajectories_received_total 2",
        "engram_trajectories_dropped_total{reason=\"repeat\"} 1",
        "engram_trajectories_dropped_total{reason=\"invalid\"} 1",
        "engram_stream_gaps_total 1",
        "engram_actors 0",
        "engram_policy_version{role=\"learner\"} 2",
        "engram_policy_lag_count 2",
        "engram_learner_updates_total 1",
        "engram_learner_env_steps_total 8",
        "engram_learner_update_seconds_count{phase=\"forward\"} 1",
        "engram_weights_published_total 2",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(page.contains("engram_learner_wait_seconds_total{on=\"data\"}"), "{page}");
}
