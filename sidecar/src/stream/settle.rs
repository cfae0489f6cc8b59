//! Other settings while everything runs: streams change their log, lose it, or get one.
//!
//! In: who owns a stream now. What always holds: a stream that belongs to the very same log as before is not touched; one
//! that no log wants is closed and its state kept; one in the middle of a rotation is left for later.

use std::path::Path;
use std::sync::Arc;

use super::recover::{Recovered, cursor_at};
use super::volume::{Inner, Volume, now_micros};
use crate::settings::LogSettings;

/// What became of it.
#[derive(Debug, Default)]
pub struct Settled {
    /// What streams that got a log had to tell.
    pub found: Recovered,
    /// Whether a stream is being rotated just now: to be settled again.
    pub is_busy: bool,
}

impl Volume {
    /// Gives every stream to the log that `owner` says.
    pub fn settle(&self, owner: impl Fn(&Path) -> Option<Arc<LogSettings>>) -> Settled {
        let mut settled = Settled::default();
        let mut inner = self.inner();
        let names: Vec<(String, bool)> =
            inner.ledger.streams.iter().map(|(name, stream)| (name.clone(), stream.is_busy())).collect();
        for (name, is_busy) in names {
            match (inner.logs.get(&*name).cloned(), owner(&self.absolute(&name))) {
                (None, None) => {}
                (Some(before), Some(now)) if Arc::ptr_eq(&before, &now) => {}
                (Some(_), _) if is_busy => settled.is_busy = true,
                (Some(_), Some(now)) => inner.give(&name, &now),
                (Some(_), None) => inner.dismiss(&name),
                (None, Some(now)) => self.take_up(&mut inner, &name, &now, &mut settled.found),
            }
        }
        inner.write();
        drop(inner);
        self.sync();
        self.bump();
        settled
    }
}

impl Inner {
    /// The stream belongs to `log` from now on.
    fn give(&mut self, name: &str, log: &Arc<LogSettings>) {
        let Inner { ledger, feeds, logs, .. } = self;
        logs.insert(name.into(), log.clone());
        for feed in feeds.values().filter(|feed| &*feed.key.stream == name) {
            let generation =
                ledger.streams.get_mut(name).and_then(|known| known.generation_mut(feed.key.number));
            if let Some(generation) = generation {
                let source = feed.source();
                generation.enlist(&log.destinations, now_micros(), |end| cursor_at(&source, end));
            }
            feed.set_log(log.clone());
        }
    }

    /// No log wants the stream any more.
    fn dismiss(&mut self, name: &str) {
        self.logs.remove(name);
        self.feeds.retain(|key, feed| {
            let stays = &*key.stream != name;
            if !stays {
                feed.dismiss();
            }
            stays
        });
    }
}
