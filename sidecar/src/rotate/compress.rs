//! stub
use std::io;
#[derive(Debug)]
pub struct MemberReader;
impl MemberReader { pub fn new(_f: std::fs::File) -> io::Result<Self> { Ok(Self) } pub fn read_at(&mut self, _p: u64, _b: &mut [u8]) -> io::Result<usize> { Ok(0) } }
