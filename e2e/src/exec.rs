//! Commands inside containers: in, a pod, a container and a command; out, what it printed.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Whole log files come this way.
const BUFFER_BYTES: usize = 1 << 20;

/// Runs a command and returns its output.
///
/// # Errors
///
/// The command failed, with what it wrote to its standard error; or it could not be started.
pub async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<Vec<u8>> {
    let parameters = AttachParams::default()
        .container(container)
        .max_stdout_buf_size(BUFFER_BYTES)
        .max_stderr_buf_size(BUFFER_BYTES);
    let started = pods.exec(pod, command.iter().copied(), &parameters).await;
    let mut process = started.with_context(|| format!("cannot run {command:?} in {pod}/{container}"))?;
    let status = process.take_status().context("a command without a status")?;
    let (output, errors) = tokio::join!(read(process.stdout()), read(process.stderr()));
    let (output, errors) = (output?, errors?);
    let Some(status) = status.await else { bail!("{command:?} in {pod}/{container} ended without a status") };
    if !has_succeeded(&status) {
        let said = String::from_utf8_lossy(&errors);
        let message = status.message.unwrap_or_default();
        bail!("{command:?} in {pod}/{container}: {message}: {}", said.trim_end());
    }
    Ok(output)
}

/// Runs a line of shell and returns its output as text.
///
/// # Errors
///
/// As [`exec`].
pub async fn shell(pods: &Api<Pod>, pod: &str, container: &str, script: &str) -> Result<String> {
    let output = exec(pods, pod, container, &["sh", "-c", script]).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn has_succeeded(status: &Status) -> bool {
    status.status.as_deref() == Some("Success")
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
