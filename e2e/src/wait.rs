//! Waiting for what should become true: in, a question asked again and again; out, its answer, or why not.
//!
//! Limits are generous and never asserted: a wait ends as soon as the condition holds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

/// How long to wait for what takes seconds when the machine is idle.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the answer is `Ok`. An error means "not yet"; the last one is returned after `limit`.
///
/// # Errors
///
/// The last answer, after the limit.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(reason) if start.elapsed() > limit => {
                return Err(reason).with_context(|| format!("waited {} s for {what}", limit.as_secs()));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Asks for a while, and fails as soon as the answer is not `Ok`: for what should *stay* true.
///
/// # Errors
///
/// The first answer that was an error.
pub async fn holds(what: &str, during: Duration, mut ask: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < during {
        ask().await.with_context(|| format!("{what} should have stayed so"))?;
        sleep(PAUSE).await;
    }
    Ok(())
}
