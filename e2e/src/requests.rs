//! Numbered requests: in, a Service and a range of numbers; out, an error unless each was answered, each sent once.

use anyhow::Result;
use serde_json::json;

use crate::images::Image;
use crate::namespace::Namespace;
use crate::{exec, workload};

const SCRIPT: &str = r#"
import http.client, sys, time
host, port, first, count, rate = sys.argv[1], *map(int, sys.argv[2:])
connection = http.client.HTTPConnection(host, port, timeout=60)
start = time.monotonic()
for index in range(count):
    time.sleep(max(0, start + index / rate - time.monotonic()))
    connection.request("GET", "/req/%06d" % (first + index))
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        sys.exit("request %d was answered with status %d" % (first + index, answer.status))
"#;

/// A pod that sends requests.
#[derive(Clone)]
pub struct Client {
    namespace: Namespace,
}

impl Client {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Its pod is refused or does not become ready.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        let command = json!(["sleep", "100000"]);
        namespace.apply_object(&workload::pod("client", &Image::Gunicorn.name(), &command)).await?;
        namespace.ready_pod("app=client").await?;
        Ok(Self { namespace: namespace.clone() })
    }

    /// As [`Self::send_to_port`], to the port that [`workload::gunicorn`] listens on.
    ///
    /// # Errors
    ///
    /// One was not answered with status 200.
    pub async fn send(&self, host: &str, first: u64, count: u64, rate: u64) -> Result<()> {
        self.send_to_port(host, 8000, first, count, rate).await
    }

    /// Sends `GET /req/NUMBER` for so many numbers from `first` on, at this rate a second, over one connection.
    ///
    /// # Errors
    ///
    /// One was not answered with status 200.
    pub async fn send_to_port(&self, host: &str, port: u64, first: u64, count: u64, rate: u64) -> Result<()> {
        let numbers = [port, first, count, rate].map(|number| number.to_string());
        let mut command = vec!["python3", "-c", SCRIPT, host];
        command.extend(numbers.iter().map(String::as_str));
        exec::exec(&self.namespace.pods(), "client", "app", &command).await.map(drop)
    }
}
