//! Shared parts of the component tests: a small environment, a policy for it, a server in memory, a
//! client that speaks the protocol plainly, and a learner that says what it is told to.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use engram_inference_server::{BatchLimits, InferenceConfig, InferenceError, WeightsSource, run};
use engram_mdp::{
    ActionSpec, Actions, Dtype, Ending, EnvSpec, Frames, ObservationSpec, Observations, Seed,
    StepType,
};
use engram_policy::{Device, Policy, PolicyConfig};
use engram_proto::convert::frames_to_wire;
use engram_proto::v1::configuration_server::{Configuration, ConfigurationServer};
use engram_proto::v1::inference_client::InferenceClient;
use engram_proto::v1::weights_server::{Weights, WeightsServer};
use engram_proto::v1::{ActRequest, act_request, act_response};
use engram_proto::{PROTOCOL_VERSION, Purpose, Registration, v1};
use engram_service::config::resolve;
use engram_service::net::{self, Address, Listener};
use engram_service::{ExperimentSelection, Shutdown, health};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// An environment of three numbers and three actions.
pub(crate) fn spec() -> EnvSpec {
    EnvSpec {
        name: "test".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
        action: ActionSpec::Discrete { count: 3 },
        frame_stack: 1,
        action_repeat: 1,
    }
}

/// The same environment with actions of two dimensions.
pub(crate) fn continuous() -> EnvSpec {
    EnvSpec { action: ActionSpec::Continuous { dimensions: 2 }, ..spec() }
}

/// A recurrent policy; its weights follow from `seed`.
pub(crate) fn policy(spec: &EnvSpec, seed: u64) -> Policy {
    let config: PolicyConfig = toml::from_str(
        "inputs = [\"observation\", \"previous_action\", \"previous_reward\"]\n\
         [torso]\nname = \"mlp\"\nhidden = [8]\nactivation = \"tanh\"\ninit = { name = \"fan_in\" }\n\
         [memory]\nname = \"lstm\"\nhidden = 6\nlayers = 2\nforget_bias = 0.0\ninit = { name = \"fan_in\" }\n\
         [head]\nhidden = []\nactivation = \"relu\"\n\
         [head.init]\nhidden = { name = \"fan_in\" }\npolicy = { name = \"fan_in\" }\n\
         value = { name = \"fan_in\" }\naction_values = { name = \"fan_in\" }\n",
    )
    .expect("a good configuration");
    Policy::new(&config, spec, Seed::new(seed), tch::Device::Cpu).expect("a good policy")
}

/// The weights of [`policy`].
pub(crate) fn weights(seed: u64, version: u64) -> Bytes {
    policy(&spec(), seed).save(version).into()
}

/// A server that waits for nothing and serves the weights of seed 1, version 7.
pub(crate) fn config() -> InferenceConfig {
    InferenceConfig {
        run_id: Some("run".into()),
        weights: WeightsSource::Bytes(weights(1, 7)),
        device: Device::Cpu,
        threads: 1,
        instance: 0,
        batch: BatchLimits { max_batch_size: 64, max_wait: Duration::ZERO }.into(),
        lease: Duration::from_secs(600),
        weights_wait: Duration::from_secs(60),
        max_slots: 64,
        watchdog: Duration::ZERO,
    }
}

/// A resolved experiment with these batch limits.
pub(crate) fn experiment(max_batch_size: usize, max_wait_ms: f64) -> String {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let set = [
        "run.envs_per_actor=2".to_owned(),
        format!("run.max_batch_size={max_batch_size}"),
        format!("run.max_wait_ms={max_wait_ms:?}"),
    ];
    let selection = ExperimentSelection {
        experiment: "main".into(),
        env: None,
        rl: None,
        seq: None,
        set: set.to_vec(),
        configs: configs.into(),
    };
    resolve(&selection).expect("a good experiment").to_toml()
}

/// A server in memory.
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), InferenceError>>,
}

