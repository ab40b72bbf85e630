//! Streams of numbered frames, and what a replay must make of them, frame by frame.

use std::collections::VecDeque;

use engram_learner::config::replay::{InitialState, ReplayConfig, Sampling, Sequences, Storage};
use engram_learner::replay::{Piece, ReplaySample, TrajectoryShape};
use engram_learner::rpc::queue::Arrival;
use engram_mdp::{
    ActionSpec, Actions, Decision, Dtype, Ending, EnvSpec, Frames, Generator, ObservationSpec,
    Observations, StepType, StreamId, TrajectoryBuilder,
};
use rand::RngExt;

/// Numbers of recurrent state.
pub const STATE_WIDTH: usize = 3;

/// Shape of floats and discrete actions, or of bytes and continuous ones.
pub fn shape(bytes: bool) -> TrajectoryShape {
    let (observation, action) = match bytes {
        false => (
            ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            ActionSpec::Discrete { count: 7 },
        ),
        true => (
            ObservationSpec { dtype: Dtype::U8, shape: vec![1, 3, 2] },
            ActionSpec::Continuous { dimensions: 2 },
        ),
    };
    let spec =
        EnvSpec { name: "numbered".into(), observation, action, frame_stack: 1, action_repeat: 1 };
    TrajectoryShape { spec, state_width: STATE_WIDTH }
}

/// A replay of whole episodes in memory that forgets little.
pub fn config() -> ReplayConfig {
    ReplayConfig {
        batch_env_steps: None,
        max_env_steps: 10_000,
        max_bytes: "64MiB".parse().unwrap(),
        storage: Storage::Memory,
        sampling: Sampling::Uniform,
        sequences: Sequences::Episodes,
        initial_state: InitialState::Zero,
        packed: false,
    }
}

/// Everything about one frame, in words that differ from the code's.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub observation: Vec<f32>,
    pub action: Vec<f32>,
    pub reward: f32,
    pub step_type: StepType,
    pub log_prob: f32,
}

/// Episode of an environment.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub frames: Vec<Seen>,
    pub states: Vec<(usize, Vec<f32>)>,
    finished: bool,
    broken: bool,
    begun_to_arrive: bool,
    pub policy_version: u64,
}

impl Told {
    pub fn decisions(&self) -> usize {
        self.frames.len() - 1
    }
}

/// One environment: it makes frames and remembers them.
pub struct Stream {
    id: StreamId,
    shape: TrajectoryShape,
    unroll_length: usize,
    generation: u64,
    builder: TrajectoryBuilder,
    generator: Generator,
    longest: usize,
    left: usize,
    count: u64,
    /// Episodes of which decisions lie in the unroll in progress; the last one is in progress.
    episodes: VecDeque<Told>,
}

impl Stream {
    pub fn new(
        env_index: u32,
        shape: TrajectoryShape,
        (unroll_length, longest): (usize, usize),
        generator: Generator,
    ) -> Self {
        let id = StreamId { actor: 0, env_index };
        let builder = TrajectoryBuilder::new(id, &shape.spec, unroll_length);
        Stream {
            id,
            shape,
            unroll_length,
            generation: 1,
            builder,
            generator,
            longest,
            left: 0,
            count: 0,
            episodes: VecDeque::new(),
        }
    }

    /// Plays until a trajectory is complete.
    pub fn unroll(&mut self) -> Arrival {
        loop {
            let step_type = self.next_step_type();
            let seen = self.see(step_type);
            if step_type.is_first() {
                self.episodes.push_back(Told::default());
            }
            let told = self.episodes.back_mut().unwrap();
            told.frames.push(seen.clone());
            told.finished = step_type.is_last();
            let frames = frames(&seen, &self.shape);
            let complete = self.builder.frame(&frames, 0, &self.shape.spec);
            let told = self.episodes.back_mut().unwrap();
            if self.builder.at_unroll_start() {
                let state = vec![self.count as f32; STATE_WIDTH];
                self.builder.core_state(&state);
                if step_type == StepType::Mid {
                    told.states.push((told.frames.len() - 1, state));
                }
            }
            if told.frames.len() == 1 {
                told.policy_version = self.count / 10;
            }
            let log_prob = told.frames.last().unwrap().log_prob;
            let policy_version = self.count / 10;
            self.builder.decision(Decision { log_prob, policy_version });
            if let Some(trajectory) = complete {
                let trajectory = trajectory.checked(&self.shape.spec).unwrap();
                return Arrival { trajectory, generation: self.generation };
            }
        }
    }

    fn next_step_type(&mut self) -> StepType {
        let begins = self.episodes.back().is_none_or(|told| told.finished);
        if begins {
            self.left = self.generator.random_range(1..=self.longest);
            return StepType::First;
        }
        self.left -= 1;
        match (self.left, self.generator.random()) {
            (0, true) => StepType::Last(Ending::Terminated),
            (0, false) => StepType::Last(Ending::Truncated),
            _ => StepType::Mid,
        }
    }

