//! The recount: in, what lies in an app's volume and at a receiver; out, which numbers are missing or double.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use capstan_peers::lines::{Comparison, Numbering, Tally};
use flate2::read::MultiGzDecoder;

use crate::namespace::Namespace;
use crate::receiver::Receiver;
use crate::{exec, wait};

/// Plain files of a directory and those below it, but for the sidecar's own.
const PLAIN: &str = "find . -type f ! -name '*.gz' ! -path '*/.capstan/*' -exec cat {} \\;";
const PACKED: &str = "find . -type f -name '*.gz' ! -path '*/.capstan/*' -exec cat {} \\;";

/// Every line in the files and archives of a directory in a container.
///
/// # Errors
///
/// The container cannot be asked, or an archive is broken.
pub async fn in_files(
    namespace: &Namespace,
    pod: &str,
    container: &str,
    directory: &str,
    numbering: Numbering,
) -> Result<Tally> {
    let mut tally = Tally::new(numbering);
    let packed = find(namespace, pod, container, directory, PACKED).await?;
    let mut unpacked = Vec::new();
    // Members of several archives follow each other like those of one; nothing is no archive.
    if !packed.is_empty() {
        MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).context("an archive is broken")?;
    }
    tally.add_lines(&unpacked);
    tally.add_lines(&find(namespace, pod, container, directory, PLAIN).await?);
    Ok(tally)
}

async fn find(
    namespace: &Namespace,
    pod: &str,
    container: &str,
    directory: &str,
    script: &str,
) -> Result<Vec<u8>> {
    let script = format!("cd {directory} && {script}");
    exec::exec(&namespace.pods(), pod, container, &["sh", "-c", &script]).await
}

/// Waits until a receiver has every number below `count` of writer `name`; returns the recount, in which some may be
/// double.
///
/// # Errors
///
/// Numbers are still missing at the end, or there are some that nobody wrote.
pub async fn at_receiver(
    receiver: &Receiver,
    numbering: Numbering,
    name: &str,
    count: u64,
) -> Result<Comparison> {
    wait::until(&format!("{count} lines at the receiver"), wait::LIMIT, async || {
        let mut tally = Tally::new(numbering.clone());
        tally.add_lines(&receiver.messages().await?);
        let comparison = tally.compare([(name, count)]);
        ensure!(comparison.is_complete(), "{comparison}");
        Ok(comparison)
    })
    .await
}

/// Waits until no more than `missing` of the numbers below `count` of writer `name` are missing at a receiver; it may
/// have later ones too, which somebody wrote after the count was taken.
///
/// # Errors
///
/// More are still missing at the end.
pub async fn at_receiver_but(
    missing: u64,
    receiver: &Receiver,
    numbering: Numbering,
    (name, count): (&str, u64),
) -> Result<()> {
    wait::until(&format!("{count} lines but {missing} at the receiver"), wait::LIMIT, async || {
        let mut tally = Tally::new(numbering.clone());
        tally.add_lines(&receiver.messages().await?);
        let comparison = tally.compare([(name, count)]);
        ensure!(comparison.missing <= missing, "{comparison}");
        Ok(())
    })
    .await
}
