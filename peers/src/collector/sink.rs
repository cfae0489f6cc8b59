//! Where one connection's messages go: in, messages; out, memory, a file, a function or nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::Message;
use super::settings::{OnMessage, Store};

/// Messages are gathered while a chunk is taken apart and handed on before the next read.
pub(super) enum Sink {
    Memory { kept: Arc<Mutex<Vec<Message>>>, connection: u64, batch: Vec<Message> },
    File { file: File, batch: Vec<u8> },
    Discard,
    Call(OnMessage),
}

impl Sink {
    pub(super) fn open(store: &Store, kept: &Arc<Mutex<Vec<Message>>>, connection: u64) -> io::Result<Self> {
        Ok(match store {
            Store::Memory => Self::Memory { kept: kept.clone(), connection, batch: Vec::new() },
            Store::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Self::File { file, batch: Vec::new() }
            }
            Store::Discard => Self::Discard,
            Store::Call(function) => Self::Call(function.clone()),
        })
    }

    pub(super) fn take(&mut self, message: &[u8]) {
        match self {
            Self::Memory { connection, batch, .. } => {
                batch.push(Message { connection: *connection, bytes: message.to_vec() });
            }
            Self::File { batch, .. } => {
                batch.extend_from_slice(message);
                batch.push(b'\n');
            }
            Self::Discard => {}
            Self::Call(function) => function(message),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Memory { kept, batch, .. } => {
                kept.lock().unwrap_or_else(PoisonError::into_inner).append(batch);
            }
            Self::File { file, batch } => {
                file.write_all(batch)?;
                batch.clear();
            }
            Self::Discard | Self::Call(_) => {}
        }
        Ok(())
    }
}
