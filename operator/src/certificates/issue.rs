//! Makes keys and certificates: an authority for ten years, and one certificate under it for 90 days.
//!
//! What always holds: keys are new each time; every authority has the same name, so that one is known from its key.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::certificates::material::Material;

/// How long an authority counts.
const AUTHORITY_DAYS: i64 = 3650;
/// How long a certificate counts.
const LEAF_DAYS: i64 = 90;
/// What authorities are called.
const AUTHORITY_NAME: &str = "Capstan webhook authority";

/// Why nothing could be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The library refused, or there is no randomness.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The clock shows a time that certificates cannot have.
    #[error("cannot make a certificate: {0}; set the node's clock")]
    Clock(#[from] jiff::Error),
    /// The authority's key is not there.
    #[error("the authority's key is missing; delete the secret, and everything is made anew")]
    NoKey,
}

/// The names by which a Service is called, the one that the API server uses first.
pub fn names(service: &str, namespace: &str) -> Vec<String> {
    let name = format!("{service}.{namespace}.svc");
    vec![name.clone(), format!("{name}.cluster.local"), format!("{service}.{namespace}"), service.to_owned()]
}

/// An authority and a certificate under it.
pub fn everything(now: Timestamp, names: &[String]) -> Result<Material, IssueError> {
    let authority = another_authority(now, Material::default())?;
    another_leaf(now, names, authority)
}

/// Another authority, trusted beside those that there are.
pub fn another_authority(now: Timestamp, material: Material) -> Result<Material, IssueError> {
    let key = KeyPair::generate()?;
    let certificate = authority_params(now)?.self_signed(&key)?.pem();
    let trusted = format!("{certificate}{}", material.trusted.unwrap_or_default());
    Ok(Material {
        authority: Some(certificate),
        authority_key: Some(key.serialize_pem()),
        trusted: Some(trusted),
        ..material
    })
}

/// Another certificate under the authority that there is.
pub fn another_leaf(now: Timestamp, names: &[String], material: Material) -> Result<Material, IssueError> {
    let key = KeyPair::from_pem(material.authority_key.as_deref().ok_or(IssueError::NoKey)?)?;
    // Its name and key are all of an authority that stands in what it signs.
    let issuer = Issuer::new(authority_params(now)?, key);
    let mut params = CertificateParams::new(names.to_vec())?;
    set_validity(&mut params, now, LEAF_DAYS)?;
    params.distinguished_name = named(names.first().map_or("", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &issuer)?.pem();
    Ok(Material { leaf, leaf_key: key.serialize_pem(), ..material })
}

/// Without authorities but the one that signs.
pub fn without_old(material: Material) -> Material {
    Material { trusted: material.authority.clone(), ..material }
}

fn authority_params(now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    set_validity(&mut params, now, AUTHORITY_DAYS)?;
    params.distinguished_name = named(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// Names longer than 64 characters are not allowed there, and nobody reads this one.
fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// Whole days, as the library takes them: year, month, day.
type Date = (i32, u8, u8);

fn date(now: Timestamp, days: i64) -> Result<Date, IssueError> {
    let date = now.to_zoned(TimeZone::UTC).date().checked_add(days.days())?;
    Ok((i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs()))
}

/// The beginning is a day back, because clocks differ.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<(), IssueError> {
    let ((year, month, day), end) = (date(now, -1)?, date(now, days)?);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::plan::{Step, plan};
    use std::time::Duration;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn facts(material: &Material, published: &str) -> crate::certificates::plan::Facts {
        material.facts(now(), &names("s", "n"), &[published.as_bytes().to_vec()]).unwrap()
    }

    #[test]
    fn what_is_made_can_be_used_and_is_valid_for_as_long_as_is_said() {
        let material = everything(now(), &names("s", "n")).unwrap();
        let facts = facts(&material, material.trusted.as_deref().unwrap());
        assert!(facts.signed_by_authority && facts.names_fit && facts.published);
        assert_eq!(facts.trusted, 1);
        let days = |from: Timestamp, until: Timestamp| (until.as_second() - from.as_second()) / 86400;
        assert_eq!(days(facts.leaf.from, facts.leaf.until), 91);
        assert_eq!(days(facts.authority.from, facts.authority.until), 3651);
        assert!(matches!(plan(now(), Some(&facts)), Step::Wait(_)));
    }

    #[test]
    fn another_service_needs_another_certificate() {
        let material = everything(now(), &names("other", "n")).unwrap();
        assert!(!facts(&material, "").names_fit);
    }

    #[test]
    fn a_change_of_the_authority_as_it_is_carried_out() {
        let names = names("s", "n");
        let old = everything(now(), &names).unwrap();
        let published = old.bundle().unwrap();
        let added = another_authority(now(), old.clone()).unwrap();
        let seen = facts(&added, &published);
        assert!(!seen.signed_by_authority && !seen.published && seen.trusted == 2);
        assert!(matches!(plan(now(), Some(&seen)), Step::Wait(_)));
        let published = added.bundle().unwrap();
        assert_eq!(plan(now(), Some(&facts(&added, &published))), Step::IssueLeaf);
        let issued = another_leaf(now(), &names, added).unwrap();
        let seen = facts(&issued, &published);
        assert!(seen.signed_by_authority);
        assert!(matches!(plan(now() + Duration::from_secs(86_400), Some(&seen)), Step::Wait(_)));
        assert_eq!(plan(now() + Duration::from_secs(2 * 86_400), Some(&seen)), Step::DropOld);
        let dropped = without_old(issued);
        assert_eq!(facts(&dropped, &dropped.bundle().unwrap()).trusted, 1);
        assert_ne!(dropped.authority, old.authority);
    }

    #[test]
    fn what_does_not_go_together_is_of_no_use() {
        let (one, other) = (everything(now(), &[]).unwrap(), everything(now(), &[]).unwrap());
        let mixed = Material { authority_key: other.authority_key.clone(), ..one.clone() };
        assert_eq!(mixed.facts(now(), &[], &[]), None);
        let torn = Material { leaf: one.leaf[..100].to_owned(), ..one.clone() };
        assert_eq!(torn.facts(now(), &[], &[]), None);
        let unsigned = Material { leaf: other.leaf, leaf_key: other.leaf_key, ..one };
        assert!(!unsigned.facts(now(), &[], &[]).unwrap().signed_by_authority);
    }
}
