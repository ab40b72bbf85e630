//! Distributions against integrals, frequencies and differences.

use engram_mdp::Seed;
use tch::Device;

use super::*;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn categorical() -> Distribution {
    let logits = Tensor::from_slice(&[0.3, -1.2, 2.0, 0.0, 5.0, 4.0, -3.0, f64::NEG_INFINITY]);
    Distribution::Categorical { logits: logits.view([2, 4]) }
}

fn gaussian(mean: f64, std: f64) -> Distribution {
    Distribution::Gaussian {
        mean: Tensor::full([1, 1], mean, DOUBLE),
        log_std: Tensor::full([1, 1], std.ln(), DOUBLE),
    }
}

fn numbers(x: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(x.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

/// Actions on a fine grid, and the shares of [-1, 1] that each stands for, through
/// a = tanh(u).
fn grid() -> (Tensor, Tensor) {
    let step = 1e-3;
    let a = ((Tensor::arange(14_000, DOUBLE) - 6999.5) * step).tanh();
    let shares: Tensor = (-a.square() + 1.0) * step;
    (a, shares)
}

fn density(d: &Distribution, actions: &Tensor) -> Tensor {
    let Distribution::Gaussian { mean, log_std } = d else { panic!("a Gaussian") };
    let actions = actions.view([-1, 1]);
    let [mean, log_std] = [mean, log_std].map(|x| x.expand_as(&actions));
    Distribution::Gaussian { mean, log_std }.log_prob(&actions).exp()
}

fn total(x: Tensor) -> f64 {
    x.sum(Kind::Double).double_value(&[])
}

#[test]
fn categorical_log_prob_and_entropy_are_those_of_the_normalized_probabilities() {
    let logits = [0.3f64, -1.2, 2.0, 0.0];
    let total: f64 = logits.iter().map(|x| x.exp()).sum();
    let probs: Vec<f64> = logits.iter().map(|x| x.exp() / total).collect();
    let d = Distribution::Categorical { logits: Tensor::from_slice(&logits) };
    for (a, p) in probs.iter().enumerate() {
        let found = d.log_prob(&Tensor::from(a as i64)).double_value(&[]);
        assert!((found - p.ln()).abs() < 1e-12);
    }
    let entropy: f64 = probs.iter().map(|p| -p * p.ln()).sum();
    assert!((d.entropy().double_value(&[]) - entropy).abs() < 1e-12);
}

#[test]
fn categorical_samples_come_as_often_as_their_probability_says() {
    let Distribution::Categorical { logits } = categorical() else { panic!("categorical") };
    let draws = 20_000;
    let many = Distribution::Categorical { logits: logits.expand([draws, 2, 4], false) };
    let actions = many.sample(&many.noise(&mut Seed::new(3).generator()));
    for a in 0..4 {
        let chosen = actions.eq(a).to_kind(Kind::Double);
        let shares = numbers(&chosen.mean_dim(0, false, Kind::Double));
        let probs = numbers(&categorical().log_prob(&Tensor::from_slice(&[a, a])).exp());
        assert!((shares[0] - probs[0]).abs() < 0.015 && (shares[1] - probs[1]).abs() < 0.015);
        assert!(a < 3 || shares[1] == 0.0, "an action of probability zero was chosen");
    }
    assert_eq!(numbers(&categorical().mode()), [2.0, 0.0]);
}

#[test]
fn noise_at_its_ends_picks_only_actions_that_can_happen() {
    let logits = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 1.0, f32::NEG_INFINITY]);
    let d = Distribution::Categorical { logits };
    let pick = |noise: f32| d.sample(&Tensor::from(noise)).int64_value(&[]);
    assert_eq!(pick(0.0), 1);
    assert_eq!(pick(1.0f32.next_down()), 2);
}

#[test]
fn squashed_densities_integrate_to_one_and_to_their_entropy() {
    let (actions, shares) = grid();
    for (mean, std) in [(0.0, 1.0), (0.7, 0.3), (-0.5, 1.5)] {
        let d = gaussian(mean, std);
        let density = density(&d, &actions);
        let mass = total(&density * &shares);
        assert!((mass - 1.0).abs() < 1e-4, "mean {mean} std {std}: {mass}");
        let entropy = total(-density.log() * density * &shares);
        let found = d.entropy().double_value(&[0]);
        assert!((found - entropy).abs() < 1e-3, "mean {mean} std {std}: {found} {entropy}");
    }
}

