//! Cart and poles of the DeepMind Control Suite, with the dynamics of its MuJoCo model: a cart of 1
//! kg on a rail of ±1.8 meters with soft ends, poles of 1 meter and 0.1 kg, each on the tip of the
//! one before, a push of up to 10 newtons.

use std::f64::consts::PI;

use engram_mdp::Generator;
use rand::RngExt;

use super::soft_limit::{Joint, SoftLimit};
use crate::chance::normal;

const GRAVITY: f64 = 9.81;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
const LENGTH: f64 = 1.0;
/// Distance of a pole's center of mass from its hinge, and its inertia around it: a capsule of
/// radius 0.045.
const CENTER: f64 = 0.5;
const INERTIA: f64 = 0.009_424_592_767;
const RAIL_DAMPING: f64 = 5e-4;
const HINGE_DAMPING: f64 = 2e-6;
const FORCE: f64 = 10.0;
/// Seconds of a step.
const TIME_STEP: f64 = 0.01;
/// Half the length of the rail.
pub(super) const RAIL: f64 = 1.8;
const RAIL_END: SoftLimit = SoftLimit { end: RAIL, seconds: 0.08 };

/// A cart and its poles, `JOINTS - 1` of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cart<const JOINTS: usize> {
    /// Position of the cart, and angle of every pole: zero is upright, positive to the right.
    pub(super) positions: [f64; JOINTS],
    pub(super) velocities: [f64; JOINTS],
}

impl<const JOINTS: usize> Cart<JOINTS> {
    /// In the middle, upright.
    pub(super) fn at_rest() -> Self {
        Cart { positions: [0.0; JOINTS], velocities: [0.0; JOINTS] }
    }

    /// Near the middle, nearly upright and at rest.
    pub(super) fn upright(generator: &mut Generator) -> Self {
        let mut positions = [0.0; JOINTS];
        positions[0] = generator.random_range(-0.1..0.1);
        positions[1..].fill_with(|| generator.random_range(-0.034..0.034));
        Self::from_joints(&positions, &Self::slow(generator))
    }

    /// In the middle, hanging and nearly at rest; the hinges between poles are bent more.
    pub(super) fn hanging(generator: &mut Generator) -> Self {
        let mut positions = [0.0; JOINTS];
        positions[0] = 0.01 * normal(generator);
        positions[1] = PI + 0.01 * normal(generator);
        positions[2..].fill_with(|| 0.1 * normal(generator));
        Self::from_joints(&positions, &Self::slow(generator))
    }

    fn slow(generator: &mut Generator) -> [f64; JOINTS] {
        std::array::from_fn(|_| 0.01 * normal(generator))
    }

    /// From positions and velocities of the joints; a hinge's are those against the pole before.
    pub(super) fn from_joints(positions: &[f64], velocities: &[f64]) -> Self {
        let sums = |joints: &[f64]| {
            let poles = |joint: usize| joints[1..=joint].iter().sum();
            std::array::from_fn(|joint| if joint == 0 { joints[0] } else { poles(joint) })
        };
        Cart { positions: sums(positions), velocities: sums(velocities) }
    }

    /// Angular velocity of every hinge.
    pub(super) fn hinge_speeds(&self) -> impl Iterator<Item = f64> {
        let speeds = &self.velocities;
        (1..JOINTS).map(|pole| speeds[pole] - if pole == 1 { 0.0 } else { speeds[pole - 1] })
    }

    /// The way from hinge to tip of every pole: right, up.
    pub(super) fn poles(&self) -> impl Iterator<Item = [f64; 2]> {
        self.positions[1..].iter().map(|angle| [LENGTH * angle.sin(), LENGTH * angle.cos()])
    }

