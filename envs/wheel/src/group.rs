//! A group of environments for Python: stepped as a whole, without Python's lock.
//!
//! Its columns are made once and never move, so numpy may look at them in place. A group that is to
//! begin from another seed is another group.

use std::sync::{Mutex, MutexGuard};

use engram_envs::VectorEnv;
use engram_envs::canvas::Canvas;
use engram_mdp::{ActionSpec, Actions, Ending, EnvSpec, Observations, Seed, StepType};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::column::{Access, Column, Layout};
use crate::settings::{config, refused};

/// Environments that are stepped together.
#[pyclass(frozen)]
pub(crate) struct Group {
    spec: EnvSpec,
    rows: usize,
    /// Two threads of Python take turns.
    state: Mutex<State>,
}

struct State {
    environments: VectorEnv,
    /// The next actions, as Python wrote them.
    actions: Actions,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    /// Success of the episodes that ended in the last step.
    successes: Vec<bool>,
    /// The rows of which that is known.
    judged: Vec<bool>,
}

#[pymethods]
impl Group {
    /// Makes `rows` environments, and starts an episode in each.
    #[new]
    fn open(
        py: Python<'_>,
        name: &str,
        settings: &Bound<'_, PyDict>,
        rows: u32,
        seed: u64,
    ) -> PyResult<Self> {
        if rows == 0 {
            return Err(PyValueError::new_err("num_envs is 0; it must be 1 or more"));
        }
        let config = config(name, settings)?;
        let opened = py.detach(|| VectorEnv::open(&config, 0..rows, Seed::new(seed)));
        let environments = opened.map_err(|error| refused(&error))?;
        let (spec, rows) = (environments.spec().clone(), rows as usize);
        let flags = || vec![false; rows];
        let state = State {
            actions: Actions::zeros(spec.action, rows),
            terminated: flags(),
            truncated: flags(),
            successes: flags(),
            judged: flags(),
            environments,
        };
        Ok(Group { spec, rows, state: Mutex::new(state) })
    }

    /// The spec's name: the environment, with the settings that change what is seen.
    #[getter]
    fn name(&self) -> &str {
        &self.spec.name
    }

    /// Shape of one observation.
    #[getter]
    fn observation_shape(&self) -> Vec<usize> {
        self.spec.observation.shape.clone()
    }

    /// Number of discrete actions; `None` if actions are vectors.
    #[getter]
    fn action_count(&self) -> Option<usize> {
        match self.spec.action {
            ActionSpec::Discrete { count } => Some(count),
            ActionSpec::Continuous { .. } => None,
        }
    }

    /// The columns by name: `actions` is Python's to write, the others are read.
    fn columns<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(slf.py());
        for (name, layout) in slf.get().layouts() {
            let column = Column::new(layout, slf.clone().into_any().unbind());
            columns.set_item(name, Bound::new(slf.py(), column)?)?;
        }
        Ok(columns)
    }

    /// Steps every environment by the column `actions`; returns how many episodes this ended. A row
    /// whose episode has ended ignores its action, and begins the next one.
    fn step(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.state().step(self.spec.action)).map_err(PyValueError::new_err)
    }

    /// Begins a new episode everywhere.
    fn restart(&self, py: Python<'_>) {
        py.detach(|| {
            let mut state = self.state();
            state.environments.interrupt();
            state.note();
        });
    }

    /// Draws one environment: pixels of red, green and blue, row by row.
    fn render<'py>(
        &self,
        py: Python<'py>,
        row: usize,
        width: usize,
        height: usize,
    ) -> Bound<'py, PyBytes> {
        let canvas = py.detach(|| {
            let mut canvas = Canvas::new(width, height);
            self.state().environments.render(row, &mut canvas);
            canvas
        });
        PyBytes::new(py, canvas.pixels())
    }
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("an environment that panics is a bug, and said so")
    }

    fn layouts(&self) -> [(&'static str, Layout); 7] {
        let mut state = self.state();
        let rows = self.rows;
        let column = |address, shape: &[usize], dtype, access| {
            let shape = [&[rows], shape].concat();
            Layout { address, shape, dtype, access }
        };
        let read = |address, shape, dtype| column(address, shape, dtype, Access::Read);
        let frames = state.environments.frames();
        let (observations, dtype) = match &frames.observations {
            Observations::U8(bytes) => (bytes.as_ptr().expose_provenance(), "|u1"),
            Observations::F32(numbers) => (numbers.as_ptr().expose_provenance(), "<f4"),
        };
        let rewards = frames.previous_rewards.as_ptr().expose_provenance();
        let flags = [&state.terminated, &state.truncated, &state.successes, &state.judged];
        let flags = flags.map(|flags| read(flags.as_ptr().expose_provenance(), &[], "|b1"));
        let [terminated, truncated, successes, judged] = flags;
        let actions = match (&mut state.actions, self.spec.action) {
            (Actions::Continuous(numbers), ActionSpec::Continuous { dimensions }) => column(
                numbers.as_mut_ptr().expose_provenance(),
                &[dimensions],
                "<f4",
                Access::Write,
            ),
            (Actions::Discrete(indices), _) => {
                column(indices.as_mut_ptr().expose_provenance(), &[], "<i4", Access::Write)
            }
            _ => unreachable!("the column was made for the spec"),
        };
        [
            ("observations", read(observations, &self.spec.observation.shape, dtype)),
            ("rewards", read(rewards, &[], "<f4")),
            ("terminated", terminated),
            ("truncated", truncated),
            ("successes", successes),
            ("judged", judged),
            ("actions", actions),
        ]
    }
}

impl State {
    fn step(&mut self, spec: ActionSpec) -> Result<usize, String> {
        // A vector beyond its range is clamped, and one that is not a number ends its episode.
        if let (Actions::Discrete(indices), Some(row)) =
            (&self.actions, self.actions.first_invalid_row(spec))
        {
            return Err(format!("action {} of environment {row} is none of {spec}", indices[row]));
        }
        self.judged.fill(false);
        let mut ended = 0;
        for episode in self.environments.step(&self.actions) {
            ended += 1;
            if let Some(success) = episode.success {
                self.judged[episode.env_index as usize] = true;
                self.successes[episode.env_index as usize] = success;
            }
        }
        if let Some(error) = self.environments.failure() {
            return Err(error.to_string());
        }
        self.note();
        Ok(ended)
    }

    /// Notes which rows have ended, and how.
    fn note(&mut self) {
        let step_types = &self.environments.frames().step_types;
        for (row, &step_type) in step_types.iter().enumerate() {
            self.terminated[row] = step_type == StepType::Last(Ending::Terminated);
            self.truncated[row] = step_type == StepType::Last(Ending::Truncated);
        }
    }
}
