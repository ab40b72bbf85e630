//! An evaluator with a fake learner, over an in-memory pipe.

use std::path::Path;

use engram_envs::EnvConfig;
use engram_evaluator::{EvaluationEpisodes, EvaluatorConfig, EvaluatorError, run};
use engram_mdp::Seed;
use engram_policy::{Device, Policy, PolicyConfig};
use engram_proto::v1::evaluate_request::Body as Request;
use engram_proto::v1::evaluate_response::Body as Response;
use engram_proto::v1::evaluations_server::{Evaluations, EvaluationsServer};
use engram_proto::v1::{self, Evaluation};
use engram_service::config::{ActionChoice, part};
use engram_service::{Address, Listener, Shutdown, net};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Bytes of a piece of weights here.
const PIECE: usize = 10_000;

/// One stream of an evaluator, as the learner has it.
struct Stream {
    requests: Streaming<v1::EvaluateRequest>,
    responses: mpsc::Sender<Result<v1::EvaluateResponse, Status>>,
}

/// A learner that hands every stream to the test.
struct FakeLearner(mpsc::Sender<Stream>);

type Responses = ReceiverStream<Result<v1::EvaluateResponse, Status>>;

#[tonic::async_trait]
impl Evaluations for FakeLearner {
    type EvaluateStream = Responses;

    async fn evaluate(
        &self,
        request: tonic::Request<Streaming<v1::EvaluateRequest>>,
    ) -> Result<tonic::Response<Responses>, Status> {
        let (responses, stream) = mpsc::channel(4);
        let requests = request.into_inner();
        self.0.send(Stream { requests, responses }).await.expect("the test listens");
        Ok(tonic::Response::new(ReceiverStream::new(stream)))
    }
}

impl Stream {
    async fn hear(&mut self) -> Request {
        let message = self.requests.message().await.expect("a message").expect("the next one");
        message.body.expect("a body")
    }

    async fn say(&self, body: Response) {
        let message = v1::EvaluateResponse { body: Some(body) };
        self.responses.send(Ok(message)).await.expect("the evaluator listens");
    }

    /// The registration, which is accepted.
    async fn register(&mut self) -> v1::Registration {
        let Request::Registration(registration) = self.hear().await else { panic!("a score") };
        let (run_id, others) = ("run".into(), v1::Registered::default());
        self.say(Response::Registered(v1::Registered { run_id, ..others })).await;
        registration
    }

    /// Has an evaluation played with weights that go in several pieces.
    async fn send(&self, evaluation: Evaluation) {
        self.say(Response::Evaluation(evaluation)).await;
        let weights = weights();
        let policy_version = evaluation.policy_version;
        for (index, data) in weights.chunks(PIECE).enumerate() {
            self.say(Response::Weights(v1::WeightsChunk {
                run_id: "run".into(),
                policy_version,
                total_bytes: weights.len() as u64,
                offset: (index * PIECE) as u64,
                data: data.to_vec().into(),
            }))
            .await;
        }
    }

    async fn score(&mut self) -> v1::Score {
        match self.hear().await {
            Request::Score(score) => score,
            Request::Registration(_) => panic!("registered twice"),
        }
    }
}

fn env() -> EnvConfig {
    let table = "name = 'recall'\ndelay = 2\nchoices = 4".parse().expect("TOML");
    EnvConfig::from_table(table).expect("an environment")
}

fn weights() -> Vec<u8> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let (_, config) = part::<PolicyConfig>(&configs, "seq", "lstm", &[]).expect("a policy");
    let device = Device::Cpu.ready().expect("a processor");
    Policy::new(&config, &env().spec(), Seed::new(3), device).expect("it fits").save(1)
}

fn greedy() -> EvaluationEpisodes {
    let (device, actions) = (Device::Cpu, ActionChoice::Greedy);
    EvaluationEpisodes { env: env(), envs: 4, actions, device, threads: 1 }
}

