//! The head of an RFC 5424 message.
//!
//! In: what the configuration says about a log (hostname, app name, structured data …), whatever it holds.
//! Out: `<PRI>1 TIME HOST APP PROCID MSGID SD `, that is all bytes up to and including the space before MSG.
//!
//! What always holds: the head obeys the grammar of RFC 5424 section 6, is ASCII but for the values of structured
//! data (which are UTF-8), and contains no control character, hence no delimiter of any framing.
//!
//! A head is built once per log and destination. Only the time, and where wanted the position, change afterwards,
//! and both are written in place: a line costs two copies.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The SD-ID of the element that tells where a line stood; 32473 is the enterprise number for documentation (RFC 5612).
pub const POSITION_ID: &str = capstan_config::names::POSITION_ELEMENT;

/// The length of `1970-01-01T00:00:00.000000Z`, in bytes.
const TIME_LEN: usize = 27;
/// The limits of RFC 5424 section 6, in bytes.
const HOSTNAME_MAX: usize = 255;
const APP_NAME_MAX: usize = 48;
const PROC_ID_MAX: usize = 128;
const MSG_ID_MAX: usize = 32;
const SD_NAME_MAX: usize = 32;
/// The longest decimal number of 64 bits, in digits.
const DIGITS_MAX: usize = 20;

/// What a head says, as it was configured; nothing in it has to be valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFields {
    /// Numerical facility (RFC 5424 table 1); more than 23 counts as 23.
    pub facility: u8,
    /// Numerical severity (RFC 5424 table 2); more than 7 counts as 7.
    pub severity: u8,
    /// HOSTNAME; empty for none.
    pub hostname: String,
    /// APP-NAME; empty for none.
    pub app_name: String,
    /// PROCID; empty for none.
    pub proc_id: String,
    /// MSGID; empty for none.
    pub msg_id: String,
    /// STRUCTURED-DATA in the order of the configuration; elements of one ID are merged, as the RFC allows each once.
    pub structured_data: Vec<Element>,
    /// The stream's name if messages shall say where they stood; see [`Header::set_position`].
    pub position_of: Option<String>,
}

/// One element of structured data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// SD-ID, `name@enterprise` unless registered with IANA.
    pub id: String,
    /// Parameters: name and value.
    pub params: Vec<(String, String)>,
}

/// The head of the messages of one log for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    /// Where the time stands in `bytes`.
    time_at: usize,
    /// Where the generation's digits begin, if messages say where they stood.
    position_at: Option<usize>,
}

impl Header {
    /// Builds a head. Its time is 1970 and its position 0 until they are set.
    pub fn new(fields: &HeaderFields) -> Self {
        let priority = u16::from(fields.facility.min(23)) * 8 + u16::from(fields.severity.min(7));
        let mut bytes = format!("<{priority}>1 ").into_bytes();
        let time_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; TIME_LEN]);
        for (value, limit) in [
            (&fields.hostname, HOSTNAME_MAX),
            (&fields.app_name, APP_NAME_MAX),
            (&fields.proc_id, PROC_ID_MAX),
            (&fields.msg_id, MSG_ID_MAX),
        ] {
            bytes.push(b' ');
            push_token(&mut bytes, value, limit);
        }
        bytes.push(b' ');
        let position_at = push_structured_data(&mut bytes, fields);
        bytes.push(b' ');
        let mut header = Self { bytes, time_at, position_at };
        header.set_time(Timestamp::UNIX_EPOCH);
        header.set_position(0, 0);
        header
    }

    /// Sets the time, with six digits after the second and `Z`.
    ///
    /// A year that has no four digits becomes the nearest that has. `Timestamp` knows no second 60, which RFC 5424
    /// section 6.2.3.1 forbids.
    pub fn set_time(&mut self, time: Timestamp) {
        let utc = TimeZone::UTC.to_datetime(time);
        let year = u32::from(utc.year().max(0).unsigned_abs());
        let text = &mut self.bytes[self.time_at..self.time_at + TIME_LEN];
        text.copy_from_slice(b"0000-00-00T00:00:00.000000Z");
        put_digits(&mut text[..4], year);
        put_digits(&mut text[5..7], two(utc.month()));
        put_digits(&mut text[8..10], two(utc.day()));
        put_digits(&mut text[11..13], two(utc.hour()));
        put_digits(&mut text[14..16], two(utc.minute()));
        put_digits(&mut text[17..19], two(utc.second()));
        put_digits(&mut text[20..26], utc.subsec_nanosecond().unsigned_abs() / 1000);
    }

    /// Sets generation and position (the byte since the generation's birth) of the next message.
    ///
    /// Does nothing if the fields asked for no position. Together with the stream's name they are a key by which a
    /// receiver can drop what was sent twice.
    pub fn set_position(&mut self, generation: u64, position: u64) {
        let Some(at) = self.position_at else { return };
        self.bytes.truncate(at);
        push_decimal(&mut self.bytes, generation);
        self.bytes.extend_from_slice(b"\" position=\"");
        push_decimal(&mut self.bytes, position);
        self.bytes.extend_from_slice(b"\"] ");
    }

    /// The head, including the space before MSG.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// PRINTUSASCII; what is none becomes `_`, and nothing becomes NILVALUE.
