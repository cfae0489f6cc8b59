//! As much of HTTP/1.1 as tests need: in, a port and a path; out, status and body.
//!
//! Only GET, only answers with a Content-Length or until the end of the connection, never a redirect.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ports;

/// Longest wait for any byte of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, with what is not UTF-8 replaced.
    pub body: String,
}

/// A connection to 127.0.0.1 that is kept alive.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// One request over a connection of its own.
pub fn get(port: u16, path: &str) -> Result<Answer> {
    Connection::open(port)?.get(path)
}

impl Connection {
    /// Connects.
    pub fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(ports::local(port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// One request and its whole answer.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        read_answer(&mut self.stream)
    }
}

/// Reads one answer to its end, so that the next one starts where this one ends.
fn read_answer(stream: &mut impl BufRead) -> Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let status = status.with_context(|| format!("answered {line:?}"))?;
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the headers have no end");
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    let mut body = Vec::new();
    let read = stream.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body)?;
    ensure!(length.is_none_or(|length| read as u64 == length), "the answer is cut off");
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let two =
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
        let mut stream = two.as_bytes();
        assert_eq!(read_answer(&mut stream).unwrap(), Answer { status: 200, body: "ok\n".to_owned() });
        assert_eq!(read_answer(&mut stream).unwrap(), Answer { status: 404, body: String::new() });
        assert!(stream.is_empty());
    }

    #[test]
    fn without_length_the_body_ends_with_the_connection() {
        let answer = read_answer(&mut "HTTP/1.1 200 OK\r\n\r\nall of it".as_bytes()).unwrap();
        assert_eq!(answer.body, "all of it");
    }

    #[test]
    fn cut_off_answers_are_errors() {
        for answer in
            ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Le", "ok", ""]
        {
            assert!(read_answer(&mut answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
