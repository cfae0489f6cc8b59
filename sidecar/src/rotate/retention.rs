//! Which archives of one log are deleted.
//!
//! In: the policy's limits, all archives of the log, and their ages by two clocks. Out: deletions, oldest first,
//! each with its reason. Always: only sealed archives are counted and deleted; one that a destination has not
//! confirmed is deleted only if the policy says so, and then marked; no fewer deletions would meet the limits.
//!
//! - *Count* is per stream (per log path), as `rotate N` is per file elsewhere: the newest N of each are kept.
//! - *Age* is per archive. It counts only if the wall clock and the boot clock agree that it is reached, so that a
//!   clock that jumps deletes nothing.
//! - *Total size* is over all streams of the log: the oldest go until the rest fits.
//!
//! What count and age delete is subtracted before the size is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// What to do about an archive that is beyond a limit, but not confirmed by every destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnconfirmed {
    /// Keep it, whatever it costs.
    Keep,
    /// Delete it; counted and reported.
    Delete,
}

/// The limits of one log. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Most archives per stream.
    pub count: Option<u32>,
    /// Oldest age.
    pub age: Option<Duration>,
    /// Most bytes of all archives together.
    pub total_bytes: Option<u64>,
    /// What happens to those that are not confirmed.
    pub when_unconfirmed: WhenUnconfirmed,
}

/// An archive as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive {
    /// Which stream of the log it belongs to.
    pub stream: u64,
    /// Its generation; ascending within a stream.
    pub generation: u64,
    /// When it was rotated.
    pub rotated_at: Moment,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Proven to have no writer, and read to its end.
    pub sealed: bool,
    /// Confirmed to its end by every current destination.
    pub confirmed: bool,
}

/// One moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock, which can be set.
    pub wall: Timestamp,
    /// Time since boot (CLOCK_BOOTTIME), which cannot; `None` where it was never known.
    pub boot: Option<BootTime>,
}

/// A moment of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootTime {
    /// Which boot: the first half of `/proc/sys/kernel/random/boot_id`, random(4).
    pub boot: u64,
    /// How long after it.
    pub since: Duration,
}

/// Whether the wall clock can be believed across a reboot, where no other clock goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallClock {
    /// It has run as the boot clock does, as long as we have watched: see [`wall_clock_between`].
    Steady,
    /// It has jumped, or has not been watched long enough.
    Doubtful,
}

/// Why an archive is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its stream has enough newer ones.
    Count,
    /// It is too old.
    Age,
    /// All archives together are too large.
    TotalSize,
}

/// An archive to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Its stream.
    pub stream: u64,
    /// Its generation.
    pub generation: u64,
    /// Which limit it is beyond.
    pub reason: Reason,
    /// It is not confirmed: lines are lost on their way, which is to be counted and reported.
    pub forced: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// What to delete, in this order.
    pub deletions: Vec<Deletion>,
    /// Archives beyond a limit that are kept only because they are not confirmed.
    pub held_back: usize,
    /// Bytes by which the rest is still too large.
    pub excess_bytes: u64,
}

/// Two readings further apart than this make a wall clock doubtful.
const LARGEST_DRIFT: Duration = Duration::from_secs(300);

/// Judges the wall clock by two moments of one boot, the earlier first.
pub fn wall_clock_between(earlier: Moment, later: Moment) -> WallClock {
    let (Some(by_boot), Some(by_wall)) = (age_by_boot(earlier, later), age_by_wall(earlier, later)) else {
        return WallClock::Doubtful;
    };
    if by_boot.abs_diff(by_wall) <= LARGEST_DRIFT { WallClock::Steady } else { WallClock::Doubtful }
}

/// How old something from `then` surely is: the lesser of what both clocks say. Across a reboot only the wall
/// clock can say something, if it is steady; else nothing is sure.
pub fn sure_age(then: Moment, now: Moment, wall_clock: WallClock) -> Duration {
    let by_wall = age_by_wall(then, now).unwrap_or_default();
    match (age_by_boot(then, now), wall_clock) {
        (Some(by_boot), _) => by_boot.min(by_wall),
        (None, WallClock::Steady) => by_wall,
        (None, WallClock::Doubtful) => Duration::ZERO,
    }
}