impl Server {
    pub(crate) fn start(config: InferenceConfig) -> Self {
        let listener = Listener::memory();
        let address = listener.address().clone();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(run(config, listener, shutdown.clone()));
        Server { address, shutdown, task }
    }

    pub(crate) async fn client(&self, registration: &Registration) -> Result<Client, Status> {
        Client::register(&self.address, registration).await
    }

    pub(crate) async fn healthy(&self) -> bool {
        health::check(&self.address).await.is_ok()
    }

    /// Ends it, and sees that it ends well.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.expect("no panic").expect("a good end");
    }
}

/// An actor's registration.
pub(crate) fn registration(actor: u32, env_indices: Range<u32>) -> Registration {
    Registration {
        run_id: Some("run".into()),
        actor,
        any_number: false,
        instance: 0,
        generation: 1,
        env_indices,
        spec: spec(),
        purpose: Purpose::Train,
        seed: 3,
    }
}

/// One stream.
pub(crate) struct Client {
    pub(crate) requests: mpsc::Sender<ActRequest>,
    pub(crate) responses: Streaming<v1::ActResponse>,
    pub(crate) registered: v1::Registered,
}

impl Client {
    /// Opens a stream that begins with `first`.
    pub(crate) async fn open(
        address: &Address,
        first: act_request::Body,
    ) -> Result<(mpsc::Sender<ActRequest>, Streaming<v1::ActResponse>), Status> {
        let (requests, stream) = mpsc::channel(4);
        requests.try_send(ActRequest { body: Some(first) }).expect("room for four");
        let mut client = InferenceClient::new(net::connect(address, "inference server"));
        let responses = client.act(ReceiverStream::new(stream)).await?.into_inner();
        Ok((requests, responses))
    }

    pub(crate) async fn register(
        address: &Address,
        registration: &Registration,
    ) -> Result<Self, Status> {
        let body = act_request::Body::Registration(registration.into());
        let (requests, mut responses) = Client::open(address, body).await?;
        let first = responses.message().await?.expect("an answer").body;
        let Some(act_response::Body::Registered(registered)) = first else {
            panic!("a stream begins with `registered`, not {first:?}");
        };
        Ok(Client { requests, responses, registered })
    }

    pub(crate) fn send(&self, observe: v1::Observe) {
        let body = Some(act_request::Body::Observe(observe));
        self.requests.try_send(ActRequest { body }).expect("room for four");
    }

    /// A sign of life.
    pub(crate) fn wait(&self) {
        let body = Some(act_request::Body::Waiting(v1::Waiting {}));
        self.requests.try_send(ActRequest { body }).expect("room for four");
    }

    pub(crate) async fn answer(&mut self) -> Result<v1::Act, Status> {
        match self.responses.message().await?.and_then(|response| response.body) {
            Some(act_response::Body::Act(act)) => Ok(act),
            other => panic!("an answer was expected, not {other:?}"),
        }
    }

    pub(crate) async fn ask(
        &mut self,
        frames: &Frames,
        unroll_start: bool,
    ) -> Result<v1::Act, Status> {
        self.send(observe(frames, unroll_start));
        self.answer().await
    }
}

pub(crate) fn observe(frames: &Frames, unroll_start: bool) -> v1::Observe {
    v1::Observe { frames: Some(frames_to_wire(frames)), unroll_start, ..v1::Observe::default() }
}

