//! The services against fake actors over an in-memory pipe. No learner is there: the tests hold
//! its ends of the channels, so what it would get, and when, is in their hands. Time is paused.

use std::sync::Arc;
use std::time::Duration;

use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::configuration_client::ConfigurationClient;
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::progress::ProgressLine;
use engram_service::{Channel, Listener, Resolved, Shutdown, net};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::LearnerConfig;
use crate::fixtures::*;
use crate::rpc::context::EnvironmentContract;
use crate::rpc::context::Stage;
use crate::rpc::publisher::Weights;
use crate::rpc::queue::Arrival;
use crate::rpc::ranks::Ranks;
use crate::run::channels::LearnerChannels;

/// Context that run until the test ends, and the learner's ends.
pub(super) struct LearnerFixture {
    pub(super) channel: Channel,
    pub(super) channels: LearnerChannels,
    pub(super) stage: watch::Sender<Stage>,
}

impl LearnerFixture {
    /// One whose contract is settled.
    pub(super) fn start() -> Self {
        let fixture = LearnerFixture::without_contract();
        fixture.channels.contract.send_replace(Some(contract()));
        fixture
    }

    /// One that waits for the first actor's environment.
    fn without_contract() -> Self {
        LearnerFixture::new(Ranks::new(1), &["run.queue_trajectories=4"])
    }

    /// One of a run with these settings that waits for the first actor's environment.
    pub(super) fn new(ranks: Arc<Ranks>, settings: &[&str]) -> Self {
        let config =
            LearnerConfig::new(resolved(settings), RUN.into(), None, tch::Device::Cpu, 1).unwrap();
        let stage = watch::Sender::new(Stage::Training);
        let (progress, _) = watch::channel(ProgressLine::default());
        let (mut context, channels) =
            crate::run::channels::connect(&config, stage.clone(), progress, Shutdown::new());
        context.ranks = ranks;
        let listener = Listener::memory();
        let channel = net::connect(listener.address(), "learner");
        let router = net::server_builder().add_routes(crate::rpc::service::routes(&context));
        tokio::spawn(net::serve(router, listener, Shutdown::new()));
        LearnerFixture { channel, channels, stage }
    }

    /// Trajectories that wait in the queue.
    async fn arrived(&mut self) -> Vec<Arrival> {
        let mut arrived = Vec::new();
        let take = self.channels.arrivals.take(&mut arrived, 100);
        let _ = timeout(Duration::from_secs(1), take).await;
        arrived
    }

    /// Answer of the learner to an actor that registers and sends one more request.
    pub(super) async fn refusal(
        &self,
        first: v1::PushRequest,
        second: Option<v1::PushRequest>,
    ) -> Status {
        let mut actor = Actor::connect(&self.channel).await;
        actor.send(first).await;
        if let Some(second) = second {
            actor.send(second).await;
            assert_eq!(actor.hear().await.unwrap(), Some(registered()));
        }
        actor.hear().await.unwrap_err()
    }
}

pub(super) fn contract() -> EnvironmentContract {
    EnvironmentContract { spec: spec(), core_state_width: CORE_STATE }
}

