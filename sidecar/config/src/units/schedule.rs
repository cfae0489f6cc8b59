//! Times of rotation, as in a crontab.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::ValueError;

/// The longest text, in bytes.
const LONGEST: usize = 128;

/// How many spans of four years are searched for the next time: 29 February on a given weekday comes every 28 years,
/// or after 40 where a century is no leap year.
const SPANS: i32 = 11;

/// A little less than the four years that one search covers.
const SPAN: SignedDuration = SignedDuration::from_hours(4 * 365 * 24);

/// Times after this have no next one; a search beyond it would leave the calendar.
const LAST_YEAR_SECONDS: i64 = 250_000_000_000;

/// Names for common schedules, as crontab(5) has them.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Times in a time zone: five fields of crontab(5), or a nickname.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    time_zone: String,
    crontab: cronexpr::Crontab,
}

impl Schedule {
    /// Reads a schedule, in an IANA time zone such as `Asia/Seoul`.
    ///
    /// # Errors
    /// If the fields cannot be read or never come true. A wrong time zone is [`Schedule::check_time_zone`]'s to
    /// explain.
    pub fn new(text: &str, time_zone: &str) -> Result<Self, ValueError> {
        Self::check_time_zone(time_zone)?;
        let fields = fields(text)?;
        if !has_only_known_words(&fields) {
            return Err(ValueError::new(format!(
                "{text:?} is not a schedule: write numbers, and names such as MON or JAN; L, W and # are not supported"
            )));
        }
        let crontab = cronexpr::parse_crontab(&format!("{fields} {time_zone}"))
            .map_err(|error| ValueError::new(format!("{text:?} is not a schedule: {}", last_line(&error))))?;
        let schedule = Self { text: text.to_owned(), time_zone: time_zone.to_owned(), crontab };
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(ValueError::new(format!("{text:?} never comes true; check day and month")));
        }
        Ok(schedule)
    }

    /// Checks the name of a time zone.
    ///
    /// # Errors
    /// If this machine's time zone database does not have it.
    pub fn check_time_zone(name: &str) -> Result<(), ValueError> {
        // `TimeZone::get` does more than look up: spaces would also end the name in a crontab.
        let plain = name.len() <= LONGEST && name.bytes().all(|b| b.is_ascii_graphic());
        if plain && jiff::tz::TimeZone::get(name).is_ok() {
            return Ok(());
        }
        Err(ValueError::new(format!(
            "{name:?} is not a time zone that is known here; write an IANA name such as \"Asia/Seoul\" or \"UTC\""
        )))
    }

    /// The schedule as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of the time zone.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// The first time that is later than `after`, or nothing at the end of the calendar.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        if after.as_second() > LAST_YEAR_SECONDS {
            return None;
        }
        let starts = (0..SPANS).map_while(|span| after.checked_add(SPAN * span).ok());
        starts.map_while(|start| self.search(start).ok()).flatten().next()
    }

    /// The first time within four years of `start`; nothing if there is none, an error past the calendar's end.
    fn search(&self, start: Timestamp) -> Result<Option<Timestamp>, ()> {
        if start.as_second() > LAST_YEAR_SECONDS {
            return Err(());
        }
        Ok(self.crontab.find_next(cronexpr::MakeTimestamp(start)).ok().map(|time| time.timestamp()))
    }
}

/// Numbers and names of three letters. The letters that other crons add for last days and working days are refused:
/// the parser overlooks the last day of December.
fn has_only_known_words(fields: &str) -> bool {
    let mut words =
        fields.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    !fields.contains('#') && words.all(|word| word.len() == 3)
}

/// By text and time zone: the rest is made of them.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.time_zone == other.time_zone
    }
}

impl Eq for Schedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Schedule").field(&self.text).field(&self.time_zone).finish()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.text, self.time_zone)
    }
}

