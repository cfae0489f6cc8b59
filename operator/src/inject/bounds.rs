//! What a namespace's LimitRanges leave to a container.
//!
//! The API server refuses a whole pod for one container beyond them, and its author knows nothing of the sidecar's
//! defaults: so these give way. What somebody asked for does not; a refusal then says so in the API server's words.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRangeItem, LimitRangeSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::inject::quantity::{billionths, quotient};
use crate::inject::resources::Wanted;

type Amounts = BTreeMap<String, Quantity>;

/// The bounds of one container, the tightest of all LimitRanges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    min: Amounts,
    max: Amounts,
    /// How many times its request a limit may be.
    ratio: Amounts,
}

impl Bounds {
    /// Of these LimitRanges. Those of type Pod are about sums that the app's containers decide.
    pub fn of<'a>(ranges: impl IntoIterator<Item = &'a LimitRangeSpec>) -> Self {
        let mut bounds = Self::default();
        let items = ranges.into_iter().flat_map(|range| &range.limits);
        for LimitRangeItem { min, max, max_limit_request_ratio, .. } in
            items.filter(|item| item.type_ == "Container")
        {
            tighten(&mut bounds.min, min.as_ref(), raise);
            tighten(&mut bounds.max, max.as_ref(), lower);
            tighten(&mut bounds.ratio, max_limit_request_ratio.as_ref(), lower);
        }
        bounds
    }

    /// Brings what nobody asked for within the bounds: limits first, then requests, which are raised for the ratio.
    /// No request is above its limit afterwards.
    pub fn apply(&self, requests: &mut Amounts, limits: &mut Amounts, asked: &Wanted) {
        for (name, limit) in limits.iter_mut().filter(|(name, _)| !asked.limits.contains_key(*name)) {
            lower(limit, self.max.get(name));
            raise(limit, self.min.get(name));
            raise(limit, asked.requests.get(name));
        }
        for (name, request) in requests.iter_mut().filter(|(name, _)| !asked.requests.contains_key(*name)) {
            let limit = limits.get(name);
            lower(request, self.max.get(name));
            raise(request, self.min.get(name));
            let least = limit.zip(self.ratio.get(name)).and_then(|(limit, ratio)| quotient(limit, ratio));
            raise(request, least.as_ref());
            lower(request, limit);
        }
    }
}

fn tighten(into: &mut Amounts, more: Option<&Amounts>, change: fn(&mut Quantity, Option<&Quantity>)) {
    for (name, amount) in more.into_iter().flatten() {
        change(into.entry(name.clone()).or_insert_with(|| amount.clone()), Some(amount));
    }
}

fn raise(amount: &mut Quantity, least: Option<&Quantity>) {
    if let Some(least) = least.filter(|least| billionths(&least.0) > billionths(&amount.0)) {
        amount.clone_from(least);
    }
}

/// The most, or the amount if it is less.
pub fn lower(amount: &mut Quantity, most: Option<&Quantity>) {
    // What cannot be read is less than everything, and so bounds nothing.
    let most = most.filter(|most| billionths(&most.0).is_some_and(|most| billionths(&amount.0) > Some(most)));
    if let Some(most) = most {
        amount.clone_from(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn amounts(amounts: &[(&str, &str)]) -> Amounts {
        amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
    }

    /// The defaults, and what becomes of the requests and limits of cpu and memory.
    #[track_caller]
    fn check(limits: serde_json::Value, asked: &str, expected: [&str; 4]) {
        let asked: Wanted = asked.parse().unwrap();
        let range: LimitRangeSpec = serde_json::from_value(json!({ "limits": limits })).unwrap();
        let mut requests = amounts(&[("cpu", "10m"), ("memory", "32Mi")]);
        let mut limits = amounts(&[("cpu", "1"), ("memory", "64Mi")]);
        requests.extend(asked.requests.clone());
        limits.extend(asked.limits.clone());
        Bounds::of([&range]).apply(&mut requests, &mut limits, &asked);
        let found = [&requests["cpu"].0, &limits["cpu"].0, &requests["memory"].0, &limits["memory"].0];
        assert_eq!(found, expected);
    }

    #[test]
    fn without_bounds_nothing_changes() {
        check(json!([]), "{}", ["10m", "1", "32Mi", "64Mi"]);
        check(json!([{ "type": "Pod", "max": { "cpu": "1m" } }]), "{}", ["10m", "1", "32Mi", "64Mi"]);
    }

    #[test]
    fn limits_are_lowered_and_requests_raised() {
        let container =
            json!([{ "type": "Container", "max": { "cpu": "500m" }, "min": { "memory": "48Mi" } }]);
        check(container, "{}", ["10m", "500m", "48Mi", "64Mi"]);
        let narrow = json!([{ "type": "Container", "max": { "cpu": "5m" }, "min": { "memory": "1Gi" } }]);
        check(narrow, "{}", ["5m", "5m", "1Gi", "1Gi"]);
    }

    #[test]
    fn a_ratio_raises_the_request() {
        let ratio =
            json!([{ "type": "Container", "maxLimitRequestRatio": { "cpu": "10", "memory": "1.5" } }]);
        check(ratio, "{}", ["100m", "1", "43691Ki", "64Mi"]);
        let with_max = json!([{ "type": "Container", "max": { "cpu": "500m" }, "maxLimitRequestRatio": { "cpu": "1" } }]);
        check(with_max, "{}", ["500m", "500m", "32Mi", "64Mi"]);
    }

    #[test]
    fn of_several_the_tightest_counts() {
        let item = |max: &str, ratio: &str| json!({ "type": "Container", "max": { "cpu": max }, "maxLimitRequestRatio": { "cpu": ratio } });
        check(json!([item("400m", "20"), item("800m", "4")]), "{}", ["100m", "400m", "32Mi", "64Mi"]);
    }

    #[test]
    fn what_was_asked_for_stays_and_takes_the_other_side_along() {
        let max = json!([{ "type": "Container", "max": { "cpu": "500m" }, "maxLimitRequestRatio": { "cpu": "4" } }]);
        check(max.clone(), r#"{"limits":{"cpu":"2"}}"#, ["500m", "2", "32Mi", "64Mi"]);
        check(max, r#"{"requests":{"cpu":"700m"}}"#, ["700m", "700m", "32Mi", "64Mi"]);
    }
}