fn age_by_wall(then: Moment, now: Moment) -> Option<Duration> {
    Duration::try_from(now.wall.duration_since(then.wall)).ok()
}

fn age_by_boot(then: Moment, now: Moment) -> Option<Duration> {
    let (then, now) = (then.boot?, now.boot?);
    if then.boot == now.boot { now.since.checked_sub(then.since) } else { None }
}

/// Decides what is deleted. `archives` may come in any order.
pub fn plan_retention(
    policy: &RetentionPolicy,
    archives: &[Archive],
    now: Moment,
    wall_clock: WallClock,
) -> RetentionPlan {
    let mut sealed: Vec<&Archive> = archives.iter().filter(|archive| archive.sealed).collect();
    // Within a stream by generation, whatever the clock said when they were rotated.
    sealed.sort_by_key(|archive| (archive.stream, archive.generation));
    let beyond_count = beyond_count(policy, &sealed);
    let mut oldest_first: Vec<(&Archive, Option<Reason>)> = sealed
        .iter()
        .zip(beyond_count)
        .map(|(archive, beyond)| {
            let too_old = policy.age.is_some_and(|age| sure_age(archive.rotated_at, now, wall_clock) >= age);
            let reason = if beyond { Some(Reason::Count) } else { too_old.then_some(Reason::Age) };
            (*archive, reason)
        })
        .collect();
    oldest_first.sort_by_key(|(archive, _)| (archive.rotated_at.wall, archive.stream, archive.generation));

    let mut plan = RetentionPlan::default();
    let mut kept = Vec::new();
    for (archive, reason) in oldest_first {
        match reason {
            Some(reason) if policy.may_delete(archive) => plan.delete(archive, reason),
            Some(_) => {
                plan.held_back += 1;
                kept.push((archive, true));
            }
            None => kept.push((archive, false)),
        }
    }
    plan.shrink(policy, &kept);
    plan
}

/// For each archive, ordered by stream and generation, whether its stream has enough newer ones.
fn beyond_count(policy: &RetentionPolicy, sealed: &[&Archive]) -> Vec<bool> {
    let Some(limit) = policy.count else { return vec![false; sealed.len()] };
    let mut newer: BTreeMap<u64, u32> = BTreeMap::new();
    let mut beyond: Vec<bool> = sealed
        .iter()
        .rev()
        .map(|archive| {
            let newer = newer.entry(archive.stream).or_default();
            *newer = newer.saturating_add(1);
            *newer > limit
        })
        .collect();
    beyond.reverse();
    beyond
}

impl RetentionPolicy {
    fn may_delete(&self, archive: &Archive) -> bool {
        archive.confirmed || self.when_unconfirmed == WhenUnconfirmed::Delete
    }
}

impl RetentionPlan {
    fn delete(&mut self, archive: &Archive, reason: Reason) {
        let &Archive { stream, generation, confirmed, .. } = archive;
        self.deletions.push(Deletion { stream, generation, reason, forced: !confirmed });
    }