    /// The suite's smooth reward: upright poles, a cart in the middle, a small push, slow hinges.
    pub(super) fn reward(&self, action: f64) -> f64 {
        // One at zero, a tenth at the margin.
        let near_zero = |x: f64, margin: f64| 0.1_f64.powf((x / margin).powi(2));
        let cosines: f64 = self.positions[1..].iter().map(|angle| angle.cos()).sum();
        let upright = (cosines / (JOINTS - 1) as f64 + 1.0) / 2.0;
        let centered = (1.0 + near_zero(self.positions[0], 2.0)) / 2.0;
        let small_control = (4.0 + (1.0 - action.powi(2)).max(0.0)) / 5.0;
        let fastest = self.hinge_speeds().fold(0.0, |most: f64, speed| most.max(speed.abs()));
        let small_velocity = (1.0 + near_zero(fastest, 5.0)) / 2.0;
        upright * centered * small_control * small_velocity
    }

    /// A step of the classic Runge-Kutta method of the fourth order.
    pub(super) fn advance(&mut self, action: f64) {
        let force = FORCE * action;
        let start = *self;
        let moved = |slope: &Cart<JOINTS>, time: f64| start.plus(slope, time);
        let first = start.slope(force);
        let second = moved(&first, TIME_STEP / 2.0).slope(force);
        let third = moved(&second, TIME_STEP / 2.0).slope(force);
        let fourth = moved(&third, TIME_STEP).slope(force);
        for (slope, share) in [(first, 1.0), (second, 2.0), (third, 2.0), (fourth, 1.0)] {
            *self = self.plus(&slope, share * TIME_STEP / 6.0);
        }
    }

    fn plus(&self, slope: &Self, time: f64) -> Self {
        let plus = |from: &[f64; JOINTS], slope: &[f64; JOINTS]| {
            std::array::from_fn(|joint| from[joint] + time * slope[joint])
        };
        Cart {
            positions: plus(&self.positions, &slope.positions),
            velocities: plus(&self.velocities, &slope.velocities),
        }
    }

    /// Time derivative: the velocities, and the accelerations q̈ of M q̈ = forces, where M is the
    /// mass matrix.
    fn slope(&self, force: f64) -> Self {
        let mass = Factors::of(self.mass_matrix());
        let mut accelerations = mass.solve(self.forces(force));
        if RAIL_END.is_passed(self.positions[0]) {
            let push = |mass: &Factors<JOINTS>| {
                mass.solve(std::array::from_fn(|joint| if joint == 0 { 1.0 } else { 0.0 }))
            };
            let per_newton = push(&mass);
            let joint = Joint {
                position: self.positions[0],
                velocity: self.velocities[0],
                free: accelerations[0],
                mobility: per_newton[0],
            };
            let rest_mobility = push(&Factors::of(Self::at_rest().mass_matrix()))[0];
            // The end of the rail acts upon the cart like one more force.
            let force = RAIL_END.force(&joint, rest_mobility);
            for (acceleration, change) in accelerations.iter_mut().zip(per_newton) {
                *acceleration += force * change;
            }
        }
        Cart { positions: self.velocities, velocities: accelerations }
    }

    /// Mass of all that a pole carries on its tip.
    fn carried(pole: usize) -> f64 {
        (JOINTS - 1 - pole) as f64 * POLE_MASS
    }

    /// First moment of a pole and of what it carries around its hinge.
    fn moment(pole: usize) -> f64 {
        POLE_MASS * CENTER + Self::carried(pole) * LENGTH
    }

    /// The lower half of the mass matrix, zeros above it.
    fn mass_matrix(&self) -> [[f64; JOINTS]; JOINTS] {
        let angle = |pole: usize| self.positions[pole];
        let entry = |row: usize, column: usize| match (row, column) {
            (0, 0) => CART_MASS + (JOINTS - 1) as f64 * POLE_MASS,
            _ if column > row => 0.0,
            (pole, 0) => Self::moment(pole) * angle(pole).cos(),
            (pole, before) if before < pole => {
                LENGTH * Self::moment(pole) * (angle(before) - angle(pole)).cos()
            }
            (pole, _) => {
                INERTIA + POLE_MASS * CENTER.powi(2) + Self::carried(pole) * LENGTH.powi(2)
            }
        };
        std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column)))
    }

    /// Forces upon the cart and torques upon the poles.
    fn forces(&self, force: f64) -> [f64; JOINTS] {
        let Cart { positions, velocities } = self;
        let mut forces = [0.0; JOINTS];
        forces[0] = force - RAIL_DAMPING * velocities[0];
        for (pole, hinge_speed) in (1..JOINTS).zip(self.hinge_speeds()) {
            let moment = Self::moment(pole);
            let sin = positions[pole].sin();
            forces[0] += moment * sin * velocities[pole].powi(2);
            forces[pole] += GRAVITY * moment * sin - HINGE_DAMPING * hinge_speed;
            if pole > 1 {
                forces[pole - 1] += HINGE_DAMPING * hinge_speed;
            }
            for before in 1..pole {
                let pull = LENGTH * moment * (positions[before] - positions[pole]).sin();
                forces[pole] += pull * velocities[before].powi(2);
                forces[before] -= pull * velocities[pole].powi(2);
            }
        }
        forces
    }
}

