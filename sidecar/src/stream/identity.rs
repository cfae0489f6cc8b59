//! Is the file seen now the one remembered? Pure: stored and observed facts in, a verdict out.
//!
//! No single fact is enough. Inode numbers are reused at once, first bytes repeat (headers), device numbers
//! change over a remount. So a file is the same only if everything known of both sides agrees, it is at least
//! as long as what was confirmed of it, and the bytes just before the confirmed position are still there.

use serde::{Deserialize, Serialize};

/// Bytes looked at before a position.
pub const FINGERPRINT_BYTES: usize = 256;

/// What the file system says about which file this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device number; changes over a remount.
    pub dev: u64,
    /// Inode number; reused after deletion.
    pub ino: u64,
    /// Birth time in nanoseconds since the epoch (statx(2) `stx_btime`), where the file system keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// Opaque file handle in hex (name_to_handle_at(2)); carries the inode's generation number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
}

impl FileId {
    /// Whether both describe one file. A fact missing on either side is no evidence.
    ///
    /// The device number counts only when birth time or handle are missing: it may change while the volume
    /// stays the same.
    pub fn is_same_file(&self, other: &FileId) -> bool {
        let agree = |a: &Option<_>, b: &Option<_>| a.is_none() || b.is_none() || a == b;
        let told_apart_without_device =
            self.born.is_some() && other.born.is_some() && self.handle.is_some() && other.handle.is_some();
        self.ino == other.ino
            && (self.born.is_none() || other.born.is_none() || self.born == other.born)
            && agree(&self.handle, &other.handle)
            && (self.dev == other.dev || told_apart_without_device)
    }
}

/// Checksum of the bytes that end at a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many bytes were summed, at most [`FINGERPRINT_BYTES`].
    pub len: u16,
    /// Their CRC-32.
    pub crc: u32,
}

impl Fingerprint {
    /// Sums `bytes`, the last of which stands just before the position.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        let tail = &bytes[bytes.len().saturating_sub(FINGERPRINT_BYTES)..];
        // At most 256, so it fits.
        Fingerprint { len: tail.len() as u16, crc: crc32fast::hash(tail) }
    }
}

/// What was remembered of a generation.
#[derive(Clone, Debug)]
pub struct Remembered<'a> {
    /// Its file.
    pub id: &'a FileId,
    /// The highest position known to have existed.
    pub length: u64,
    /// Fingerprint of the bytes before `length`.
    pub fingerprint: Fingerprint,
}

/// What is seen of a candidate file now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its identity.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// Fingerprint of the bytes before the remembered length, if the file reaches that far.
    pub fingerprint: Option<Fingerprint>,
}

/// How a candidate relates to what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same file, and its content is what it was: go on where it stopped.
    Same,
    /// Another file.
    Replaced,
    /// The same file, but somebody made it shorter, or wrote other content: a new generation, from its start.
    Truncated,
}

/// Judges a candidate.
pub fn judge(remembered: &Remembered<'_>, seen: &Seen) -> Verdict {
    if !remembered.id.is_same_file(&seen.id) {
        return Verdict::Replaced;
    }
    // A position of a sealed file has no fingerprint: its name and length told enough then.
    let no_evidence = remembered.fingerprint.len == 0;
    if seen.size < remembered.length || !(no_evidence || seen.fingerprint == Some(remembered.fingerprint)) {
        return Verdict::Truncated;
    }
    Verdict::Same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(dev: u64, ino: u64, born: Option<i64>, handle: Option<&str>) -> FileId {
        FileId { dev, ino, born, handle: handle.map(str::to_owned) }
    }

    #[test]
    fn a_reused_inode_is_told_apart_by_birth_time_or_handle() {
        assert!(!id(1, 7, Some(1), None).is_same_file(&id(1, 7, Some(2), None)));
        assert!(!id(1, 7, None, Some("aa")).is_same_file(&id(1, 7, None, Some("bb"))));
        assert!(id(1, 7, Some(1), Some("aa")).is_same_file(&id(1, 7, Some(1), Some("aa"))));
    }

    #[test]
    fn a_remount_changes_the_device_and_nothing_else() {
        assert!(id(1, 7, Some(1), Some("aa")).is_same_file(&id(2, 7, Some(1), Some("aa"))));
        assert!(!id(1, 7, Some(1), None).is_same_file(&id(2, 7, Some(1), None)));
    }

    #[test]
    fn missing_facts_are_no_evidence() {
        assert!(id(1, 7, Some(1), None).is_same_file(&id(1, 7, None, Some("aa"))));
        assert!(!id(1, 7, None, None).is_same_file(&id(1, 8, None, None)));
    }

    fn check(length: u64, size: u64, before: &[u8], now: Option<&[u8]>, expected: Verdict) {
        let file = id(1, 7, Some(1), None);
        let remembered = Remembered { id: &file, length, fingerprint: Fingerprint::of(before) };
        let seen = Seen { id: file.clone(), size, fingerprint: now.map(Fingerprint::of) };
        assert_eq!(judge(&remembered, &seen), expected);
    }

    #[test]
    fn a_shorter_file_was_truncated_even_if_its_head_fits() {
        check(100, 50, b"abc", None, Verdict::Truncated);
        check(3, 3, b"abc", Some(b"abc"), Verdict::Same);
        check(3, 900, b"abc", Some(b"abc"), Verdict::Same);
    }

    #[test]
    fn a_file_truncated_and_grown_again_has_other_bytes_before_the_position() {
        check(3, 900, b"abc", Some(b"xyz"), Verdict::Truncated);
    }

    #[test]
    fn a_position_without_fingerprint_is_judged_by_identity_and_size() {
        check(3, 900, b"", Some(b"xyz"), Verdict::Same);
        check(3, 2, b"", None, Verdict::Truncated);
    }

    #[test]
    fn a_fingerprint_covers_the_last_bytes_only() {
        let mut long = vec![b'x'; 1000];
        let a = Fingerprint::of(&long);
        long[0] = b'y';
        assert_eq!(a, Fingerprint::of(&long));
        long[999] = b'y';
        assert_ne!(a, Fingerprint::of(&long));
    }
}