    /// Deletes the oldest of what is kept until the rest fits. The flag tells what is held back already.
    fn shrink(&mut self, policy: &RetentionPolicy, kept: &[(&Archive, bool)]) {
        let Some(limit) = policy.total_bytes else { return };
        let total = kept.iter().fold(0_u64, |total, (archive, _)| total.saturating_add(archive.bytes));
        self.excess_bytes = total.saturating_sub(limit);
        for (archive, held_back) in kept {
            if self.excess_bytes == 0 {
                return;
            }
            if policy.may_delete(archive) {
                // An empty file frees nothing; the newer one behind it does.
                if archive.bytes > 0 {
                    self.delete(archive, Reason::TotalSize);
                    self.excess_bytes = self.excess_bytes.saturating_sub(archive.bytes);
                }
            } else if !held_back {
                self.held_back += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn moment(day: u64) -> Moment {
        let since = DAY * u32::try_from(day).unwrap();
        Moment {
            wall: Timestamp::from_second(1_700_000_000).unwrap().checked_add(since).unwrap(),
            boot: Some(BootTime { boot: 7, since }),
        }
    }

    fn archive(stream: u64, generation: u64, day: u64) -> Archive {
        Archive { stream, generation, rotated_at: moment(day), bytes: 10, sealed: true, confirmed: true }
    }

    fn policy() -> RetentionPolicy {
        RetentionPolicy { count: None, age: None, total_bytes: None, when_unconfirmed: WhenUnconfirmed::Keep }
    }

    fn plan(policy: RetentionPolicy, archives: &[Archive]) -> RetentionPlan {
        plan_retention(&policy, archives, moment(100), WallClock::Steady)
    }

    fn deleted(plan: &RetentionPlan) -> Vec<(u64, u64, Reason, bool)> {
        plan.deletions.iter().map(|d| (d.stream, d.generation, d.reason, d.forced)).collect()
    }

    #[test]
    fn count_is_per_stream_and_keeps_the_newest() {
        let archives =
            [archive(1, 3, 30), archive(1, 1, 10), archive(2, 1, 5), archive(1, 2, 20), archive(2, 2, 6)];
        let plan = plan(RetentionPolicy { count: Some(2), ..policy() }, &archives);
        assert_eq!(deleted(&plan), [(1, 1, Reason::Count, false)]);
    }

    #[test]
    fn generations_count_even_if_the_clock_went_backwards_between_them() {
        let archives = [archive(1, 1, 30), archive(1, 2, 20), archive(1, 3, 10)];
        let plan = plan(RetentionPolicy { count: Some(1), ..policy() }, &archives);
        let mut generations: Vec<_> = plan.deletions.iter().map(|deletion| deletion.generation).collect();
        generations.sort_unstable();
        assert_eq!(generations, [1, 2]);
    }

    #[test]
    fn a_count_of_zero_keeps_nothing_that_is_confirmed() {
        let plan = plan(RetentionPolicy { count: Some(0), ..policy() }, &[archive(1, 1, 1)]);
        assert_eq!(deleted(&plan), [(1, 1, Reason::Count, false)]);
    }

    #[test]
    fn age_is_per_archive() {
        let archives = [archive(1, 1, 72), archive(1, 2, 73), archive(2, 1, 10)];
        let plan = plan(RetentionPolicy { age: Some(DAY * 28), ..policy() }, &archives);
        assert_eq!(deleted(&plan), [(2, 1, Reason::Age, false), (1, 1, Reason::Age, false)]);
    }

    #[test]
    fn the_oldest_of_all_streams_go_until_the_rest_fits() {
        let archives = [archive(1, 1, 1), archive(2, 1, 2), archive(1, 2, 3), archive(2, 2, 4)];
        let plan = plan(RetentionPolicy { total_bytes: Some(25), ..policy() }, &archives);
        assert_eq!(deleted(&plan), [(1, 1, Reason::TotalSize, false), (2, 1, Reason::TotalSize, false)]);
        assert_eq!(plan.excess_bytes, 0);
    }

    #[test]
    fn what_count_deletes_leaves_room_under_the_size() {
        let archives = [archive(1, 1, 1), archive(1, 2, 2), archive(1, 3, 3)];
        let both = RetentionPolicy { count: Some(2), total_bytes: Some(20), ..policy() };
        assert_eq!(deleted(&plan(both, &archives)), [(1, 1, Reason::Count, false)]);
    }

    #[test]
    fn what_is_not_sealed_is_neither_counted_nor_deleted() {
        let unsealed = Archive { sealed: false, bytes: 1_000, ..archive(1, 4, 1) };
        let all = RetentionPolicy {
            count: Some(2),
            age: Some(DAY * 98),
            total_bytes: Some(20),
            when_unconfirmed: WhenUnconfirmed::Delete,
        };
        let archives = [archive(1, 2, 50), archive(1, 3, 51), unsealed];
        assert_eq!(plan(all, &archives), RetentionPlan::default());
    }

    #[test]
    fn what_is_not_confirmed_is_kept_and_told() {
        let waiting = Archive { confirmed: false, ..archive(1, 1, 1) };
        let archives = [waiting, archive(1, 2, 2), archive(1, 3, 3)];
        let plan = plan(RetentionPolicy { count: Some(1), total_bytes: Some(5), ..policy() }, &archives);
        assert_eq!(deleted(&plan), [(1, 2, Reason::Count, false), (1, 3, Reason::TotalSize, false)]);
        assert_eq!((plan.held_back, plan.excess_bytes), (1, 5));
    }

    #[test]
    fn what_is_not_confirmed_goes_if_the_policy_says_so_and_is_marked() {
        let waiting = Archive { confirmed: false, ..archive(1, 1, 1) };
        let delete =
            RetentionPolicy { count: Some(1), when_unconfirmed: WhenUnconfirmed::Delete, ..policy() };
        let plan = plan(delete, &[waiting, archive(1, 2, 2)]);
        assert_eq!(deleted(&plan), [(1, 1, Reason::Count, true)]);
        assert_eq!(plan.held_back, 0);
    }

    fn expired(rotated_at: Moment, now: Moment, wall_clock: WallClock) -> bool {
        let archive = Archive { rotated_at, ..archive(1, 1, 0) };
        let policy = RetentionPolicy { age: Some(DAY * 28), ..policy() };
        !plan_retention(&policy, &[archive], now, wall_clock).deletions.is_empty()
    }

    #[test]
    fn a_wall_clock_that_jumps_deletes_nothing() {
        let jumped = Moment { wall: "2099-01-01T00:00:00Z".parse().unwrap(), ..moment(2) };
        assert!(!expired(moment(1), jumped, WallClock::Steady));
        let back = Moment { wall: "1970-01-01T00:00:00Z".parse().unwrap(), ..moment(90) };
        assert!(!expired(moment(1), back, WallClock::Steady));
        assert!(expired(moment(1), moment(29), WallClock::Doubtful));
        assert!(!expired(moment(1), moment(28), WallClock::Steady));
    }

    #[test]
    fn across_a_reboot_only_a_steady_wall_clock_is_believed() {
        let rebooted = Moment { boot: Some(BootTime { boot: 8, since: DAY }), ..moment(60) };
        assert!(expired(moment(1), rebooted, WallClock::Steady));
        assert!(!expired(moment(1), rebooted, WallClock::Doubtful));
        let never_known = Moment { boot: None, ..moment(1) };
        assert!(!expired(never_known, moment(60), WallClock::Doubtful));
    }

    #[test]
    fn a_clock_is_steady_if_both_clocks_went_the_same_way() {
        assert_eq!(wall_clock_between(moment(1), moment(3)), WallClock::Steady);
        let jumped = Moment { wall: moment(9).wall, ..moment(3) };
        assert_eq!(wall_clock_between(moment(1), jumped), WallClock::Doubtful);
        assert_eq!(wall_clock_between(moment(3), moment(1)), WallClock::Doubtful);
        let rebooted = Moment { boot: Some(BootTime { boot: 8, since: DAY }), ..moment(3) };
        assert_eq!(wall_clock_between(moment(1), rebooted), WallClock::Doubtful);
        let stepped = Moment { wall: moment(3).wall.checked_add(LARGEST_DRIFT).unwrap(), ..moment(3) };
        assert_eq!(wall_clock_between(moment(1), stepped), WallClock::Steady);
    }

    fn any_archives() -> impl Strategy<Value = Vec<Archive>> {
        let one = (0_u64..3, 0_u64..200, 0_u64..40, any::<bool>(), any::<bool>());
        prop::collection::vec(one, 0..25).prop_map(|all| {
            let archive = |(generation, (stream, day, bytes, sealed, confirmed)): (usize, _)| Archive {
                bytes,
                sealed,
                confirmed,
                ..archive(stream, generation as u64, day)
            };
            all.into_iter().enumerate().map(archive).collect()
        })
    }

    fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
        let when = prop_oneof![Just(WhenUnconfirmed::Keep), Just(WhenUnconfirmed::Delete)];
        let (count, days, bytes) =
            (prop::option::of(0_u32..6), prop::option::of(0_u32..120), prop::option::of(0_u64..300));
        (count, days, bytes, when).prop_map(|(count, days, total_bytes, when_unconfirmed)| RetentionPolicy {
            count,
            age: days.map(|days| DAY * days),
            total_bytes,
            when_unconfirmed,
        })
    }

    fn is_deleted(plan: &RetentionPlan, archive: &Archive) -> Option<Deletion> {
        let same = |d: &&Deletion| (d.stream, d.generation) == (archive.stream, archive.generation);
        plan.deletions.iter().find(same).copied()
    }

    proptest! {
        #[test]
        fn nothing_unsealed_is_deleted_and_nothing_unconfirmed_without_leave(archives in any_archives(), policy in any_policy()) {
            let plan = plan(policy, &archives);
            for archive in &archives {
                if let Some(deletion) = is_deleted(&plan, archive) {
                    prop_assert!(archive.sealed);
                    prop_assert!(archive.confirmed || policy.when_unconfirmed == WhenUnconfirmed::Delete);
                    prop_assert_eq!(deletion.forced, !archive.confirmed);
                }
            }
        }

        #[test]
        fn the_limits_hold_afterwards_but_for_what_is_held_back(archives in any_archives(), policy in any_policy()) {
            let plan = plan(policy, &archives);
            let left: Vec<_> = archives.iter().filter(|a| a.sealed && is_deleted(&plan, a).is_none()).collect();
            let may_go: Vec<_> = left.iter().filter(|a| policy.may_delete(a)).collect();
            for archive in &may_go {
                let newer = archives.iter().filter(|a| a.sealed && a.stream == archive.stream && a.generation > archive.generation).count();
                prop_assert!(policy.count.is_none_or(|count| newer < count as usize));
                prop_assert!(policy.age.is_none_or(|age| sure_age(archive.rotated_at, moment(100), WallClock::Steady) < age));
            }
            let bytes: u64 = left.iter().map(|a| a.bytes).sum();
            if let Some(limit) = policy.total_bytes {
                prop_assert_eq!(plan.excess_bytes, bytes.saturating_sub(limit));
                prop_assert!(plan.excess_bytes == 0 || may_go.iter().all(|a| a.bytes == 0));
            }
        }

        #[test]
        fn no_deletion_can_be_left_out(archives in any_archives(), policy in any_policy()) {
            let plan = plan(policy, &archives);
            let left: u64 = archives.iter().filter(|a| a.sealed && is_deleted(&plan, a).is_none()).map(|a| a.bytes).sum();
            for archive in &archives {
                match is_deleted(&plan, archive).map(|deletion| deletion.reason) {
                    None => {}
                    Some(Reason::Count) => {
                        let newer = archives.iter().filter(|a| a.sealed && a.stream == archive.stream && a.generation > archive.generation).count();
                        prop_assert!(newer >= policy.count.unwrap() as usize);
                    }
                    Some(Reason::Age) => {
                        prop_assert!(sure_age(archive.rotated_at, moment(100), WallClock::Steady) >= policy.age.unwrap());
                    }
                    Some(Reason::TotalSize) => {
                        // With the newest of these kept, the rest would not fit.
                        let newest = plan.deletions.iter().rev().find(|d| d.reason == Reason::TotalSize).unwrap();
                        if (newest.stream, newest.generation) == (archive.stream, archive.generation) {
                            prop_assert!(left + archive.bytes > policy.total_bytes.unwrap());
                        }
                    }
                }
            }
        }
    }
}