    fn see(&mut self, step_type: StepType) -> Seen {
        self.count += 1;
        let number = self.count as f32 + 1000.0 * self.id.env_index as f32;
        let past = if step_type.is_first() { 0.0 } else { 1.0 };
        let spec = &self.shape.spec;
        let numbers = 0..spec.observation.len();
        let observation = match spec.observation.dtype {
            Dtype::F32 => numbers.map(|i| number + i as f32 / 8.0).collect(),
            Dtype::U8 => numbers.map(|i| (number + 50.0 * i as f32) % 251.0).collect(),
        };
        let action = match spec.action {
            ActionSpec::Discrete { count } => vec![past * (number % count as f32)],
            ActionSpec::Continuous { dimensions } => {
                (0..dimensions).map(|i| past * ((number + i as f32) % 13.0) / 13.0).collect()
            }
        };
        let log_prob = if step_type.is_last() { 0.0 } else { -number };
        Seen { observation, action, reward: past * number, step_type, log_prob }
    }

    /// Complete part of the last unroll, where it has arrived.
    pub fn arrived(&mut self) -> Vec<Told> {
        self.leave(true)
    }

    /// The last unroll was lost on the way.
    pub fn lost(&mut self) {
        self.leave(false);
    }

    fn leave(&mut self, arrives: bool) -> Vec<Told> {
        let mut complete = Vec::new();
        while let Some(mut told) = self.episodes.pop_front() {
            // An episode with no decision yet begins with its First frame in the next unroll.
            if told.frames.len() > 1 {
                told.broken |= !arrives;
                told.begun_to_arrive = true;
            }
            if !told.finished {
                self.episodes.push_front(told);
                break;
            }
            if !told.broken {
                complete.push(told.clone());
            }
            if self.episodes.is_empty() {
                // Its end is in sight of the next unroll, too.
                told.broken = true;
                self.episodes.push_front(told);
                break;
            }
        }
        complete
    }

    /// The actor resets the environment; the sequence goes on.
    pub fn interrupt(&mut self) {
        self.builder.interrupt();
        self.episodes.clear();
    }

    /// Another process takes over.
    pub fn restart(&mut self) {
        self.generation += 1;
        self.builder = TrajectoryBuilder::new(self.id, &self.shape.spec, self.unroll_length);
        self.episodes.clear();
    }

    /// The replay forgets what has arrived of the episode in progress.
    pub fn forgotten(&mut self) {
        for told in &mut self.episodes {
            told.broken |= told.begun_to_arrive;
        }
    }
}

fn frames(seen: &Seen, shape: &TrajectoryShape) -> Frames {
    let observations = match shape.spec.observation.dtype {
        Dtype::F32 => Observations::F32(seen.observation.clone()),
        Dtype::U8 => Observations::U8(seen.observation.iter().map(|&x| x as u8).collect()),
    };
    let previous_actions = match shape.spec.action {
        ActionSpec::Discrete { .. } => Actions::Discrete(vec![seen.action[0] as i32]),
        ActionSpec::Continuous { .. } => Actions::Continuous(seen.action.clone()),
    };
    let (previous_rewards, step_types) = (vec![seen.reward], vec![seen.step_type]);
    Frames { observations, previous_actions, previous_rewards, step_types }
}

/// Episodes in order, with their numbers.
pub struct Model {
    pub config: ReplayConfig,
    pub shape: TrajectoryShape,
    pub held: VecDeque<(u64, Told)>,
    pub next: u64,
}

impl Model {
    pub fn new(config: ReplayConfig, shape: TrajectoryShape) -> Self {
        Model { config, shape, held: VecDeque::new(), next: 0 }
    }

    pub fn push(&mut self, told: Told) {
        self.held.push_back((self.next, told));
        self.next += 1;
        while self.env_steps() > self.config.max_env_steps
            || self.bytes() > self.config.max_bytes.bytes()
        {
            self.held.pop_front();
        }
    }

    pub fn env_steps(&self) -> u64 {
        self.held.iter().map(|(_, told)| told.decisions() as u64).sum()
    }

    /// Bytes of the columns of what is held.
    pub fn bytes(&self) -> u64 {
        self.held.iter().map(|(_, told)| self.bytes_of(told)).sum()
    }

    pub fn bytes_of(&self, told: &Told) -> u64 {
        let (rows, spec) = (told.frames.len(), &self.shape.spec);
        let row = spec.observation.bytes() + 4 * spec.action.len() + 9;
        let states = match self.config.initial_state {
            InitialState::Zero => 0,
            InitialState::Stored => told.states.len() * (4 + 4 * STATE_WIDTH),
        };
        (rows * row + states) as u64
    }

    /// Starts of sequences of an episode, by trying every place.
    pub fn starts(&self, told: &Told) -> Vec<usize> {
        let n = told.decisions();
        let Sequences::Chunks { length, burn_in } = self.config.sequences else { return vec![0] };
        match self.config.initial_state {
            InitialState::Zero => (0..n).filter(|&s| s == 0 || s + length <= n).collect(),
            InitialState::Stored => {
                let stored = |row: usize| row == 0 || told.states.iter().any(|(at, _)| *at == row);
                let may = |&s: &usize| s == 0 || (s >= burn_in && stored(s - burn_in));
                let mut starts: Vec<usize> = (0..n).filter(may).collect();
                let reaches = starts.iter().position(|s| s + length >= n);
                starts.truncate(reaches.map_or(usize::MAX, |at| at + 1));
                starts
            }
        }
    }

