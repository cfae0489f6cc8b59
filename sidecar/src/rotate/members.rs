//! Compressed archives in pieces: a gzip file made of members of 1 MiB, each of which says how long it is.
//!
//! In: bytes to compress, or bytes of a compressed archive. Out: the other. Always: every standard gzip tool reads
//! the whole file (RFC 1952 §2.2 allows many members), and whoever knows the extra field can hop from member to
//! member, so an interrupted run resumes behind the last whole member, and any position can be read without
//! what is before it. The price is about 0.4 % in size.
//!
//! The extra field (RFC 1952 §2.3.1.1) has the identifier `CP` and two numbers, little-endian: bytes of this
//! member from its first to its last, and bytes that come out of it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use thiserror::Error;

/// How many bytes go into one member.
pub const MEMBER_BYTES: usize = 1 << 20;

/// Bytes before a member's compressed data.
pub const HEADER_BYTES: usize = 24;

/// How much a buffer for compressed bytes is larger than its input.
const SLACK_BYTES: usize = 4_096;

/// Bytes behind it: check sum and length.
const TRAILER_BYTES: usize = 8;

/// Most bytes that a member may claim to hold, either way: a limit for memory when reading.
const LARGEST_BYTES: u32 = 4 << 20;

/// What every header begins with: gzip, deflate, "has an extra field", no time, no hint, made on Unix, extra field of
/// 12 bytes, identifier `CP`, 8 bytes of value. RFC 1952 §2.3.
const FIXED: [u8; 16] = [0x1f, 0x8b, 8, 0x04, 0, 0, 0, 0, 0, 3, 12, 0, b'C', b'P', 8, 0];

/// What a member says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes in the file, header and trailer included.
    pub compressed: u32,
    /// Bytes that come out.
    pub uncompressed: u32,
}

/// Why some bytes are no whole member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MemberError {
    /// The file ends within it: writing was interrupted.
    #[error("the compressed file ends within a member")]
    Torn,
    /// Not written by this program.
    #[error("this part of the compressed file was not written by capstan")]
    Foreign,
    /// Lengths or check sum do not fit.
    #[error("a member of the compressed file is damaged")]
    Damaged,
    /// The library failed, which it does only if memory or arguments are wrong.
    #[error("compressing failed")]
    Library,
}

/// Where a member begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Boundary {
    /// Bytes before it in the compressed file.
    pub compressed: u64,
    /// Bytes that come out of all members before it.
    pub uncompressed: u64,
}

impl Boundary {
    /// Where the next member begins.
    pub fn after(self, member: Member) -> Self {
        Boundary {
            compressed: self.compressed + u64::from(member.compressed),
            uncompressed: self.uncompressed + u64::from(member.uncompressed),
        }
    }
}

/// Compresses members one after another, reusing its memory.
#[derive(Debug)]
pub struct Encoder {
    deflate: Compress,
}

impl Encoder {
    /// An encoder of this level: 1 is fast, 9 is small, 6 is what gzip does.
    pub fn new(level: u32) -> Self {
        Encoder { deflate: Compress::new(Compression::new(level.clamp(1, 9)), false) }
    }

    /// Puts `input`, at most [`MEMBER_BYTES`], as one member into `output`, which is emptied before.
    ///
    /// # Errors
    ///
    /// [`MemberError::Library`] only.
    pub fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Member, MemberError> {
        output.clear();
        // Text shrinks; what cannot be made smaller grows by a few bytes, and then the buffer does too.
        output.reserve(HEADER_BYTES + TRAILER_BYTES + input.len() + SLACK_BYTES);
        output.resize(HEADER_BYTES, 0);
        self.deflate(input, output)?;
        let uncompressed = u32::try_from(input.len()).map_err(|_| MemberError::Library)?;
        output.extend_from_slice(&crc32fast::hash(input).to_le_bytes());
        output.extend_from_slice(&uncompressed.to_le_bytes());
        let compressed = u32::try_from(output.len()).map_err(|_| MemberError::Library)?;
        let member = Member { compressed, uncompressed };
        output.get_mut(..HEADER_BYTES).ok_or(MemberError::Library)?.copy_from_slice(&encode_header(member));
        Ok(member)
    }

    fn deflate(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), MemberError> {
        self.deflate.reset();
        loop {
            let consumed = usize::try_from(self.deflate.total_in()).map_err(|_| MemberError::Library)?;
            let rest = input.get(consumed..).ok_or(MemberError::Library)?;
            match self.deflate.compress_vec(rest, output, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return Ok(()),
                Ok(Status::Ok | Status::BufError) => output.reserve(SLACK_BYTES),
                Err(_) => return Err(MemberError::Library),
            }
        }
    }
}

fn encode_header(member: Member) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..16].copy_from_slice(&FIXED);
    header[16..20].copy_from_slice(&member.compressed.to_le_bytes());
    header[20..].copy_from_slice(&member.uncompressed.to_le_bytes());
    header
}

