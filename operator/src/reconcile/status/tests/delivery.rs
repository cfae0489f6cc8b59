//! What is said of the configuration: applied, kept, lost, refused.

use super::*;

#[test]
fn a_spec_that_cannot_be_used_keeps_what_was_good() {
    let problem = |destination: Option<&str>, reason, message: &str| Problem {
        destination: destination.map(str::to_owned),
        reason,
        message: message.to_owned(),
    };
    let conditions = |problem: Problem, kept: Option<ConfigHash>| {
        conditions_of(BOTH, &[problem], Delivery::Kept(kept), &sum(&[said("a", good())], 0))
    };
    assert_eq!(
        conditions(problem(None, Reason::NotSupported, "spec.budget: is not supported yet"), Some(hash())),
        ["Accepted=False NotSupported", "ConfigDelivered=False LastGoodKept", "Ready=False NotSupported"]
    );
    assert_eq!(
        conditions(problem(None, Reason::Invalid, "spec.logs[0]: bad"), None),
        ["Accepted=False Invalid", "ConfigDelivered=False NothingDelivered", "Ready=False Invalid"]
    );
    assert_eq!(
        conditions(problem(None, Reason::DestinationMissing, "there is no"), Some(hash())),
        [
            "DestinationsResolved=False DestinationMissing",
            "ConfigDelivered=False LastGoodKept",
            "Ready=False DestinationMissing"
        ]
    );
    assert_eq!(
        conditions(problem(Some("central"), Reason::AuthorityMissing, "there is no"), Some(hash()))[0],
        "DestinationsResolved=False AuthorityMissing"
    );
    assert_eq!(
        conditions(problem(Some("central"), Reason::NotSupported, "UDP"), Some(hash()))[0],
        "DestinationsResolved=False DestinationInvalid"
    );
}

#[test]
fn a_refusal_of_the_api_server_is_told() {
    let refused = Delivery::Refused { message: "exceeded quota".to_owned(), last: Some(hash()) };
    let conditions = conditions_of(BOTH, &[], refused.clone(), &sum(&[said("a", good())], 0));
    assert_eq!(conditions, ["ConfigDelivered=False ApplyFailed", "Ready=False ApplyFailed"]);
    assert_eq!(refused.hash(), Some(&hash()), "pods keep what they have");
}

#[test]
fn a_last_good_configuration_that_is_not_there_any_more_is_not_said_to_stay() {
    let message = |found: Option<&str>| {
        let found = found.map(|hash| hash.parse().unwrap());
        let delivery = Delivery::Lost { name: "capstan-web".to_owned(), last: hash(), found };
        let pods = sum(&[said("a", good())], 0);
        let finding = delivered(&Seen { problems: &[], delivery: &delivery, pods: &pods });
        assert_eq!(finding.reason, "LastGoodLost");
        finding.message
    };
    assert_eq!(
        message(None),
        "this generation cannot be used, configuration 0123456789abcdef was the last good one, and ConfigMap \
         capstan-web does not hold it any more, and new pods get none; correct the policy"
    );
    assert!(message(Some("fedcba9876543210")).contains("somebody else wrote configuration fedcba9876543210"));
}

#[test]
fn a_name_that_is_taken_is_said() {
    let conditions = conditions_of(BOTH, &[], Delivery::NameTaken("capstan-web".to_owned()), &sum(&[], 0));
    assert_eq!(conditions[0], "ConfigDelivered=False NameTaken");
    assert_eq!(conditions.last().unwrap(), "Ready=False NameTaken");
}