    /// Checks a sample against what was told.
    pub fn check(&self, sample: &ReplaySample) {
        let time = sample.unroll_length();
        let mut expected = vec![(Vec::new(), vec![0.0; STATE_WIDTH]); sample.rows.len()];
        let mut weights = vec![0.0; time * sample.rows.len()];
        for piece in &sample.pieces {
            let (frames, state) = &mut expected[piece.row];
            self.expect(piece, frames, state);
            for t in piece.at..piece.at + piece.length {
                assert_eq!(weights[t * sample.rows.len() + piece.row], 0.0, "two in one place");
                weights[t * sample.rows.len() + piece.row] = piece.weight;
            }
        }
        assert_eq!(sample.weights(), weights);
        for (row, (mut frames, state)) in sample.rows.iter().zip(expected) {
            frames.resize(time + 1, self.nothing());
            frames[time].log_prob = 0.0;
            assert_eq!(row.core_state, state);
            assert_eq!(row.unroll_length(), time);
            assert_eq!(row.policy_versions.len(), time);
            row.frames.check(&self.shape.spec, time + 1).unwrap();
            for (t, frame) in frames.iter().enumerate() {
                let found = read(&row.frames, t, &self.shape, row.log_probs.get(t).copied());
                assert_eq!(&found, frame, "frame {t} of {:?}", sample.pieces);
            }
            // Only frames that count for nothing may break the order of a stream.
            for pair in row.frames.step_types.windows(2) {
                assert!(pair[0].is_last() || !pair[1].is_first(), "{pair:?}");
                assert!(!pair[0].is_last() || pair[1] != StepType::Mid, "{pair:?}");
            }
        }
    }

    /// Appends the frames that a piece must have.
    fn expect(&self, piece: &Piece, frames: &mut Vec<Seen>, state: &mut Vec<f32>) {
        let told = &self.held.iter().find(|(id, _)| *id == piece.episode.0).expect("held").1;
        assert_eq!(piece.policy_version, told.policy_version);
        assert!(self.starts(told).contains(&piece.start), "{piece:?} of {}", told.decisions());
        let burn_in = self.config.burn_in();
        let length = match self.config.sequences {
            Sequences::Episodes => told.decisions(),
            Sequences::Chunks { length, .. } => length.min(told.decisions() - piece.start),
        };
        assert_eq!(piece.length, length);
        for before in (1..=burn_in).rev() {
            match piece.start.checked_sub(before) {
                Some(row) => frames.push(told.frames[row].clone()),
                None => frames.push(self.nothing()),
            }
        }
        assert_eq!(frames.len(), piece.at, "where the first decision stands");
        let rows = piece.start..=piece.start + length;
        frames.extend(rows.map(|row| told.frames[row].clone()));
        let first = piece.start.saturating_sub(burn_in);
        if first > 0 {
            let row = piece.at - burn_in;
            match self.config.initial_state {
                InitialState::Zero => {
                    let past = self.nothing();
                    let frame = &mut frames[row];
                    (frame.action, frame.reward) = (past.action, 0.0);
                    frame.step_type = StepType::First;
                }
                InitialState::Stored => {
                    let at = told.states.iter().find(|(at, _)| *at == first);
                    *state = at.expect("a state is stored there").1.clone();
                }
            }
        }
        if piece.start + length < told.decisions() {
            let end = frames.last_mut().unwrap();
            (end.step_type, end.log_prob) = (StepType::Last(Ending::Truncated), 0.0);
        }
    }

    fn nothing(&self) -> Seen {
        Seen {
            observation: vec![0.0; self.shape.spec.observation.len()],
            action: vec![0.0; self.shape.spec.action.len()],
            reward: 0.0,
            step_type: StepType::Last(Ending::Truncated),
            log_prob: 0.0,
        }
    }
}

fn read(frames: &Frames, row: usize, shape: &TrajectoryShape, log_prob: Option<f32>) -> Seen {
    let (o, a) = (shape.spec.observation.len(), shape.spec.action.len());
    let observation = match &frames.observations {
        Observations::F32(all) => all[row * o..(row + 1) * o].to_vec(),
        Observations::U8(all) => all[row * o..(row + 1) * o].iter().map(|&x| x.into()).collect(),
    };
    let action = match &frames.previous_actions {
        Actions::Discrete(all) => vec![all[row] as f32],
        Actions::Continuous(all) => all[row * a..(row + 1) * a].to_vec(),
    };
    Seen {
        observation,
        action,
        reward: frames.previous_rewards[row],
        step_type: frames.step_types[row],
        log_prob: log_prob.unwrap_or(0.0),
    }
}
