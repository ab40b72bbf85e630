//! Task of a robot: what a file says, for any of the robots.

use std::fmt;
use std::sync::Arc;

use engram_mdp::{EnvSpec, Seed};
use serde::de::DeserializeOwned;
use toml::Table;

use super::robot::Robot;
use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{EnvError, ParameterError};
use crate::parse::{checked, read};

/// The parameters of a task that any robot may have.
pub(crate) trait Task: fmt::Debug + Send + Sync {
    fn validate(&self) -> Result<(), ParameterError>;

    /// Observations and actions of the environment called `name`.
    fn spec(&self, name: &str, robot: &Robot) -> EnvSpec;

    fn make(&self, name: &str, robot: &'static Robot, seed: Seed) -> Box<dyn Environment>;
}

/// Reads and checks the parameters of the environment called `name`, in which `robot` has a task.
pub(crate) fn robot_parameters<T>(
    name: &str,
    table: &Table,
    robot: &'static Robot,
) -> Result<Arc<dyn EnvironmentParameters>, EnvError>
where
    T: Task + DeserializeOwned + 'static,
{
    let task: T = read(name, table)?;
    checked(name, RobotParameters { name: name.into(), robot, task })
}

/// The parameters of a robot's environment.
#[derive(Debug)]
struct RobotParameters<T> {
    name: String,
    robot: &'static Robot,
    task: T,
}

impl<T: Task> EnvironmentParameters for RobotParameters<T> {
    fn validate(&self) -> Result<(), ParameterError> {
        self.task.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.task.spec(&self.name, self.robot)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.task.make(&self.name, self.robot, seed)
    }
}
