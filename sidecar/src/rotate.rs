//! Rotation: give a log path a new file, prove that the old one has no writer left, keep what it held.
//!
//! In the order in which a rotation passes them. Deciding is pure (P), acting and looking are thin (E), and
//! whoever drives them observes again after every step. Blank lines keep that order through formatting.

// What is on disk.
pub mod naming; // P  what an archive is called

pub mod attributes; // E  owner, mode, lists and user attributes of a new file

// One rotation.
pub mod due; // P  is a log due?

pub mod plan; // P  what next about an old file that may still be written?

pub mod schedule; // P  is a scheduled rotation due?

pub mod exchange; // E  a new file in the log's place, the old one under its archive name

pub mod process; // P  what /proc says about one process

pub mod processes; // E  all processes, and who may write to a file

pub mod pid_file; // E  what a pid file says, and since when

pub mod targets; // P  which processes get the signal

pub mod signal; // E  sends it to exactly those, and sees whether they die of it

pub mod breaker; // P  never signals again what did

pub mod probe; // E  may anybody still write to the old file?

pub mod reopen; // P  has the writer reopened, and when to signal again

// What becomes of archives.
pub mod retention; // P  which archives are deleted

pub mod clocks; // E  the two clocks it compares

pub mod members; // P  gzip in pieces that can be hopped over

pub mod member_file; // E  hops through such a file

pub mod compress; // E  makes one, step by step

pub mod remove; // E  removes the plain file then

pub mod archive_reader; // E  reads them from any position

pub mod keep; // E  deletes what is beyond its limits

// All of it.
pub mod act; // E  gives one stream a new file

pub mod campaign; // E  signals the targets of one rotation

pub mod compressor; // E  the thread that compresses

pub mod rotator; // E  the thread that rotates: observes, plans, acts, observes again
