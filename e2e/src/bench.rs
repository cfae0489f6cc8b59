//! How long things take and what they cost, on the cluster that KUBECONFIG names; out, one line for each figure.
//!
//! Nothing here is asserted: figures are for reading, beside the machine they were taken on.

/// What the webhook takes for a pod, at a steady rate.
pub mod admission;
/// From the edit of a policy to the sidecar that runs with it.
pub mod edit;
/// What the operator's processes need with thousands of pods.
pub mod memory;

/// The value below which this share of the sorted values lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (share * last as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