/// Reads the header that stands `remaining` bytes before the end of the file. `bytes` begins with it.
///
/// # Errors
///
/// [`MemberError::Torn`] if the member is longer than what remains, [`MemberError::Foreign`] or
/// [`MemberError::Damaged`] if this is no header of ours.
pub fn parse_header(bytes: &[u8], remaining: u64) -> Result<Member, MemberError> {
    if !bytes.starts_with(FIXED.get(..bytes.len().min(FIXED.len())).unwrap_or_default()) {
        return Err(MemberError::Foreign);
    }
    let number = |from: usize| {
        let bytes = bytes.get(from..from + 4)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    let (Some(compressed), Some(uncompressed)) = (number(16), number(20)) else {
        return Err(MemberError::Torn);
    };
    let shortest = (HEADER_BYTES + TRAILER_BYTES) as u32;
    if !(shortest..=LARGEST_BYTES).contains(&compressed) || uncompressed > LARGEST_BYTES {
        return Err(MemberError::Damaged);
    }
    if u64::from(compressed) > remaining {
        return Err(MemberError::Torn);
    }
    Ok(Member { compressed, uncompressed })
}

/// Decompresses members one after another, reusing its memory.
#[derive(Debug)]
pub struct Decoder {
    inflate: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { inflate: Decompress::new(false) }
    }
}

impl Decoder {
    /// Puts what comes out of the member `bytes` into `output`, which is emptied before, and checks it.
    ///
    /// # Errors
    ///
    /// `bytes` is not exactly one whole member; `output` is worth nothing then.
    pub fn decode(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<Member, MemberError> {
        let member = parse_header(bytes, bytes.len() as u64)?;
        let deflated = bytes.get(HEADER_BYTES..member.compressed as usize - TRAILER_BYTES);
        let trailer = bytes.get(member.compressed as usize - TRAILER_BYTES..);
        let (Some(deflated), Some(trailer)) = (deflated, trailer) else { return Err(MemberError::Damaged) };
        output.clear();
        // One more than needed, so that a full buffer does not look like one that is too small.
        output.reserve(member.uncompressed as usize + 1);
        self.inflate.reset(false);
        let status = self.inflate.decompress_vec(deflated, output, FlushDecompress::Finish);
        let whole =
            matches!(status, Ok(Status::StreamEnd)) && self.inflate.total_in() == deflated.len() as u64;
        let mut expected = crc32fast::hash(output).to_le_bytes().to_vec();
        expected.extend_from_slice(&member.uncompressed.to_le_bytes());
        if whole && output.len() == member.uncompressed as usize && trailer == expected {
            Ok(member)
        } else {
            Err(MemberError::Damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn encode(input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let member = Encoder::new(6).encode(input, &mut output).unwrap();
        assert_eq!((member.compressed as usize, member.uncompressed as usize), (output.len(), input.len()));
        output
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, MemberError> {
        let mut output = Vec::new();
        Decoder::default().decode(bytes, &mut output).map(|_| output)
    }

    /// Bytes that no compressor makes smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn another_reader_of_gzip_reads_our_members() {
        let mut file = encode(b"hello ");
        file.extend(encode(b""));
        file.extend(encode(b"world\n"));
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world\n");
    }

    #[test]
    fn a_full_member_of_noise_fits() {
        let input = noise(MEMBER_BYTES);
        for level in [0, 1, 3, 6, 9] {
            let mut output = Vec::new();
            Encoder::new(level).encode(&input, &mut output).unwrap();
            assert_eq!(decode(&output).unwrap(), input);
        }
    }

    #[test]
    fn encoder_and_decoder_can_be_used_again() {
        let (mut encoder, mut decoder) = (Encoder::new(6), Decoder::default());
        let (mut member, mut output) = (Vec::new(), Vec::new());
        for input in [noise(5_000), b"x".repeat(MEMBER_BYTES), Vec::new(), noise(3)] {
            encoder.encode(&input, &mut member).unwrap();
            assert_eq!(decoder.decode(&member[..member.len() - 1], &mut output), Err(MemberError::Torn));
            decoder.decode(&member, &mut output).unwrap();
            assert_eq!(output, input);
        }
    }

    #[test]
    fn an_ordinary_gzip_file_is_foreign() {
        let ordinary = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
        assert_eq!(parse_header(&ordinary, 1_000), Err(MemberError::Foreign));
        assert_eq!(parse_header(&[0; HEADER_BYTES], 1_000), Err(MemberError::Foreign));
    }

    #[test]
    fn claims_that_cannot_be_are_damage() {
        for (compressed, uncompressed) in [(31, 1), (LARGEST_BYTES + 1, 1), (100, LARGEST_BYTES + 1)] {
            let header = encode_header(Member { compressed, uncompressed });
            assert_eq!(parse_header(&header, u64::MAX), Err(MemberError::Damaged));
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_out_again(input in prop::collection::vec(any::<u8>(), 0..5_000)) {
            prop_assert_eq!(decode(&encode(&input)), Ok(input));
        }

        #[test]
        fn a_member_cut_anywhere_is_torn(input in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..1_000) {
            let whole = encode(&input);
            let cut = cut % whole.len();
            prop_assert_eq!(decode(&whole[..cut]), Err(MemberError::Torn));
            prop_assert_eq!(parse_header(&whole[..cut.min(HEADER_BYTES)], cut as u64), Err(MemberError::Torn));
        }

        #[test]
        fn a_flipped_bit_never_changes_what_comes_out(input in prop::collection::vec(any::<u8>(), 1..200), place in 0_usize..10_000, bit in 0_u8..8) {
            let mut member = encode(&input);
            let place = place % member.len();
            member[place] ^= 1_u8 << bit;
            // Bits that only fill up the last byte of the data mean nothing.
            prop_assert!(decode(&member).is_err() || decode(&member) == Ok(input));
        }

        #[test]
        fn no_bytes_at_all_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300), claim: u32, size: u32) {
            let mut forged = encode_header(Member { compressed: claim % 400, uncompressed: size }).to_vec();
            forged.extend(bytes);
            prop_assert!(decode(&forged).is_err());
        }
    }
}
