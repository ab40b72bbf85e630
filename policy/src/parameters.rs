//! The trainable tensors of a network, by name, in the order in which its parts ask for them.

use std::collections::HashMap;

use engram_mdp::{Generator, Seed};
use tch::{Device, Kind, Tensor};

use crate::initialization::Initialization;
use crate::random;

/// Makes and names parameters while a network is built.
pub(crate) struct Parameters {
    /// Origin of their numbers.
    origin: Origin,
    kind: Kind,
    device: Device,
    named: Vec<(String, Tensor)>,
}

/// Origin of the numbers of parameters.
enum Origin {
    Drawn(Generator),
    /// A file, to be read once the network stands; the shapes of its tensors.
    File(HashMap<String, Vec<i64>>),
}

impl Parameters {
    /// None yet. All numbers follow from the seed.
    pub(crate) fn new(seed: Seed, kind: Kind, device: Device) -> Self {
        Parameters { origin: Origin::Drawn(seed.generator()), kind, device, named: Vec::new() }
    }

    /// None yet. Their numbers are to be read from a file whose tensors have these shapes; a
    /// parameter that is not among them has its shape, and takes no memory.
    pub(crate) fn of_file(shapes: HashMap<String, Vec<i64>>, kind: Kind, device: Device) -> Self {
        Parameters { origin: Origin::File(shapes), kind, device, named: Vec::new() }
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
        self.make(name, shape, |generator| weights(generator, shape, init, fan_in))
    }

    /// Weights `[members, outputs, inputs]` of as many layers alike, `shape` being that of one.
    pub(crate) fn ensemble_weight(
        &mut self,
        name: String,
        members: i64,
        shape: &[i64; 2],
        init: Initialization,
    ) -> Tensor {
        let [outputs, inputs] = *shape;
        self.make(name, &[members, outputs, inputs], |generator| {
            let each = (0..members).map(|_| weights(generator, shape, init, inputs));
            Tensor::stack(&each.collect::<Vec<_>>(), 0)
        })
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
            None => self.make(name, &[members, 1, outputs], |generator| {
                let each = (0..members).map(|_| weights(generator, &[1, outputs], init, inputs));
                Tensor::stack(&each.collect::<Vec<_>>(), 0)
            }),
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
        self.make(name, shape, |generator| uniform(generator, shape, bound))
    }

    /// Linear maps side by side, each between `width` numbers in and out together, as Glorot &
    /// Bengio 2010 start them: uniform in `±√(6 / width)`.
    pub(crate) fn glorot(&mut self, name: String, shape: &[i64], width: i64) -> Tensor {
        self.uniform(name, shape, (6.0 / width as f64).sqrt())
    }

    /// Normal with mean `mean` and standard deviation `std`.
    pub(crate) fn normal(&mut self, name: String, shape: &[i64], mean: f64, std: f64) -> Tensor {
        self.make(name, shape, |generator| random::normal(generator, shape) * std + mean)
    }

    /// `map` of uniform numbers in `(0, 1]`, which it is given in double precision.
    pub(crate) fn mapped(
        &mut self,
        name: String,
        shape: &[i64],
        map: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        self.make(name, shape, |generator| {
            map(&(1.0 - random::uniform(generator, shape).to_kind(Kind::Double)))
        })
    }

    /// `value` everywhere.
    pub(crate) fn constant(&mut self, name: String, shape: &[i64], value: f64) -> Tensor {
        self.make(name, shape, |_| Tensor::full(shape, value, (Kind::Float, Device::Cpu)))
    }

    /// Gives `initial` a name and returns the parameter that starts from it.
    pub(crate) fn add(&mut self, name: String, initial: &Tensor) -> Tensor {
        self.make(name, &initial.size(), |_| initial.shallow_clone())
    }

    /// Runs what changes parameters after they were drawn; those of a file are to stay.
    pub(crate) fn once_drawn(&self, change: impl FnOnce()) {
        if matches!(self.origin, Origin::Drawn(_)) {
            tch::no_grad(change);
        }
    }

    /// A parameter of this name and shape that starts from what is drawn, unless it is to be read.
    fn make(
        &mut self,
        name: String,
        shape: &[i64],
        draw: impl FnOnce(&mut Generator) -> Tensor,
    ) -> Tensor {
        assert!(self.named.iter().all(|(n, _)| *n != name), "two parameters are called {name}");
        let options = (self.kind, self.device);
        let tensor = match &mut self.origin {
            // A copy, so that the parameter shares its memory with nothing.
            Origin::Drawn(generator) => {
                draw(generator).to_kind(self.kind).to_device(self.device).copy()
            }
            Origin::File(shapes) if shapes.get(&name).is_some_and(|known| known == shape) => {
                Tensor::zeros(shape, options)
            }
            // Layers change vectors in place, and vectors are short.
            Origin::File(_) if shape.len() == 1 => Tensor::zeros(shape, options),
            Origin::File(_) => Tensor::zeros([0; 0], options).expand(shape, false),
        };
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

/// Numbers of a [`weight`](Parameters::weight).
fn weights(generator: &mut Generator, shape: &[i64], init: Initialization, fan_in: i64) -> Tensor {
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
            return random::orthogonal(generator, shape) * gain;
        }
        Initialization::Normal { std, .. } => {
            return random::normal(generator, shape) * std;
        }
    };
    uniform(generator, shape, bound)
}

/// Uniform in `±bound`.
fn uniform(generator: &mut Generator, shape: &[i64], bound: f64) -> Tensor {
    random::uniform(generator, shape) * (2.0 * bound) - bound
}
