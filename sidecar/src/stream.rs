//! Streams, their generations, and how far each destination has confirmed them.
//!
//! A *stream* is one log path. Its *generations* are the files that have carried that path, numbered from 1.
//! A *position* is a byte counted from its generation's birth; compressing a file does not change positions.
//! What is decided about them is pure (P), what touches files is not (E).

pub mod identity; // P  is the file seen now the one remembered?
pub mod marks; // P  when a line was first seen
pub mod ledger; // P  what a restart needs to know
pub mod enlist; // P  which destinations a generation goes to, when settings change
pub mod store; // E  puts that on disk so that a crash leaves a whole one
pub mod state; // E  the directory that holds it

pub mod open; // E  a volume's files, and which file each is
pub mod feed; // E  one generation, shared between those who watch and those who read it
pub mod volume; // E  one directory of logs: the only place where ledger and feeds change
pub mod deliver; // E  the same, as forwarders see it
pub mod place; // E  what the watcher finds, entered into the ledger
pub mod turn; // E  what the rotator does, entered into the ledger
pub mod recover; // E  what a restart finds
pub mod settle; // E  other settings while everything runs
pub mod adopt; // E  archives that no ledger knows of