/// The five fields of a schedule.
fn fields(text: &str) -> Result<String, ValueError> {
    if text.len() > LONGEST {
        return Err(ValueError::new(format!("has {} bytes; a schedule has at most {LONGEST}", text.len())));
    }
    if text.starts_with('@') {
        let nickname = NICKNAMES.iter().find(|(name, _)| *name == text);
        return nickname.map(|(_, fields)| (*fields).to_owned()).ok_or_else(|| unknown_nickname(text));
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields.len() {
        5 => Ok(fields.join(" ")),
        6 => Err(ValueError::new(format!(
            "{text:?} has 6 fields; write minute, hour, day, month and weekday, and the time zone into timeZone"
        ))),
        count => Err(ValueError::new(format!(
            "{text:?} has {count} fields; write minute, hour, day, month and weekday, such as \"0 0 * * 0\", or @weekly"
        ))),
    }
}

fn unknown_nickname(text: &str) -> ValueError {
    let names: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
    ValueError::new(format!("{text:?} is not known; write {} or five fields", names.join(", ")))
}

/// The last line of an error that draws a picture, without the marks.
fn last_line(error: &cronexpr::Error) -> String {
    let message = error.to_string();
    message.lines().next_back().unwrap_or_default().trim_start_matches([' ', '^', '|']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, zone: &str, after: &str, expected: &str) {
        let schedule = Schedule::new(text, zone).unwrap();
        let next = schedule.next_after(after.parse().unwrap()).unwrap();
        assert_eq!(next, expected.parse().unwrap(), "{text} {zone}");
    }

    #[test]
    fn nicknames_are_what_crontab_says() {
        let after = "2026-11-21T12:34:56Z";
        check("@hourly", "UTC", after, "2026-11-21T13:00:00Z");
        check("@daily", "UTC", after, "2026-11-22T00:00:00Z");
        check("@midnight", "UTC", after, "2026-11-22T00:00:00Z");
        check("@weekly", "UTC", after, "2026-11-22T00:00:00Z");
        check("@monthly", "UTC", after, "2026-12-01T00:00:00Z");
        check("@yearly", "UTC", after, "2027-01-01T00:00:00Z");
        check("@annually", "UTC", after, "2027-01-01T00:00:00Z");
    }

    #[test]
    fn the_time_zone_counts() {
        check("@daily", "Asia/Seoul", "2026-11-21T12:34:56Z", "2026-11-21T15:00:00Z");
        check("30 6 * * mon-fri", "America/New_York", "2026-11-21T12:00:00Z", "2026-11-23T11:30:00Z");
    }

    #[test]
    fn the_next_time_is_later_than_now() {
        check("@daily", "UTC", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
    }

    #[test]
    fn rare_days_are_found() {
        check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z");
        // 29 February on a Sunday: the star in front asks for both.
        check("0 0 29 2 */7", "UTC", "2004-03-01T00:00:00Z", "2032-02-29T00:00:00Z");
    }

    #[test]
    fn the_end_of_the_calendar_is_no_panic() {
        let schedule = Schedule::new("@yearly", "Asia/Seoul").unwrap();
        assert_eq!(schedule.next_after(Timestamp::MAX), None);
        assert!(schedule.next_after(Timestamp::MIN).is_some());
        let late = Timestamp::from_second(LAST_YEAR_SECONDS).unwrap();
        assert!(schedule.next_after(late).is_some());
    }

    #[test]
    fn bad_schedules_are_refused_with_the_fix() {
        for (text, with) in [
            ("", "has 0 fields"),
            ("0 0 * *", "has 4 fields"),
            ("0 0 * * * UTC", "into timeZone"),
            ("@reboot", "\"@reboot\" is not known; write @hourly"),
            ("60 0 * * *", "\"60 0 * * *\" is not a schedule: "),
            ("0 0 30 2 *", "never comes true"),
            ("H 0 * * *", "is not a schedule: "),
        ] {
            let error = Schedule::new(text, "UTC").unwrap_err().to_string();
            assert!(error.contains(with) && !error.contains('\n'), "{text}: {error}");
        }
        for zone in ["Mars/Olympus", "", "UTC UTC", "../../etc/passwd"] {
            let error = Schedule::new("@daily", zone).unwrap_err().to_string();
            assert!(error.contains("is not a time zone"), "{zone}: {error}");
        }
    }
}