#[test]
fn the_entropy_is_the_mean_of_minus_log_prob() {
    for (mean, std, tolerance) in [(0.3, 1.0, 1e-7), (-1.0, 2.0, 1e-4), (0.5, 4.0, 1e-2)] {
        // A much finer trapezoid, through the Gaussian's own density.
        let step = 1e-3f64;
        let slope = |u: f64| 2.0 * (LN_2 - u.abs() - (-2.0 * u.abs()).exp().ln_1p());
        let expected: f64 = (-9000..=9000)
            .map(|k| f64::from(k) * step)
            .map(|e| (-0.5 * e * e).exp() / (2.0 * PI).sqrt() * step * slope(mean + std * e))
            .sum::<f64>()
            + 0.5 * (2.0 * PI).ln()
            + 0.5
            + std.ln();
        let found = gaussian(mean, std).entropy().double_value(&[0]);
        assert!((found - expected).abs() < tolerance, "std {std}: {found} {expected}");
    }
}

#[test]
fn squashed_log_prob_is_the_change_of_variables() {
    let (mean, std, u) = (0.4f64, 0.8f64, 1.1f64);
    let normal = -0.5 * ((u - mean) / std).powi(2) - std.ln() - 0.5 * (2.0 * PI).ln();
    let expected = normal - (1.0 - u.tanh().powi(2)).ln();
    let found = density(&gaussian(mean, std), &Tensor::from(u.tanh())).log().double_value(&[0]);
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn extreme_draws_stay_inside_and_have_finite_densities() {
    let shape = [2, 3];
    let d = Distribution::Gaussian {
        mean: Tensor::zeros(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true),
        log_std: Tensor::zeros(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true),
    };
    let action = d.sample(&Tensor::full(shape, 50.0, (Kind::Float, Device::Cpu))).detach();
    assert!(action.max().double_value(&[]) < 1.0);
    let log_prob = d.log_prob(&action);
    assert!(log_prob.isfinite().all().int64_value(&[]) == 1);
    let Distribution::Gaussian { mean, log_std } = &d else { panic!("a Gaussian") };
    let loss = (log_prob + d.entropy()).sum(Kind::Float);
    for gradient in Tensor::run_backward(&[loss], &[mean, log_std], false, false) {
        assert!(gradient.isfinite().all().int64_value(&[]) == 1);
    }
    // The recorded action, not the draw, decides: both sides compute the same number.
    assert_eq!(d.log_prob(&action), d.log_prob(&action.copy()));
    assert_eq!(numbers(&d.mode()), [0.0; 6]);
}

#[test]
fn squashed_samples_have_the_mean_that_the_density_says() {
    let d = gaussian(0.5, 0.7);
    let mean = Tensor::full([20_000, 1], 0.5, DOUBLE);
    let log_std = Tensor::full([20_000, 1], 0.7f64.ln(), DOUBLE);
    let many = Distribution::Gaussian { mean, log_std };
    let samples = many.sample(&many.noise(&mut Seed::new(5).generator()));
    let (actions, shares) = grid();
    let expected = total(&actions * density(&d, &actions) * shares);
    assert!((total(samples) / 20_000.0 - expected).abs() < 0.012);
}

#[test]
fn a_reparameterized_draw_is_the_sample_with_its_density_and_its_slopes() {
    let mean = Tensor::from_slice(&[0.2, -0.7]).view([1, 2]).set_requires_grad(true);
    let log_std = Tensor::from_slice(&[-0.4, 0.3]).view([1, 2]).set_requires_grad(true);
    let noise = Tensor::from_slice(&[0.9, -1.3]).view([1, 2]);
    let at = |mean: &Tensor, log_std: &Tensor| {
        let d =
            Distribution::Gaussian { mean: mean.shallow_clone(), log_std: log_std.shallow_clone() };
        let (action, log_prob) = d.reparameterized(&noise);
        assert!((&action - d.sample(&noise)).abs().max().double_value(&[]) < 1e-15);
        assert!((&log_prob - d.log_prob(&action)).abs().max().double_value(&[]) < 1e-8);
        total(action * Tensor::from_slice(&[1.5, -0.5])) + total(log_prob)
    };
    let d = Distribution::Gaussian { mean: mean.shallow_clone(), log_std: log_std.shallow_clone() };
    let (action, log_prob) = d.reparameterized(&noise);
    let loss =
        (action * Tensor::from_slice(&[1.5, -0.5])).sum(Kind::Double) + log_prob.sum(Kind::Double);
    let slopes = Tensor::run_backward(&[loss], &[&mean, &log_std], false, false);
    let step = 1e-6;
    for i in 0..2 {
        let nudge =
            Tensor::from_slice(&[0.0, 1.0].map(|x: f64| if x as i64 == i { step } else { 0.0 }));
        let (m, s) = (mean.detach(), log_std.detach());
        let by_mean = (at(&(&m + &nudge), &s) - at(&(&m - &nudge), &s)) / (2.0 * step);
        let by_std = (at(&m, &(&s + &nudge)) - at(&m, &(&s - &nudge))) / (2.0 * step);
        assert!((slopes[0].double_value(&[0, i]) - by_mean).abs() < 1e-7);
        assert!((slopes[1].double_value(&[0, i]) - by_std).abs() < 1e-7);
    }
}