fn sequences(arrived: &[Arrival]) -> Vec<(u32, u64)> {
    let place = |a: &Arrival| (a.trajectory.stream.env_index, a.trajectory.sequence);
    arrived.iter().map(place).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_arrives_as_it_was_and_is_acknowledged_by_message() {
    let mut fixture = LearnerFixture::start();
    let mut actor = Actor::register(&fixture.channel).await;
    actor.send(push(&[trajectory(0, 0), trajectory(1, 0)])).await;
    actor.send(push(&[trajectory(0, 1)])).await;
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(1)));
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(2)));
    let arrived = fixture.arrived().await;
    let trajectories: Vec<_> = arrived.into_iter().map(|arrival| arrival.trajectory).collect();
    assert_eq!(trajectories, [trajectory(0, 0), trajectory(1, 0), trajectory(0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_acknowledged_and_ignored_also_on_another_connection() {
    let mut fixture = LearnerFixture::start();
    let mut actor = Actor::register(&fixture.channel).await;
    for messages in 1..=2 {
        actor.send(push(&[trajectory(0, 0)])).await;
        assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(messages)));
    }
    drop(actor);
    let mut again = Actor::register(&fixture.channel).await;
    again.send(push(&[trajectory(0, 0), trajectory(0, 1)])).await;
    assert_eq!(again.hear().await.unwrap(), Some(acknowledged(1)));
    assert_eq!(sequences(&fixture.arrived().await), [(0, 0), (0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_taken_as_it_is_and_arrivals_say_where_they_belong() {
    let mut fixture = LearnerFixture::start();
    let actor = Actor::register(&fixture.channel).await;
    actor.send(push(&[trajectory(0, 0), trajectory(0, 1), trajectory(0, 4)])).await;
    actor.send(push(&[trajectory(0, 5)])).await;
    let mut arrived = Vec::new();
    while arrived.len() < 4 {
        fixture.channels.arrivals.take(&mut arrived, 4).await;
    }
    assert_eq!(sequences(&arrived), [(0, 0), (0, 1), (0, 4), (0, 5)]);
    assert!(arrived.iter().all(|arrival| arrival.generation == 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_the_actor_wait() {
    let mut fixture = LearnerFixture::start();
    let mut actor = Actor::register(&fixture.channel).await;
    for sequence in 0..5 {
        actor.send(push(&[trajectory(0, sequence)])).await;
    }
    for messages in 1..=4 {
        assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(messages)));
    }
    let fifth = timeout(Duration::from_secs(3600), actor.hear()).await;
    assert!(fifth.is_err(), "acknowledged before there was room: {fifth:?}");
    let mut arrived = Vec::new();
    fixture.channels.arrivals.take(&mut arrived, 1).await;
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(5)));
}

#[tokio::test(start_paused = true)]
async fn a_message_cut_short_by_its_actors_death_is_taken_up_where_it_broke_off() {
    let mut fixture = LearnerFixture::start();
    let message: Vec<_> = (0..6).map(|sequence| trajectory(0, sequence)).collect();
    let actor = Actor::register(&fixture.channel).await;
    actor.send(push(&message)).await;
    let mut arrived = Vec::new();
    while arrived.len() < 2 {
        fixture.channels.arrivals.take(&mut arrived, 1).await;
    }
    drop(actor);
    let again = Actor::register(&fixture.channel).await;
    again.send(push(&message)).await;
    while arrived.len() < 6 {
        fixture.channels.arrivals.take(&mut arrived, 1).await;
    }
    let all: Vec<_> = (0..6).map(|sequence| (0, sequence)).collect();
    assert_eq!(sequences(&arrived), all);
}

#[tokio::test(start_paused = true)]
async fn nonsense_ends_its_own_stream_and_no_other() {
    let mut fixture = LearnerFixture::start();
    let mut bystander = Actor::connect(&fixture.channel).await;
    let mut other = registration();
    other.actor = 8;
    bystander.send(register(other)).await;
    assert_eq!(bystander.hear().await.unwrap(), Some(registered_as(8, 1, 0)));
    let good = || engram_proto::convert::trajectory_to_wire(&trajectory(0, 0));
    let bad = |change: fn(&mut v1::Trajectory)| {
        let mut message = good();
        change(&mut message);
        push_messages(vec![message])
    };
    let cases = [
        (bad(|t| t.env_index = 2), "speaks for 0..2"),
        (bad(|t| t.log_probs = vec![0; 4].into()), "unroll_length is 4"),
        (bad(|t| t.core_state = vec![0; 8].into()), "exports 16"),
        (bad(|t| t.frames = None), "no `frames`"),
        (bad(|t| t.frames.as_mut().unwrap().step_types = vec![9; 5].into()), "no step type"),
        (bad(|t| t.policy_versions = vec![1; 7].into()), "policy_versions"),
        (register(registration()), "a second registration"),
        (v1::PushRequest { body: None }, "no `body`"),
    ];
    for (round, (request, reason)) in cases.into_iter().enumerate() {
        let status = fixture.refusal(register(registration()), Some(request)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(reason), "{reason}: {}", status.message());
        bystander.send(push(&[trajectory(0, round as u64)])).await;
        assert_eq!(bystander.hear().await.unwrap(), Some(acknowledged(round as u64 + 1)));
        assert_eq!(sequences(&fixture.arrived().await), [(0, round as u64)]);
    }
    let status = fixture.refusal(push(&[trajectory(0, 0)]), None).await;
    assert!(status.message().contains("no registration first"), "{status:?}");
}

/// A message with the field numbers of `PushRequest`, and anything in it.
#[derive(Clone, PartialEq, prost::Message)]
struct Junk {
    #[prost(bytes = "vec", tag = "2")]
    trajectories: Vec<u8>,
}

async fn push_junk(channel: &Channel, junk: Junk) -> Status {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = "/engram.v1.Experience/Push".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Junk, v1::PushResponse>::default();
    let request = tonic::Request::new(tokio_stream::iter([junk]));
    match client.streaming(request, path, codec).await {
        Ok(response) => response.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_message_are_refused_as_the_senders_fault() {
    let fixture = LearnerFixture::start();
    let status = push_junk(&fixture.channel, Junk { trajectories: vec![0xff; 9] }).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("cannot be read"), "{}", status.message());
    Actor::register(&fixture.channel).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_is_refused_as_the_senders_fault() {
    let fixture = LearnerFixture::start();
    let junk = Junk { trajectories: vec![0; MAX_MESSAGE_BYTES + 1] };
    let status = push_junk(&fixture.channel, junk).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("too large"), "{}", status.message());
    Actor::register(&fixture.channel).await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_says_nothing_is_not_waited_for_forever() {
    let fixture = LearnerFixture::start();
    let mut silent = Actor::connect(&fixture.channel).await;
    let status = silent.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("no registration came"), "{}", status.message());
}

#[tokio::test(start_paused = true)]
async fn unrolls_begin_while_the_lag_that_is_configured_allows_it() {
    // Two batches of two trajectories.
    let fixture =
        LearnerFixture::new(Ranks::new(1), &["run.queue_trajectories=4", "run.policy_lag=1"]);
    fixture.channels.contract.send_replace(Some(contract()));
    fixture.channels.publisher.publish(Weights { policy_version: 5, bytes: vec![7].into() });
    let mut actor = Actor::register(&fixture.channel).await;
    for first_env_index in [0, 1, 0, 1, 0] {
        actor.send(begin_unroll(first_env_index, 1)).await;
    }
    let mut heard = Vec::new();
    while let Ok(answer) = timeout(Duration::from_secs(1), actor.hear()).await {
        heard.push(answer.unwrap().unwrap());
    }
    assert_eq!(heard, [0, 1, 0, 1].map(|first_env_index| granted(first_env_index, 5)));
    actor.send(push(&[trajectory(0, 0), trajectory(1, 0)])).await;
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(1)));
    fixture.channels.grants.batched(2);
    assert!(timeout(Duration::from_secs(1), actor.hear()).await.is_err(), "not yet learned from");
    fixture.channels.publisher.publish(Weights { policy_version: 6, bytes: vec![7].into() });
    fixture.channels.grants.learned(2);
    assert_eq!(actor.hear().await.unwrap(), Some(granted(0, 6)));

    actor.send(begin_unroll(1, 9)).await;
    let status = actor.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_first_actors_world_is_offered_to_the_learner_which_may_refuse_it() {
    let mut fixture = LearnerFixture::without_contract();
    let mut first = Actor::connect(&fixture.channel).await;
    first.send(register(registration())).await;
    let proposal = fixture.channels.proposals.recv().await.unwrap();
    assert_eq!(proposal.spec, spec());
    proposal.refusal.send(engram_policy::PolicyError::EmptyBatch).unwrap();
    let status = first.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("no policy can be made"), "{}", status.message());

    let mut second = Actor::connect(&fixture.channel).await;
    second.send(register(registration())).await;
    let proposal = fixture.channels.proposals.recv().await.unwrap();
    fixture.channels.contract.send_replace(Some(contract()));
    drop(proposal);
    assert_eq!(second.hear().await.unwrap(), Some(registered()));
}

#[tokio::test(start_paused = true)]
async fn actors_hear_why_the_learner_ends() {
    let fixture = LearnerFixture::start();
    let mut actor = Actor::register(&fixture.channel).await;
    fixture.stage.send_replace(Stage::Finished);
    let finished = v1::push_response::Body::Finished(v1::Finished {});
    assert_eq!(actor.hear().await.unwrap(), Some(finished));
    assert_eq!(actor.hear().await.unwrap(), None);

    let fixture = LearnerFixture::start();
    let mut actor = Actor::register(&fixture.channel).await;
    fixture.stage.send_replace(Stage::Closing);
    assert_eq!(actor.hear().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_the_newest_weights_at_once_and_then_every_newer_one() {
    let fixture = LearnerFixture::start();
    let weights = |policy_version| Weights { policy_version, bytes: vec![7; 100].into() };
    fixture.channels.publisher.publish(weights(1));
    fixture.channels.publisher.publish(weights(2));
    let mut client = v1::weights_client::WeightsClient::new(fixture.channel.clone());
    let request = v1::SubscribeRequest { protocol_version: PROTOCOL_VERSION, run_id: RUN.into() };
    let mut chunks = client.subscribe(request).await.unwrap().into_inner();
    let first = chunks.message().await.unwrap().unwrap();
    assert_eq!((first.policy_version, first.total_bytes, first.offset), (2, 100, 0));
    assert_eq!(first.data.len(), 100);
    fixture.channels.publisher.publish(weights(3));
    assert_eq!(chunks.message().await.unwrap().unwrap().policy_version, 3);
    // Whoever reads on hears of the last version, and then that there will be no more.
    fixture.channels.publisher.publish(weights(4));
    fixture.stage.send_replace(Stage::Finished);
    assert_eq!(chunks.message().await.unwrap().unwrap().policy_version, 4);
    assert_eq!(chunks.message().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_of_another_run_or_protocol_is_refused() {
    let fixture = LearnerFixture::start();
    let mut client = v1::weights_client::WeightsClient::new(fixture.channel.clone());
    for (protocol_version, run_id) in [(PROTOCOL_VERSION, "other"), (99, RUN)] {
        let request = v1::SubscribeRequest { protocol_version, run_id: run_id.into() };
        let status = client.subscribe(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_counts_once_however_often_it_is_sent() {
    let fixture = LearnerFixture::start();
    let mut client = v1::experience_client::ExperienceClient::new(fixture.channel.clone());
    let episode = v1::Episode {
        env_index: 0,
        env_steps: 9,
        episode_return: 2.0,
        success: Some(true),
        finish: v1::Finish::Terminated.into(),
    };
    let report = v1::ReportRequest {
        run_id: RUN.into(),
        actor: 7,
        generation: 1,
        sequence: 0,
        episodes: vec![episode],
    };
    client.report(report.clone()).await.unwrap();
    assert_eq!(fixture.channels.stats.episodes().total(), 0, "nobody is registered as this actor");
    let _actor = Actor::register(&fixture.channel).await;
    for _ in 0..2 {
        client.report(report.clone()).await.unwrap();
    }
    assert_eq!(fixture.channels.stats.episodes().total(), 1);
    client
        .report(v1::ReportRequest { generation: 0, sequence: 1, ..report.clone() })
        .await
        .unwrap();
    assert_eq!(fixture.channels.stats.episodes().total(), 1, "an actor that was replaced");
    client.report(v1::ReportRequest { sequence: 1, ..report.clone() }).await.unwrap();
    assert_eq!(fixture.channels.stats.episodes().total(), 2);
    let mut bad = report.clone();
    bad.episodes[0].episode_return = f32::NAN;
    let status = client.report(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let stranger = v1::ReportRequest { run_id: "other".into(), ..report };
    assert_eq!(client.report(stranger).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn the_resolved_experiment_is_there_for_peers_of_the_run() {
    let fixture = LearnerFixture::without_contract();
    let mut client = ConfigurationClient::new(fixture.channel.clone());
    let request = |run_id: &str| v1::ResolveRequest {
        protocol_version: PROTOCOL_VERSION,
        run_id: run_id.into(),
    };
    for run_id in ["", RUN] {
        let answer = client.resolve(request(run_id)).await.unwrap().into_inner();
        assert_eq!(answer.run_id, RUN);
        let expected = resolved(&["run.queue_trajectories=4"]).to_toml();
        assert_eq!(answer.config, expected);
        assert_eq!(Resolved::from_toml(&answer.config).unwrap().to_toml(), expected);
    }
    let status = client.resolve(request("another")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let older = v1::ResolveRequest { protocol_version: 0, ..request("") };
    assert_eq!(client.resolve(older).await.unwrap_err().code(), Code::FailedPrecondition);
}