fn push_token(out: &mut Vec<u8>, value: &str, limit: usize) {
    if value.is_empty() {
        out.push(b'-');
    }
    out.extend(value.chars().take(limit).map(|c| printable(c, "")));
}

/// SD-NAME: PRINTUSASCII without `=`, `]` and `"`, and at least one character.
fn clean_name(name: &str) -> String {
    match name {
        "" => "_".to_owned(),
        _ => name.chars().take(SD_NAME_MAX).map(|c| char::from(printable(c, "=]\""))).collect(),
    }
}

fn printable(c: char, except: &str) -> u8 {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii_graphic() && !except.contains(c) => byte,
        _ => b'_',
    }
}

/// Pushes STRUCTURED-DATA; returns where the generation's digits belong, if the position is to be told.
fn push_structured_data(out: &mut Vec<u8>, fields: &HeaderFields) -> Option<usize> {
    let mut elements = merge(&fields.structured_data);
    // The element with the position comes last, so that everything before it stays as it is.
    let own = elements.iter().position(|e| e.id == POSITION_ID).filter(|_| fields.position_of.is_some());
    let own = own.map(|index| elements.remove(index));
    for element in &elements {
        push_element(out, element);
        out.push(b']');
    }
    if let Some(stream) = &fields.position_of {
        let mut element = own.unwrap_or_else(|| Element { id: POSITION_ID.to_owned(), ..Element::default() });
        element.params.push(("stream".to_owned(), stream.clone()));
        push_element(out, &element);
        out.extend_from_slice(b" generation=\"");
        return Some(out.len());
    }
    if elements.is_empty() {
        out.push(b'-');
    }
    None
}

/// Cleans all names, then joins the elements of one ID: cleaning can make two of them alike.
fn merge(elements: &[Element]) -> Vec<Element> {
    let mut merged: Vec<Element> = Vec::with_capacity(elements.len());
    for element in elements {
        let id = clean_name(&element.id);
        let params = element.params.iter().map(|(name, value)| (clean_name(name), value.clone()));
        match merged.iter_mut().find(|known| known.id == id) {
            Some(known) => known.params.extend(params),
            None => merged.push(Element { id, params: params.collect() }),
        }
    }
    merged
}

/// Pushes an element without its closing bracket.
fn push_element(out: &mut Vec<u8>, element: &Element) {
    out.push(b'[');
    out.extend_from_slice(element.id.as_bytes());
    for (name, value) in &element.params {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        push_value(out, value);
        out.push(b'"');
    }
}

