//! Keeps the house as its plan says: what is marked pure stays pure, and files stay small enough to be read.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::path::Path;

use capstan_peers::house;

#[test]
fn what_is_marked_pure_is_pure_files_can_be_read_and_unsafe_code_is_where_it_may_be() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let complaints = house::complaints(package, &["std::net"], &["src/sys.rs"]).unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
