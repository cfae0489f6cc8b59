//! The control socket: how `rotate` and `status` reach a running sidecar, and what they say to it.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stream::volume::STATE_DIRECTORY;

const SOCKET: &str = "control.sock";

/// A wish to rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotateRequest {
    /// Only this log; None: all.
    pub log: Option<String>,
    /// Also what is not due.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What became of it, stream by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateOutcome {
    /// By stream.
    pub streams: Vec<StreamOutcome>,
}

/// What became of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamOutcome {
    /// Its path.
    pub path: String,
    /// In a sentence.
    pub outcome: String,
    /// Whether that is an error.
    #[serde(default)]
    pub failed: bool,
}

impl RotateRequest {
    /// As the query of a request.
    pub fn to_query(&self) -> String {
        let mut query = format!("force={}&dryRun={}", self.force, self.dry_run);
        if let Some(log) = &self.log {
            query.push_str("&log=");
            query.push_str(log);
        }
        query
    }

    /// From the query of a request. Names of logs need no escapes.
    pub fn from_query(query: &str) -> RotateRequest {
        let mut request = RotateRequest::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "force" => request.force = value == "true",
                "dryRun" => request.dry_run = value == "true",
                "log" => request.log = Some(value.to_owned()),
                _ => {}
            }
        }
        request
    }
}

/// Where the socket is.
pub fn socket_file(base: &Path) -> PathBuf {
    base.join(STATE_DIRECTORY).join(SOCKET)
}

/// A path to the socket that is short enough for any base (unix(7): 108 bytes), by way of an open directory. It
/// stays valid as long as the process keeps the returned value.
pub struct ShortPath {
    path: PathBuf,
    _directory: std::fs::File,
}

impl ShortPath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

/// See [`ShortPath`].
pub fn socket_path(base: &Path) -> io::Result<ShortPath> {
    let directory = std::fs::File::open(base.join(STATE_DIRECTORY))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
    Ok(ShortPath { path, _directory: directory })
}

/// Asks the sidecar that owns `base`. None: none is running there.
pub fn ask(base: &Path, method: &str, target: &str, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
    let Ok(path) = socket_path(base) else { return Ok(None) };
    let mut stream = match UnixStream::connect(path.as_path()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(timeout))?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: capstan\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let body = end.map(|at| answer.split_off(at + 4));
    match body {
        Some(body) if answer.starts_with(b"HTTP/1.1 200") => Ok(Some(body)),
        Some(body) => Err(io::Error::other(String::from_utf8_lossy(&body).trim().to_owned())),
        None => Err(io::Error::other("the sidecar hung up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way() {
        for log in [None, Some("access".to_owned())] {
            for force in [false, true] {
                let request = RotateRequest { log: log.clone(), force, dry_run: !force };
                assert_eq!(RotateRequest::from_query(&request.to_query()), request);
            }
        }
    }
}
