//! Reads a generation's bytes at a position, wherever they are now.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::rotate::archive_reader::ArchiveReader;
use crate::rotate::member_file::ArchiveError;
use crate::stream::feed::Source;

/// Why bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Truncated or deleted by somebody else.
    #[error("the file is gone")]
    Lost,
    /// Not at this path any more: ask the feed where it is now.
    #[error("{} was moved", .0.display())]
    Moved(PathBuf),
    /// A compressed archive is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file, empty for an open one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Reads chunks, keeping a compressed archive open as long as the same one is read.
#[derive(Debug, Default)]
pub struct Reader {
    gzip: Option<(PathBuf, ArchiveReader)>,
}

impl Reader {
    /// Fills `buffer` from `position` on as far as there are bytes; 0 at the end.
    pub fn read(&mut self, source: &Source, position: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        match source {
            Source::Lost => Err(ReadError::Lost),
            Source::Open(file) => read_full(file, position, buffer)
                .map_err(|source| ReadError::Io { path: PathBuf::new(), source }),
            Source::Plain(path) => {
                let file = File::open(path).map_err(|error| at(path, error))?;
                read_full(&file, position, buffer).map_err(|error| at(path, error))
            }
            Source::Gzip(path) => {
                let reader = self.gzip_reader(path)?;
                let mut filled = 0;
                // A read ends with a member; only nothing is the end.
                while filled < buffer.len() {
                    match reader.read_at(position + filled as u64, &mut buffer[filled..])? {
                        0 => break,
                        count => filled += count,
                    }
                }
                Ok(filled)
            }
        }
    }

    fn gzip_reader(&mut self, path: &PathBuf) -> Result<&mut ArchiveReader, ReadError> {
        if self.gzip.as_ref().is_none_or(|(open, _)| open != path) {
            let file = File::open(path).map_err(|error| at(path, error))?;
            self.gzip = Some((path.clone(), ArchiveReader::new(file, path)));
        }
        match &mut self.gzip {
            Some((_, reader)) => Ok(reader),
            None => Err(ReadError::Lost),
        }
    }

    /// Closes what is kept open, so that its space can be freed.
    pub fn close(&mut self) {
        self.gzip = None;
    }
}

fn at(path: &Path, source: io::Error) -> ReadError {
    match source.kind() {
        io::ErrorKind::NotFound => ReadError::Moved(path.to_owned()),
        _ => ReadError::Io { path: path.to_owned(), source },
    }
}

fn read_full(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
