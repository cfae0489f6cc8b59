//! Reads what is in a compressed archive from any position, without what stands before it.
//!
//! In: the `.gz` file. Out: bytes as the app wrote them. Always: memory stays at one member, whole and checked;
//! a file that is not ours, or damaged, is an error that names the place, never wrong bytes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::member_file::{ArchiveError, read_header, read_member};
use super::members::{Boundary, Decoder, MemberError};
use crate::files::{FileError, errno_of};

/// Reads one compressed archive.
#[derive(Debug)]
pub struct ArchiveReader {
    file: File,
    path: PathBuf,
    /// Where the member that is in memory begins, and the one after it.
    current: Boundary,
    next: Boundary,
    decoder: Decoder,
    compressed: Vec<u8>,
    plain: Vec<u8>,
}

impl ArchiveReader {
    /// Reads from `file`; `path` is for messages.
    pub fn new(file: File, path: &Path) -> Self {
        ArchiveReader {
            file,
            path: path.to_owned(),
            current: Boundary::default(),
            next: Boundary::default(),
            decoder: Decoder::default(),
            compressed: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// Reads bytes from `position`, counted in what comes out, into `buffer`. Returns how many: as far as the
    /// member goes, so fewer than fit are no sign of the end; 0 is.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Member`] if the file is not ours or damaged; else what the system said.
    pub fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        if buffer.is_empty() || !self.load(position)? {
            return Ok(0);
        }
        let within = usize::try_from(position - self.current.uncompressed).unwrap_or(usize::MAX);
        let rest = self.plain.get(within..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (into, from) in buffer.iter_mut().zip(rest) {
            *into = *from;
        }
        Ok(count)
    }

    /// Brings the member that holds `position` into memory; `false` if the archive ends before it.
    fn load(&mut self, position: u64) -> Result<bool, ArchiveError> {
        if (self.current.uncompressed..self.next.uncompressed).contains(&position) {
            return Ok(true);
        }
        let length = self.file.metadata().map_err(|error| self.failed(&error))?.len();
        let mut at = if position < self.next.uncompressed { Boundary::default() } else { self.next };
        while at.compressed < length {
            let header = read_header(&self.file, at, length).map_err(|error| self.failed(&error))?;
            let after = at.after(header.map_err(|error| self.bad(error, at))?);
            if position < after.uncompressed {
                self.decode(at, length)?;
                (self.current, self.next) = (at, after);
                return Ok(true);
            }
            at = after;
        }
        Ok(false)
    }

    fn decode(&mut self, at: Boundary, length: u64) -> Result<(), ArchiveError> {
        // Nothing is in memory while this may fail half way.
        (self.current, self.next) = (at, at);
        read_member(&self.file, at, length, &mut self.compressed)
            .map_err(|error| self.failed(&error))?
            .and_then(|_| self.decoder.decode(&self.compressed, &mut self.plain))
            .map_err(|error| self.bad(error, at))?;
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> ArchiveError {
        FileError::Io { action: "read", path: self.path.clone(), errno: errno_of(error) }.into()
    }

    fn bad(&self, error: MemberError, at: Boundary) -> ArchiveError {
        ArchiveError::Member { path: self.path.clone(), error, at: at.compressed }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rotate::compress::tests::{Scene, lines};
    use crate::rotate::members::MEMBER_BYTES;

    fn reader(scene: &Scene) -> ArchiveReader {
        let path = scene.path(".gz");
        ArchiveReader::new(File::open(&path).unwrap(), &path)
    }

    fn compressed(bytes: usize) -> (Scene, Vec<u8>) {
        let content = lines(bytes);
        let scene = Scene::new(&content);
        scene.compress();
        (scene, content)
    }

    fn read_from(reader: &mut ArchiveReader, mut position: u64) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 70_000]);
        loop {
            match reader.read_at(position, &mut buffer).unwrap() {
                0 => return all,
                read => {
                    all.extend_from_slice(&buffer[..read]);
                    position += read as u64;
                }
            }
        }
    }

    #[test]
    fn any_position_reads_the_same_bytes_as_the_plain_file() {
        let (scene, content) = compressed(3 * MEMBER_BYTES + 500);
        let mut reader = reader(&scene);
        let one = MEMBER_BYTES;
        // Forwards, backwards, on the edges, and within the member that is in memory already.
        for position in
            [0, 1, one - 1, one, 3 * one, 3 * one + 499, 2 * one + 7, 2 * one + 8, 5, content.len()]
        {
            assert!(read_from(&mut reader, position as u64) == content[position..], "{position}");
        }
        assert_eq!(reader.read_at(content.len() as u64, &mut [0; 10]).unwrap(), 0);
        assert_eq!(reader.read_at(u64::MAX, &mut [0; 10]).unwrap(), 0);
        assert_eq!(reader.read_at(0, &mut []).unwrap(), 0);
    }

    #[test]
    fn an_empty_archive_has_an_end() {
        let (scene, _) = compressed(0);
        assert_eq!(reader(&scene).read_at(0, &mut [0; 10]).unwrap(), 0);
    }

    #[test]
    fn memory_stays_at_one_member() {
        let (scene, _) = compressed(4 * MEMBER_BYTES);
        let mut reader = reader(&scene);
        read_from(&mut reader, 0);
        assert!(reader.plain.capacity() + reader.compressed.capacity() < 3 * MEMBER_BYTES);
    }

    #[test]
    fn damage_is_an_error_at_its_place_and_the_rest_can_be_read() {
        let (scene, content) = compressed(3 * MEMBER_BYTES);
        let mut bytes = fs::read(scene.path(".gz")).unwrap();
        let first = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        bytes[first + 5_000] ^= 0xff;
        fs::write(scene.path(".gz"), bytes).unwrap();
        let mut reader = reader(&scene);
        let mut buffer = vec![0; 100];
        assert_eq!(reader.read_at(0, &mut buffer).unwrap(), 100);
        let second = MEMBER_BYTES as u64;
        for _ in 0..2 {
            let error = reader.read_at(second, &mut buffer).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("a member of the compressed file is damaged (at byte {first})")),
                "{error}"
            );
        }
        assert_eq!(reader.read_at(2 * second, &mut buffer).unwrap(), 100);
        assert_eq!(buffer, content[2 * MEMBER_BYTES..][..100]);
    }

    #[test]
    fn an_ordinary_gzip_file_is_refused() {
        let scene = Scene::new(b"x\n");
        let ordinary = std::process::Command::new("gzip").args(["-c"]).arg(scene.path("")).output().unwrap();
        fs::write(scene.path(".gz"), ordinary.stdout).unwrap();
        let error = reader(&scene).read_at(0, &mut [0; 10]).unwrap_err().to_string();
        assert!(error.contains("was not written by capstan"), "{error}");
    }
}
