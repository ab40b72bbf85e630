//! The trainable tensors of a network, by name, in the order in which its parts ask for them.

use engram_mdp::{Generator, Seed};
use tch::{Device, Kind, Tensor};

use crate::initialization::Initialization;
use crate::random;

/// Makes and names parameters while a network is built.
pub(crate) struct Parameters {
    generator: Generator,
    kind: Kind,
    device: Device,
    named: Vec<(String, Tensor)>,
}

impl Parameters {
    /// None yet. All numbers follow from the seed.
    pub(crate) fn new(seed: Seed, kind: Kind, device: Device) -> Self {
        Parameters { generator: seed.generator(), kind, device, named: Vec::new() }
    }

    /// Kind and device of all of them.
    pub(crate) fn options(&self) -> (Kind, Device) {
        (self.kind, self.device)
    }

    /// A weight `[outputs, inputs, ..]` of a layer that starts as `init` says; behind the inputs, the
    /// sides of a convolution's kernel. `fan_in` is what counts as its inputs in
    /// [`FanIn`](Initialization::FanIn).
    pub(crate) fn weight(
        &mut self,
        name: String,
        shape: &[i64],
        init: Initialization,
        fan_in: i64,
    ) -> Tensor {
        let numbers = self.weights(shape, init, fan_in);
        self.add(name, &numbers)
    }

    /// Numbers of such a weight.
    fn weights(&mut self, shape: &[i64], init: Initialization, fan_in: i64) -> Tensor {
        let bound = match init {
            Initialization::FanIn {} => inverse_root(fan_in),
            Initialization::FanOut { .. } => inverse_root(shape[0]),
            Initialization::XavierUniform { gain, .. } => {
                let pixels: i64 = shape[2..].iter().product();
                let width = (shape[0] + shape[1]) * pixels;
                gain * (6.0 / width as f64).sqrt()
            }
            Initialization::Uniform { bound } => bound,
            Initialization::Orthogonal { gain, .. } => {
                return random::orthogonal(&mut self.generator, shape) * gain;
            }
            Initialization::Normal { std, .. } => {
                return random::normal(&mut self.generator, shape) * std;
            }
        };
        random::uniform(&mut self.generator, shape) * (2.0 * bound) - bound
    }

    /// Weights `[members, outputs, inputs]` of as many layers alike, `shape` being that of one.
    pub(crate) fn ensemble_weight(
        &mut self,
        name: String,
        members: i64,
        shape: &[i64; 2],
        init: Initialization,
    ) -> Tensor {
        let each: Vec<Tensor> = (0..members).map(|_| self.weights(shape, init, shape[1])).collect();
        self.add(name, &Tensor::stack(&each, 0))
    }

    /// Biases `[members, 1, outputs]` of such layers.
    pub(crate) fn ensemble_bias(
        &mut self,
        name: String,
        members: i64,
        shape: &[i64; 2],
        init: Initialization,
    ) -> Tensor {
        let [outputs, inputs] = *shape;
        match init.bias() {
            Some(bias) => self.constant(name, &[members, 1, outputs], bias),
            None => {
                let each = (0..members).map(|_| self.weights(&[1, outputs], init, inputs));
                let each: Vec<Tensor> = each.collect();
                self.add(name, &Tensor::stack(&each, 0))
            }
        }
    }

    /// The bias `[outputs]` of such a layer.
    pub(crate) fn bias(
        &mut self,
        name: String,
        outputs: i64,
        init: Initialization,
        fan_in: i64,
    ) -> Tensor {
        match init.bias() {
            Some(bias) => self.constant(name, &[outputs], bias),
            None => self.weight(name, &[outputs], init, fan_in),
        }
    }

    /// Uniform in `±bound`.
    pub(crate) fn uniform(&mut self, name: String, shape: &[i64], bound: f64) -> Tensor {
        let numbers = random::uniform(&mut self.generator, shape) * (2.0 * bound) - bound;
        self.add(name, &numbers)
    }

    /// Linear maps side by side, each between `width` numbers in and out together, as Glorot &
    /// Bengio 2010 start them: uniform in `±√(6 / width)`.
    pub(crate) fn glorot(&mut self, name: String, shape: &[i64], width: i64) -> Tensor {
        self.uniform(name, shape, (6.0 / width as f64).sqrt())
    }

    /// Normal with mean `mean` and standard deviation `std`.
    pub(crate) fn normal(&mut self, name: String, shape: &[i64], mean: f64, std: f64) -> Tensor {
        let numbers = random::normal(&mut self.generator, shape) * std + mean;
        self.add(name, &numbers)
    }

    /// `map` of uniform numbers in `(0, 1]`, which it is given in double precision.
    pub(crate) fn mapped(
        &mut self,
        name: String,
        shape: &[i64],
        map: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        let numbers = 1.0 - random::uniform(&mut self.generator, shape).to_kind(Kind::Double);
        self.add(name, &map(&numbers))
    }

    /// `value` everywhere.
    pub(crate) fn constant(&mut self, name: String, shape: &[i64], value: f64) -> Tensor {
        self.add(name, &Tensor::full(shape, value, (Kind::Float, Device::Cpu)))
    }

    /// Gives `initial` a name and returns the parameter that starts from it.
    pub(crate) fn add(&mut self, name: String, initial: &Tensor) -> Tensor {
        assert!(self.named.iter().all(|(n, _)| *n != name), "two parameters are called {name}");
        // A copy, so that the parameter shares its memory with nothing.
        let tensor = initial.to_kind(self.kind).to_device(self.device).copy();
        let tensor = tensor.set_requires_grad(true);
        self.named.push((name, tensor.shallow_clone()));
        tensor
    }

    /// All of them.
    pub(crate) fn into_named(self) -> Vec<(String, Tensor)> {
        self.named
    }
}

fn inverse_root(width: i64) -> f64 {
    1.0 / (width as f64).sqrt()
}