/// Frames of the environments `envs` at `moment`: numbers that never repeat, episodes of a length
/// of its own in each environment.
pub(crate) fn frames(envs: Range<u32>, moment: u32, spec: &EnvSpec) -> Frames {
    let mut frames = Frames::with_capacity(spec, envs.len());
    let mut observations = Vec::new();
    for env in envs.clone() {
        let length = 3 + env % 3;
        let step_type = match moment % (length + 1) {
            0 => StepType::First,
            place if place < length => StepType::Mid,
            _ if env % 2 == 0 => StepType::Last(Ending::Terminated),
            _ => StepType::Last(Ending::Truncated),
        };
        frames.step_types.push(step_type);
        let past = if step_type.is_first() { 0.0 } else { 1.0 };
        frames.previous_rewards.push(past * ((moment * 7 + env) % 5) as f32);
        let number = |i: u32| ((moment * 31 + env * 17 + i * 11) % 23) as f32 / 10.0 - 1.0;
        observations.extend((0..3).map(number));
    }
    frames.observations = Observations::F32(observations);
    let past: Vec<bool> = frames.step_types.iter().map(|s| !s.is_first()).collect();
    let env = |row: usize| envs.start + row as u32;
    frames.previous_actions = match spec.action {
        ActionSpec::Discrete { count } => Actions::Discrete(
            past.iter()
                .enumerate()
                .map(|(row, &past)| i32::from(past) * ((moment + env(row)) as i32 % count as i32))
                .collect(),
        ),
        ActionSpec::Continuous { dimensions } => Actions::Continuous(
            past.iter().flat_map(|&past| vec![if past { 0.25 } else { 0.0 }; dimensions]).collect(),
        ),
    };
    frames.check(spec, envs.len()).expect("good frames");
    frames
}

/// Floats as they come over the wire.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// Discrete actions as they come over the wire.
pub(crate) fn actions(bytes: &[u8]) -> Vec<i32> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// A learner that does nothing but show each subscription to the test, and its experiment to the
/// server.
pub(crate) struct Learner {
    pub(crate) address: Address,
    /// The resolved experiment; others hold for the next subscription.
    pub(crate) experiment: watch::Sender<String>,
    pub(crate) subscriptions: mpsc::Receiver<Subscription>,
}

/// One subscription: what was asked, and where to send pieces.
pub(crate) struct Subscription {
    pub(crate) request: v1::SubscribeRequest,
    pub(crate) pieces: mpsc::Sender<Result<v1::WeightsChunk, Status>>,
}

#[derive(Clone)]
struct Script {
    subscriptions: mpsc::Sender<Subscription>,
    experiment: watch::Receiver<String>,
}

#[tonic::async_trait]
impl Configuration for Script {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        assert_eq!(request.get_ref().protocol_version, PROTOCOL_VERSION);
        let config = self.experiment.borrow().clone();
        Ok(Response::new(v1::ResolveResponse { run_id: "run".into(), config }))
    }
}

#[tonic::async_trait]
impl Weights for Script {
    type SubscribeStream = ReceiverStream<Result<v1::WeightsChunk, Status>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (pieces, stream) = mpsc::channel(16);
        let request = request.into_inner();
        let _ = self.subscriptions.send(Subscription { request, pieces }).await;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Learner {
    pub(crate) fn start() -> Self {
        let listener = Listener::memory();
        let address = listener.address().clone();
        let (sender, subscriptions) = mpsc::channel(4);
        let (experiment, resolved) = watch::channel(experiment(64, 0.0));
        let script = Script { subscriptions: sender, experiment: resolved };
        let router = net::server_builder()
            .add_service(WeightsServer::new(script.clone()))
            .add_service(ConfigurationServer::new(script));
        // It lives as long as the test's runtime.
        tokio::spawn(net::serve(router, listener, Shutdown::new()));
        Learner { address, experiment, subscriptions }
    }

    pub(crate) async fn subscription(&mut self) -> Subscription {
        self.subscriptions.recv().await.expect("the server subscribes")
    }
}

impl Subscription {
    /// Sends weights in pieces of `size` bytes.
    pub(crate) async fn publish(&self, weights: &Bytes, policy_version: u64, size: usize) {
        for (i, data) in weights.chunks(size).enumerate() {
            let piece = v1::WeightsChunk {
                run_id: "run".into(),
                policy_version,
                total_bytes: weights.len() as u64,
                offset: (i * size) as u64,
                data: Bytes::copy_from_slice(data),
            };
            self.pieces.send(Ok(piece)).await.expect("the server listens");
        }
    }
}
