//! Target networks: weights that follow those that learn.
//!
//! Slowly, by Polyak averaging (Lillicrap et al. 2016, <https://arxiv.org/abs/1509.02971>), or as
//! a copy every so many updates (Mnih et al. 2015, <https://doi.org/10.1038/nature14236>).

use tch::{Tensor, no_grad};

use crate::config::TargetUpdate;

/// Brings the weights `target` after those of `online`, of which `updates` have been made, the one
/// that has just ended among them. In place, and not differentiated.
pub fn update_target(
    target: &[(String, Tensor)],
    online: &[(String, Tensor)],
    rule: TargetUpdate,
    updates: u64,
) {
    match rule {
        TargetUpdate::Polyak { tau, every } => {
            if updates.is_multiple_of(every) {
                polyak(target, online, tau);
            }
        }
        TargetUpdate::Copy { every } => {
            assert!(every >= 1, "target weights are copied every 1 update at least");
            if updates.is_multiple_of(every) {
                polyak(target, online, 1.0);
            }
        }
    }
}

/// `target ← target + τ (online − target)` for all of the same names, which stand in the same order
/// in both. In place; counts and other numbers that are no floats are copied.
pub fn polyak(target: &[(String, Tensor)], online: &[(String, Tensor)], tau: f64) {
    assert!((0.0..=1.0).contains(&tau), "τ lies between 0 and 1, not at {tau}");
    assert_eq!(target.len(), online.len(), "target and online network have the same weights");
    no_grad(|| {
        for ((name, target), (online_name, online)) in target.iter().zip(online) {
            assert_eq!(name, online_name, "target and online network have the same weights");
            assert_eq!(target.size(), online.size(), "`{name}` has one shape in both networks");
            let mut target = target.shallow_clone();
            if tau == 1.0 || !target.is_floating_point() {
                target.copy_(online);
            } else {
                let _ = target.lerp_(online, tau);
            }
        }
    });
}