fn learner() -> (Address, mpsc::Receiver<Stream>) {
    let listener = Listener::memory();
    let address = listener.address().clone();
    let (streams, accepted) = mpsc::channel(4);
    let service = EvaluationsServer::new(FakeLearner(streams));
    let router = net::server_builder().add_service(service);
    tokio::spawn(net::serve(router, listener, Shutdown::new()));
    (address, accepted)
}

fn evaluator(learner: Address, shutdown: &Shutdown) -> JoinHandle<Result<(), EvaluatorError>> {
    let config = EvaluatorConfig { learner, run_id: None, episodes: greedy() };
    tokio::spawn(run(config, shutdown.clone()))
}

const EVALUATION: Evaluation =
    Evaluation { episodes: 9, seed: 5, policy_version: 1, env_steps: 40 };

#[tokio::test]
async fn every_evaluation_is_played_as_it_was_asked_for_until_the_run_is_over() {
    let (address, mut streams) = learner();
    let evaluator = evaluator(address, &Shutdown::new());
    let mut stream = streams.recv().await.expect("a stream");
    let registration = stream.register().await;
    assert_eq!(registration.purpose(), v1::Purpose::Evaluate);
    assert_eq!((registration.run_id.as_str(), registration.env_count), ("", 4));
    let mut scores = Vec::new();
    for seed in [5, 5, 6] {
        stream.send(Evaluation { seed, ..EVALUATION }).await;
        scores.push(stream.score().await);
    }
    assert_eq!((scores[0].episodes, scores[0].mean_length), (9, 4.0));
    assert_eq!(scores[0], scores[1]);
    let alone = || greedy().play(weights().into(), Seed::new(6), 9, &Shutdown::new());
    let alone = tokio::task::spawn_blocking(alone).await.expect("no panic");
    let alone = alone.expect("played").expect("not stopped");
    assert_eq!(scores[2].mean_return, alone.mean_return);
    stream.say(Response::Finished(v1::Finished {})).await;
    evaluator.await.expect("no panic").expect("a normal end");
}

#[tokio::test]
async fn a_learner_that_is_lost_or_leaves_for_a_while_is_waited_for() {
    let (address, mut streams) = learner();
    let evaluator = evaluator(address, &Shutdown::new());
    let mut stream = streams.recv().await.expect("a stream");
    stream.register().await;
    stream.responses.send(Err(Status::unavailable("back soon"))).await.expect("it listens");
    let mut stream = streams.recv().await.expect("another stream");
    // The run that it began with: another one may have other environments.
    assert_eq!(stream.register().await.run_id, "run");
    stream.send(EVALUATION).await;
    // It breaks off while the episodes are played.
    drop(stream);
    let mut stream = streams.recv().await.expect("a third stream");
    stream.register().await;
    stream.send(EVALUATION).await;
    assert_eq!(stream.score().await.episodes, 9);
    stream.say(Response::Finished(v1::Finished {})).await;
    evaluator.await.expect("no panic").expect("a normal end");
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let (address, mut streams) = learner();
    let evaluator = evaluator(address, &Shutdown::new());
    let stream = streams.recv().await.expect("a stream");
    let refusal = Status::new(Code::FailedPrecondition, "another run is served");
    stream.responses.send(Err(refusal)).await.expect("it listens");
    let error = evaluator.await.expect("no panic").expect_err("it is refused").to_string();
    assert!(error.contains("another run is served"), "{error}");
}

#[tokio::test]
async fn who_is_asked_to_leave_leaves_in_the_middle_of_an_evaluation() {
    let (address, mut streams) = learner();
    let shutdown = Shutdown::new();
    let evaluator = evaluator(address, &shutdown);
    let mut stream = streams.recv().await.expect("a stream");
    stream.register().await;
    stream.send(Evaluation { episodes: 1 << 20, ..EVALUATION }).await;
    shutdown.trigger();
    evaluator.await.expect("no panic").expect("a normal end");
}