/// Factors L D Lᵀ of a symmetric matrix: D on the diagonal, L below it.
struct Factors<const SIZE: usize>([[f64; SIZE]; SIZE]);

impl<const SIZE: usize> Factors<SIZE> {
    /// Factors of a positive definite matrix, of which the lower half is read.
    fn of(mut matrix: [[f64; SIZE]; SIZE]) -> Self {
        for column in 0..SIZE {
            for row in column + 1..SIZE {
                let factor = matrix[row][column] / matrix[column][column];
                for line in &mut matrix[row..] {
                    line[row] -= factor * line[column];
                }
            }
            for row in column + 1..SIZE {
                matrix[row][column] /= matrix[column][column];
            }
        }
        Factors(matrix)
    }

    /// The solution of a linear equation with this matrix.
    fn solve(&self, mut right: [f64; SIZE]) -> [f64; SIZE] {
        let Factors(factors) = self;
        for row in 0..SIZE {
            for column in 0..row {
                right[row] -= factors[row][column] * right[column];
            }
        }
        for row in (0..SIZE).rev() {
            right[row] /= factors[row][row];
            for below in row + 1..SIZE {
                right[row] -= factors[below][row] * right[below];
            }
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poles_at_rest_above_the_middle_are_paid_one_and_hanging_ones_nothing() {
        assert_eq!(Cart::<2>::at_rest().reward(0.0), 1.0);
        assert_eq!(Cart::<4>::at_rest().reward(0.0), 1.0);
        let hanging = Cart { positions: [0.0, PI, PI], velocities: [0.0; 3] };
        assert!(hanging.reward(0.0) < 1e-9);
        // Two meters away, five radians per second, full push: (1.1 / 2) (1.1 / 2) (4 / 5).
        let moving = Cart { positions: [2.0, 0.0], velocities: [0.0, 5.0] };
        assert!((moving.reward(1.0) - 0.242).abs() < 1e-12);
    }

    #[test]
    fn factors_solve_linear_equations() {
        let matrix = [[4.0, 0.0, 0.0], [2.0, 5.0, 0.0], [1.0, -2.0, 6.0]];
        let found = Factors::of(matrix).solve([11.0, 6.0, 15.0]);
        let expected = [1.0, 2.0, 3.0];
        assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn poles_without_a_push_keep_their_energy_but_for_the_damping() {
        let energy = |cart: &Cart<4>| {
            let mass = cart.mass_matrix();
            let entry = |i: usize, j: usize| mass[i.max(j)][i.min(j)];
            let v = cart.velocities;
            let pairs = (0..4).flat_map(|i| (0..4).map(move |j| (i, j)));
            let kinetic: f64 = pairs.map(|(i, j)| 0.5 * entry(i, j) * v[i] * v[j]).sum();
            let height = |pole| Cart::<4>::moment(pole) * cart.positions[pole].cos();
            kinetic + GRAVITY * (1..4).map(height).sum::<f64>()
        };
        let mut cart = Cart { positions: [0.0, 0.6, -0.8, 0.4], velocities: [0.0; 4] };
        let start = energy(&cart);
        (0..100).for_each(|_| cart.advance(0.0));
        let lost = start - energy(&cart);
        assert!(cart.positions[1].abs() > 1.0, "it fell");
        assert!((0.0..0.02).contains(&lost), "{lost} of {start} J");
    }
}
