//! A strict reader of RFC 5424 section 6, written from its grammar and apart from the sidecar's writer.

/// SD-ID and its parameters.
pub type Element = (String, Vec<(String, String)>);

/// A message, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub priority: u8,
    pub time: String,
    pub hostname: String,
    pub app_name: String,
    pub proc_id: String,
    pub msg_id: String,
    /// Elements with their parameters, escapes resolved.
    pub structured_data: Vec<Element>,
    pub body: Vec<u8>,
}

impl Message {
    /// A parameter of an element.
    pub fn param(&self, element: &str, name: &str) -> Option<&str> {
        let (_, params) = self.structured_data.iter().find(|(id, _)| id == element)?;
        params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Takes a message apart; panics with the message if it breaks the grammar.
pub fn parse(message: &[u8]) -> Message {
    match (Reader { rest: message }).message() {
        Ok(parsed) => parsed,
        Err(what) => panic!("{what}: {:?}", String::from_utf8_lossy(&message[..message.len().min(600)])),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, String>;

impl Reader<'_> {
    fn message(mut self) -> Read<Message> {
        self.expect(b"<")?;
        let priority = self.until(b'>')?;
        check(priority == "0" || !priority.starts_with('0'), "PRIVAL has leading zeros")?;
        let priority: u8 = priority.parse().map_err(|_| "PRIVAL is no number")?;
        check(priority <= 191, "PRIVAL is too large")?;
        self.expect(b"1 ")?;
        let time = self.token(32)?;
        check(is_timestamp(&time), "TIMESTAMP")?;
        let mut header = [255, 48, 128, 32].map(|limit| self.token(limit));
        let mut next = |index: usize| std::mem::replace(&mut header[index], Ok(String::new()));
        let (hostname, app_name, proc_id, msg_id) = (next(0)?, next(1)?, next(2)?, next(3)?);
        let structured_data = self.structured_data()?;
        if !self.rest.is_empty() {
            self.expect(b" ")?;
        }
        let body = self.rest.to_vec();
        Ok(Message { priority, time, hostname, app_name, proc_id, msg_id, structured_data, body })
    }

    fn expect(&mut self, bytes: &[u8]) -> Read<()> {
        let found = self.rest.strip_prefix(bytes);
        self.rest = found.ok_or_else(|| format!("expected {:?}", String::from_utf8_lossy(bytes)))?;
        Ok(())
    }

    fn until(&mut self, end: u8) -> Read<String> {
        let at = self.rest.iter().position(|byte| *byte == end).ok_or("cut off")?;
        let text = String::from_utf8(self.rest[..at].to_vec()).map_err(|_| "not UTF-8")?;
        self.rest = &self.rest[at + 1..];
        Ok(text)
    }

    /// `1*n PRINTUSASCII` or NILVALUE, and the SP behind it.
    fn token(&mut self, limit: usize) -> Read<String> {
        let token = self.until(b' ')?;
        let good = !token.is_empty() && token.len() <= limit && token.bytes().all(|b| b.is_ascii_graphic());
        check(good, "a field of the header")?;
        Ok(token)
    }

    fn structured_data(&mut self) -> Read<Vec<Element>> {
        if self.rest.first() == Some(&b'-') {
            self.expect(b"-")?;
            return Ok(Vec::new());
        }
        let mut elements: Vec<Element> = Vec::new();
        loop {
            let element = self.element()?;
            check(elements.iter().all(|(id, _)| *id != element.0), "an SD-ID comes twice")?;
            elements.push(element);
            if self.rest.first() != Some(&b'[') {
                return Ok(elements);
            }
        }
    }

    fn element(&mut self) -> Read<Element> {
        self.expect(b"[")?;
        let id = self.name()?;
        let mut params = Vec::new();
        while self.rest.first() == Some(&b' ') {
            self.expect(b" ")?;
            let name = self.name()?;
            self.expect(b"=\"")?;
            params.push((name, self.value()?));
        }
        self.expect(b"]")?;
        Ok((id, params))
    }

    /// SD-NAME.
    fn name(&mut self) -> Read<String> {
        let is_name = |byte: &u8| byte.is_ascii_graphic() && !b"=]\"".contains(byte);
        let length = self.rest.iter().take_while(|byte| is_name(byte)).count();
        check((1..=32).contains(&length), "SD-NAME")?;
        let name = String::from_utf8_lossy(&self.rest[..length]).into_owned();
        self.rest = &self.rest[length..];
        Ok(name)
    }

    /// PARAM-VALUE and the quote behind it.
    fn value(&mut self) -> Read<String> {
        let mut value = Vec::new();
        loop {
            let (first, rest) = self.rest.split_first().ok_or("PARAM-VALUE has no end")?;
            self.rest = rest;
            match first {
                b'"' => return String::from_utf8(value).map_err(|_| "PARAM-VALUE is not UTF-8".into()),
                b']' => return Err("] is not escaped".into()),
                b'\\' => {
                    let (escaped, rest) = rest.split_first().ok_or("cut off")?;
                    check(b"\"\\]".contains(escaped), "an escape that is none")?;
                    value.push(*escaped);
                    self.rest = rest;
                }
                byte => value.push(*byte),
            }
        }
    }
}

fn check(good: bool, what: &str) -> Read<()> {
    if good { Ok(()) } else { Err(what.to_owned()) }
}

/// `FULL-DATE T PARTIAL-TIME Z`, one to six digits of a second's fraction, if any.
fn is_timestamp(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("0Z", |(_, fraction)| fraction);
    let digits = fraction.strip_suffix('Z').unwrap_or_default();
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.is_ok()
        && text.as_bytes()[10] == b'T'
        && (1..=6).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit())
        && text[17..19] != *"60"
}