/// PARAM-VALUE (RFC 5424 section 6.3.3). Control characters become `#` and three octal digits, as rsyslog shows them.
fn push_value(out: &mut Vec<u8>, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => out.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() => out.extend_from_slice(format!("#{:03o}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn two(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}

/// Fills `text` with the last digits of `number`.
fn put_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends `number` in decimal, without leading zeros.
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::bytes::Regex;

    /// RFC 5424 section 6, written down again from the RFC's ABNF; strict about control characters in values too.
    fn grammar() -> Regex {
        let name = r#"[!#-<>-\\^-~]{1,32}"#;
        let value = r#"(?:[^"\\\]\x00-\x1F\x7F]|\\["\\\]])*"#;
        let date = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])";
        let time = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z";
        let sd = format!(r#"(?:-|(?:\[{name}(?: {name}="{value}")*\])+)"#);
        Regex::new(&format!(
            "^<(?:0|[1-9][0-9]?|1[0-8][0-9]|19[01])>1 {date}T{time} [!-~]{{1,255}} [!-~]{{1,48}} [!-~]{{1,128}} [!-~]{{1,32}} {sd} $"
        ))
        .unwrap()
    }

    fn text(header: &Header) -> String {
        String::from_utf8(header.as_bytes().to_vec()).unwrap()
    }

    fn fields() -> HeaderFields {
        HeaderFields {
            facility: 16,
            severity: 6,
            hostname: "web-1".into(),
            app_name: "production".into(),
            proc_id: String::new(),
            msg_id: "access".into(),
            structured_data: vec![],
            position_of: None,
        }
    }

    fn element(id: &str, params: &[(&str, &str)]) -> Element {
        Element {
            id: id.into(),
            params: params.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        }
    }

    #[test]
    fn a_head_has_the_fields_in_the_order_of_the_rfc() {
        let mut header = Header::new(&fields());
        header.set_time("2026-11-21T08:05:09.123456789Z".parse().unwrap());
        assert_eq!(text(&header), "<134>1 2026-11-21T08:05:09.123456Z web-1 production - access - ");
    }

    #[test]
    fn only_the_time_changes() {
        let mut header = Header::new(&fields());
        assert_eq!(text(&header), "<134>1 1970-01-01T00:00:00.000000Z web-1 production - access - ");
        header.set_time("2026-12-31T23:59:59.999999999Z".parse().unwrap());
        header.set_time("2027-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(text(&header), "<134>1 2027-01-01T00:00:00.000000Z web-1 production - access - ");
    }

    #[test]
    fn a_leap_second_never_becomes_second_60() {
        let mut header = Header::new(&fields());
        header.set_time("2016-12-31T23:59:60Z".parse().unwrap());
        assert!(text(&header).contains(" 2016-12-31T23:59:59.000000Z "), "{}", text(&header));
    }

    #[test]
    fn a_year_before_the_common_era_still_has_four_digits() {
        let mut header = Header::new(&fields());
        header.set_time(Timestamp::MIN);
        assert!(grammar().is_match(header.as_bytes()), "{}", text(&header));
    }

    #[test]
    fn what_is_no_printable_ascii_is_replaced() {
        let fields = HeaderFields {
            hostname: "näme\n".into(),
            app_name: "my app".into(),
            proc_id: "\0".into(),
            msg_id: "x".repeat(40),
            ..fields()
        };
        let expected = format!("<134>1 1970-01-01T00:00:00.000000Z n_me_ my_app _ {} - ", "x".repeat(32));
        assert_eq!(text(&Header::new(&fields)), expected);
    }

    #[test]
    fn values_are_escaped_and_their_control_characters_made_harmless() {
        let structured_data = vec![element("a@1", &[("v", "q\" b\\ c] \n\r\0\u{7f}\u{85} ünï")])];
        let fields = HeaderFields { structured_data, ..fields() };
        let text = text(&Header::new(&fields));
        assert!(text.ends_with(r#" [a@1 v="q\" b\\ c\] #012#015#000#177#205 ünï"] "#), "{text}");
    }

    #[test]
    fn elements_of_one_id_are_merged_even_if_only_cleaning_made_them_alike() {
        let structured_data = vec![
            element("a b@1", &[("x", "1")]),
            element("c@1", &[]),
            element("a]b@1", &[("x", "2"), ("", "3")]),
        ];
        let fields = HeaderFields { structured_data, ..fields() };
        let text = text(&Header::new(&fields));
        assert!(text.ends_with(r#" [a_b@1 x="1" x="2" _="3"][c@1] "#), "{text}");
    }

    #[test]
    fn a_position_is_told_in_an_element_of_its_own() {
        let fields = HeaderFields { position_of: Some("/var/log/a \"b\".log".into()), ..fields() };
        let mut header = Header::new(&fields);
        header.set_position(7, u64::MAX);
        header.set_position(12, 345);
        header.set_time("2026-11-21T08:05:09Z".parse().unwrap());
        assert_eq!(
            text(&header),
            "<134>1 2026-11-21T08:05:09.000000Z web-1 production - access \
             [position@32473 stream=\"/var/log/a \\\"b\\\".log\" generation=\"12\" position=\"345\"] "
        );
    }

    #[test]
    fn a_configured_element_with_the_id_of_the_position_is_merged_into_it() {
        let structured_data = vec![element(POSITION_ID, &[("k", "v")]), element("z@1", &[])];
        let fields = HeaderFields { structured_data, position_of: Some("s".into()), ..fields() };
        let text = text(&Header::new(&fields));
        let wanted = "[z@1][position@32473 k=\"v\" stream=\"s\" generation=\"0\" position=\"0\"] ";
        assert!(text.ends_with(wanted), "{text}");
    }

    prop_compose! {
        fn any_fields()(
            (facility, severity) in any::<(u8, u8)>(),
            (hostname, app_name, proc_id, msg_id) in any::<(String, String, String, String)>(),
            hostname_times in 1usize..20,
            elements in prop::collection::vec((any::<String>(), prop::collection::vec(any::<(String, String)>(), 0..4)), 0..4),
            position_of in any::<Option<String>>(),
        ) -> HeaderFields {
            let structured_data = elements.into_iter().map(|(id, params)| Element { id, params }).collect();
            let hostname = hostname.repeat(hostname_times);
            HeaderFields { facility, severity, hostname, app_name, proc_id, msg_id, structured_data, position_of }
        }
    }

    proptest! {
        #[test]
        fn a_head_obeys_the_grammar_whatever_the_configuration_holds(
            fields in any_fields(), nanos in any::<i64>(), generation: u64, position: u64,
        ) {
            let mut header = Header::new(&fields);
            header.set_time(Timestamp::from_nanosecond(i128::from(nanos) * 20).unwrap());
            header.set_position(generation, position);
            let text = text(&header);
            prop_assert!(grammar().is_match(text.as_bytes()), "{text:?}");
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }

        #[test]
        fn no_sd_id_occurs_twice(ids in prop::collection::vec("[a =]{0,2}", 0..6), position in any::<bool>()) {
            let mut structured_data: Vec<_> = ids.iter().map(|id| element(id, &[])).collect();
            structured_data.push(element(POSITION_ID, &[]));
            let position_of = position.then(String::new);
            let text = text(&Header::new(&HeaderFields { structured_data, position_of, ..fields() }));
            let mut seen: Vec<_> =
                text.split('[').skip(1).map(|e| e.split([' ', ']']).next().unwrap()).collect();
            let all = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), all, "{}", text);
        }

        #[test]
        fn the_time_is_the_one_that_was_set(nanos in 0..250_000_000_000_000_000_000_i128) {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            let mut header = Header::new(&fields());
            header.set_time(time);
            let text = text(&header);
            let read: Timestamp = text.split(' ').nth(1).unwrap().parse().unwrap();
            prop_assert_eq!(read.as_microsecond(), time.as_microsecond());
        }
    }
}
