//! Noise levels: how they scale the network's input and output, which ones the sampler visits, how
//! it steps between them, and which ones training draws.
//!
//! Everything here is plain `f64`; tensors only meet the resulting coefficients.

/// Rectified-flow scaling of one noise level, with data of unit variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Of the noisy input in the estimate of the clean video.
    pub c_skip: f64,
    /// Of the network's output in the estimate of the clean video.
    pub c_out: f64,
    /// Of the noisy input on its way into the network.
    pub c_in: f64,
    /// The timestep the network is told.
    pub c_noise: f64,
}

impl Scaling {
    /// `timestep_scale` is 1 in the release.
    pub fn of(sigma: f64, timestep_scale: f64) -> Self {
        let t = sigma / (1.0 + sigma);
        Self { c_skip: 1.0 - t, c_out: -t, c_in: 1.0 - t, c_noise: t * timestep_scale }
    }
}

/// Weight of the squared error of the clean video at a noise level: that of the velocity.
pub fn loss_weight(sigma: f64) -> f64 {
    let precision = sigma.powi(-2);
    precision + 1.0
}

/// The noise level at a quantile of the training distribution before its scale is applied: the
/// exponential of a standard normal.
pub fn log_normal_sigma(quantile: f64) -> f64 {
    normal_quantile(quantile).exp()
}

/// How training draws noise levels.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainingNoise {
    /// Multiplies the log-normal draw; the release takes the root of its 24 latent steps.
    pub scale: f64,
    /// Share of draws that come from far up instead.
    pub high_share: f64,
    /// From where to where those are, log-uniform.
    pub high_range: [f64; 2],
}

impl TrainingNoise {
    /// The release's settings for clips of `latent_steps` steps.
    pub fn videoworld2(latent_steps: usize) -> Self {
        Self {
            scale: (latent_steps as f64).sqrt(),
            high_share: 0.05,
            high_range: [200.0, 100_000.0],
        }
    }

    /// The noise level for two uniform draws in 0 to 1.
    pub fn sigma(&self, choice: f64, quantile: f64) -> f64 {
        let [low, high] = self.high_range;
        if choice < self.high_share {
            low * (high / low).powf(quantile)
        } else {
            self.scale * log_normal_sigma(quantile)
        }
    }
}

/// The noise levels a sampler visits.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SigmaRange {
    pub max: f64,
    pub min: f64,
    /// Larger orders spend more steps at low noise.
    pub order: f64,
}

impl SigmaRange {
    /// The release's range.
    pub const VIDEOWORLD2: Self = Self { max: 80.0, min: 0.002, order: 7.0 };

    /// `steps + 1` noise levels from `max` down to `min`, evenly spaced in the `order`-th root.
    pub fn table(&self, steps: usize) -> Vec<f64> {
        let (from, to) = (self.max.powf(1.0 / self.order), self.min.powf(1.0 / self.order));
        let at = |i: usize| (from + i as f64 / steps as f64 * (to - from)).powf(self.order);
        (0..=steps).map(at).collect()
    }
}

/// What sampling begins with at its highest noise level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// Noise alone, as the release.
    #[default]
    Noise,
    /// The starting frame, changed as the coarse video changes, under little noise: the straight path
    /// to the clean video then leads away from it, and training knows that path. A small model need
    /// not lay out the scene, and its highest noise level can be low.
    Coarse,
}

/// Coefficients of one sampler step: the next state is
/// `state * x + current * x0 + previous * x0 of the step before`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub state: f64,
    pub current: f64,
    pub previous: f64,
}

impl Step {
    /// Euler's step from `sigma` to `next`, along the straight line through the clean estimate.
    pub fn euler(sigma: f64, next: f64) -> Self {
        Self { state: next / sigma, current: (sigma - next) / sigma, previous: 0.0 }
    }

    /// The two-step Adams-Bashforth step from `sigma` to `next` in `-ln(sigma)`, the clean estimate
    /// being extrapolated from the one at `before`.
    pub fn adams_bashforth(before: f64, sigma: f64, next: f64) -> Self {
        let (s, t, m) = (-sigma.ln(), -next.ln(), -before.ln());
        let length = t - s;
        let back = (m - s) / length;
        let (phi1, phi2) = (phi1(-length), phi2(-length));
        // Equal levels divide zero by zero; the reference then leaves the estimate out.
        let or_zero = |v: f64| if v.is_nan() { 0.0 } else { v };
        Self {
            state: (-length).exp(),
            current: length * or_zero(phi1 - phi2 / back),
            previous: length * or_zero(phi2 / back),
        }
    }
}

/// `(e^x - 1) / x`
pub fn phi1(x: f64) -> f64 {
    x.exp_m1() / x
}

/// `(phi1(x) - 1) / x`
pub fn phi2(x: f64) -> f64 {
    (phi1(x) - 1.0) / x
}

/// The standard normal's quantile by Halley's method on its distribution function.
fn normal_quantile(p: f64) -> f64 {
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    // Start from the logistic approximation; the iteration triples the right digits every time.
    let mut x = (p / (1.0 - p)).ln() / 1.702;
    for _ in 0..50 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let newton = (normal_distribution(x) - p) / density;
        let step = newton / (1.0 + 0.5 * x * newton);
        x -= step;
        if step.abs() < 1e-14 * (1.0 + x.abs()) {
            break;
        }
    }
    x
}

/// The standard normal's distribution function.
fn normal_distribution(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let a = x.abs();
    let upper_tail = if a < 3.0 {
        // 1/2 minus the odd power series x + x^3/3 + x^5/(3*5) + …
        let (mut term, mut sum, mut n) = (a, a, 1.0);
        while term > 1e-18 * sum {
            n += 2.0;
            term *= a * a / n;
            sum += term;
        }
        0.5 - density * sum
    } else {
        // Laplace's continued fraction, from its far end.
        let fraction = (1..=80).rev().fold(a, |f, k| a + f64::from(k) / f);
        density / fraction
    };
    if x > 0.0 { 1.0 - upper_tail } else { upper_tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_normal_distribution() {
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.025, -1.959_963_984_540_054),
            (0.9999, 3.719_016_485_455_709),
            (1e-9, -5.997_807_015_008_182),
        ] {
            let found = normal_quantile(p);
            assert!((found - x).abs() < 1e-8, "{p}: {found} instead of {x}");
        }
    }

    #[test]
    fn training_noise_has_the_stated_median_and_share_of_high_levels() {
        let noise = TrainingNoise::videoworld2(24);
        assert!((noise.sigma(0.5, 0.5) - 24.0_f64.sqrt()).abs() < 1e-9);
        assert!((noise.sigma(0.01, 0.0) - 200.0).abs() < 1e-9);
        assert!((noise.sigma(0.01, 1.0) - 100_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_constant_estimate_makes_both_steps_the_same_line() {
        let (euler, two) = (Step::euler(2.0, 0.5), Step::adams_bashforth(5.0, 2.0, 0.5));
        assert!((two.state - euler.state).abs() < 1e-12);
        assert!((two.current + two.previous - euler.current).abs() < 1e-12);
    }
}
