//! What is to be looked at: a set that is filled by many and emptied by one.
//!
//! What always holds: it is as large as there are objects, however often they are added; what was added is taken at
//! least once afterwards.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures::Stream;
use futures::stream;
use tokio::sync::Notify;

use crate::pods::Key;

/// Objects to look at.
#[derive(Debug, Default)]
pub struct Wanted {
    keys: Mutex<BTreeSet<Key>>,
    added: Notify,
}

impl Wanted {
    /// Adds objects.
    pub fn add(&self, keys: impl IntoIterator<Item = Key>) {
        let mut wanted = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let before = wanted.len();
        wanted.extend(keys);
        if wanted.len() > before {
            self.added.notify_one();
        }
    }

    /// Takes one; waits if there is none.
    async fn take(&self) -> Key {
        loop {
            // Made before looking, so that what is added in between is not slept over.
            let added = self.added.notified();
            let first = self.keys.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match first {
                Some(key) => return key,
                None => added.await,
            }
        }
    }

    /// All that is added, for ever. There must be only one such stream at a time.
    pub fn stream(&self) -> impl Stream<Item = Key> {
        stream::unfold(self, |wanted| async move { Some((wanted.take().await, wanted)) })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn what_is_added_twice_is_taken_once_and_later_additions_wake() {
        let wanted = Wanted::default();
        let key = |name: &str| Key::new("shop", name);
        wanted.add([key("a"), key("b"), key("a")]);
        let mut taken = Box::pin(wanted.stream());
        assert_eq!(taken.next().now_or_never(), Some(Some(key("a"))));
        assert_eq!(taken.next().now_or_never(), Some(Some(key("b"))));
        assert_eq!(taken.next().now_or_never(), None);
        wanted.add([key("a")]);
        assert_eq!(taken.next().now_or_never(), Some(Some(key("a"))));
    }
}
