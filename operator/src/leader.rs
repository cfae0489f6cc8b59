//! Who of several processes leads: the holder of a Lease.
//!
//! In: a Lease and its clock. Out: whether this process leads, as a watch. What always holds: a process stops to
//! believe that it leads before anybody else may begin to, whatever clocks and networks do; see [`election`].

pub mod election; // P

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::leader::election::{Candidate, Decision, Now, Record};

/// How long one look at the Lease, with its change, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes part in the election until `stop`, then gives the lease up.
pub async fn run(
    leases: Api<Lease>,
    name: String,
    id: String,
    leads: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let mut election =
        Election { leases, name, candidate: Candidate::new(id), started: Instant::now(), told: false };
    tokio::select! {
        () = stop => {}
        () = election.campaign(&leads) => {}
    }
    if election.candidate.leads(election.now().boot) {
        leads.send_replace(false);
        election.resign().await;
    }
}

struct Election {
    leases: Api<Lease>,
    name: String,
    candidate: Candidate,
    started: Instant,
    told: bool,
}

impl Election {
    fn now(&self) -> Now {
        Now { boot: self.started.elapsed(), wall: jiff::Timestamp::now() }
    }

    async fn campaign(&mut self, leads: &watch::Sender<bool>) {
        loop {
            // A request that hangs must not outlast what we believe.
            let patience = self.candidate.remaining(self.now().boot).unwrap_or(PATIENCE).min(PATIENCE);
            match tokio::time::timeout(patience, self.attempt()).await {
                Ok(Ok(())) => self.told = false,
                Ok(Err(error)) => self.tell(&error.to_string()),
                Err(_) => self.tell("the API server did not answer in time"),
            }
            self.show(leads);
            let wait = self.candidate.wait(self.now().boot);
            tokio::time::sleep(wait).await;
            self.show(leads);
        }
    }

    fn show(&self, leads: &watch::Sender<bool>) {
        let now = self.candidate.leads(self.now().boot);
        leads.send_if_modified(|before| {
            if *before != now {
                let what = if now { "leading" } else { "not leading any more" };
                tracing::info!(lease = self.name, id = self.candidate.id(), "{what}");
            }
            std::mem::replace(before, now) != now
        });
    }

    fn tell(&mut self, error: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(lease = self.name, error, "cannot look after the lease; trying again");
        }
    }

    /// One look and, if that is what follows from it, one change. Somebody else's change in between makes it fail.
    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let now = self.now();
        self.candidate.saw(lease.as_ref().map(record), now);
        let started = self.now();
        let written = match self.candidate.decide(started) {
            Decision::Wait => return Ok(()),
            Decision::Create(record) => {
                self.leases
                    .create(&PostParams::default(), &self.lease(&record, ObjectMeta::default()))
                    .await?;
                record
            }
            Decision::Change(record) => {
                let metadata = lease.map(|lease| lease.metadata).unwrap_or_default();
                self.leases
                    .replace(&self.name, &PostParams::default(), &self.lease(&record, metadata))
                    .await?;
                record
            }
        };
        self.candidate.wrote(written, started);
        Ok(())
    }

    fn lease(&self, record: &Record, metadata: ObjectMeta) -> Lease {
        Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..metadata },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
                acquire_time: Some(MicroTime(record.acquired)),
                renew_time: Some(MicroTime(record.renewed)),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Lets the next one begin at once. If it fails, the lease runs out by itself.
    async fn resign(&mut self) {
        let result = tokio::time::timeout(PATIENCE, async {
            let lease = self.leases.get(&self.name).await?;
            let Some(given_up) = self.candidate.resignation(&record(&lease), self.now()) else {
                return Ok(());
            };
            let changed = self.lease(&given_up, lease.metadata);
            self.leases.replace(&self.name, &PostParams::default(), &changed).await.map(drop)
        });
        match result.await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "lease given up"),
            Ok(Err(error)) => self.tell(&error.to_string()),
            Err(_) => self.tell("the API server did not answer in time"),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let time = |time: Option<MicroTime>| time.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0);
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds),
        acquired: time(spec.acquire_time),
        renewed: time(spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
