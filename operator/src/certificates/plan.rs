//! What is due with the certificates, as a function of what is there.
//!
//! A change of the authority takes three steps, so that there is never a moment at which the API server trusts only
//! one and a replica serves only the other: the new one is trusted beside the old; then, once the API server has it,
//! the certificate is made anew under it; then, once every replica must have that one, the old one goes.

use std::time::Duration;

use jiff::Timestamp;

use crate::certificates::validity::Validity;

/// How long after the beginning of a certificate the authorities before its own stay trusted. A certificate begins up
/// to two days before it is made, so every replica has at least one day to take it up.
pub const OVERLAP: Duration = Duration::from_secs(3 * 24 * 3600);

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The authority that signs.
    pub authority: Validity,
    /// The certificate that is served.
    pub leaf: Validity,
    /// Whether that authority has signed it.
    pub signed_by_authority: bool,
    /// Whether it has the webhook's names.
    pub names_fit: bool,
    /// How many authorities are trusted.
    pub trusted: usize,
    /// Whether the API server trusts the authority that signs.
    pub published: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make everything, there is nothing that could be used.
    Create,
    /// Make another authority, trusted beside the present one.
    AddAuthority,
    /// Make another certificate.
    IssueLeaf,
    /// Trust the authority that signs, and no other.
    DropOld,
    /// Nothing for so long.
    Wait(Duration),
}

/// Decides.
pub fn plan(now: Timestamp, facts: Option<&Facts>) -> Step {
    let Some(facts) = facts.filter(|facts| facts.authority.holds(now)) else { return Step::Create };
    let ended = facts.leaf.until <= now;
    let leaf_due = facts.leaf.renewal() <= now || !facts.names_fit;
    // Under an authority that the API server does not know yet, only if there is nothing to lose.
    let may_issue = facts.signed_by_authority || facts.published || ended;
    match () {
        () if facts.trusted == 1 && facts.authority.renewal() <= now => Step::AddAuthority,
        () if (leaf_due || !facts.signed_by_authority) && may_issue => Step::IssueLeaf,
        () if facts.trusted > 1 && facts.signed_by_authority && facts.leaf.from + OVERLAP <= now => {
            Step::DropOld
        }
        () => Step::Wait(until_next(now, facts)),
    }
}

fn until_next(now: Timestamp, facts: &Facts) -> Duration {
    let mut times = vec![facts.leaf.renewal(), facts.authority.renewal()];
    if facts.trusted > 1 {
        times.push(facts.leaf.from + OVERLAP);
    }
    let next = times.into_iter().filter(|time| *time > now).min();
    // Without one, something is waited for that is heard of.
    next.map_or(Duration::from_secs(60), |next| next.duration_since(now).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY).unwrap()
    }

    fn fresh() -> Facts {
        Facts {
            authority: Validity { from: day(0), until: day(3650) },
            leaf: Validity { from: day(0), until: day(90) },
            signed_by_authority: true,
            names_fit: true,
            trusted: 1,
            published: true,
        }
    }

    #[test]
    fn nothing_and_a_dead_authority_are_made_anew() {
        assert_eq!(plan(day(1), None), Step::Create);
        assert_eq!(plan(day(3650), Some(&fresh())), Step::Create);
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        assert_eq!(plan(day(1), Some(&fresh())), Step::Wait(Duration::from_secs(59 * 86400)));
        assert_eq!(plan(day(60), Some(&fresh())), Step::IssueLeaf);
    }

    #[test]
    fn a_certificate_with_other_names_is_replaced() {
        assert_eq!(plan(day(1), Some(&Facts { names_fit: false, ..fresh() })), Step::IssueLeaf);
    }

    #[test]
    fn an_authority_is_changed_in_three_steps() {
        let leaf = Validity { from: day(2400), until: day(2490) };
        let old = Facts { leaf, ..fresh() };
        assert_eq!(plan(day(2434), Some(&old)), Step::AddAuthority);
        let authority = Validity { from: day(2434), until: day(6084) };
        let added = Facts { authority, signed_by_authority: false, trusted: 2, published: false, ..old };
        assert!(matches!(plan(day(2434), Some(&added)), Step::Wait(_)));
        let published = Facts { published: true, ..added };
        assert_eq!(plan(day(2434), Some(&published)), Step::IssueLeaf);
        let leaf = Validity { from: day(2435), until: day(2525) };
        let issued = Facts { leaf, signed_by_authority: true, ..published };
        assert!(matches!(plan(day(2435), Some(&issued)), Step::Wait(_)));
        assert_eq!(plan(day(2438), Some(&issued)), Step::DropOld);
    }

    #[test]
    fn an_unknown_authority_signs_only_what_would_be_lost_otherwise() {
        let facts = Facts { signed_by_authority: false, trusted: 2, published: false, ..fresh() };
        assert!(matches!(plan(day(60), Some(&facts)), Step::Wait(_)));
        assert_eq!(plan(day(90), Some(&facts)), Step::IssueLeaf);
    }
}
