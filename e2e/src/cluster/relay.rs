//! The way from the machine's loopback to the API server. In: connections on the socket that is standard input; out:
//! the same bytes on connections inside the node, and back.
//!
//! A socket stays in the network namespace it was made in. This one was made outside, so the machine reaches the API
//! server without any interface, address or rule of its own.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result};

/// The API server inside the node.
const API_SERVER: &str = "127.0.0.1:6443";

/// Relays until it is killed.
pub fn run() -> Result<()> {
    let inherited = io::stdin().as_fd().try_clone_to_owned()?;
    for accepted in TcpListener::from(inherited).incoming() {
        let outside = accepted.context("standard input is no listening socket")?;
        // While the API server is away the connection is closed, which clients take as a reason to try again.
        let Ok(inside) = TcpStream::connect(API_SERVER) else { continue };
        relay(outside, inside).context("cannot relay a connection")?;
    }
    Ok(())
}

/// One thread for each direction, so that either may end before the other.
fn relay(outside: TcpStream, inside: TcpStream) -> io::Result<()> {
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    let (outside_too, inside_too) = (outside.try_clone()?, inside.try_clone()?);
    thread::spawn(move || pass(outside, inside));
    thread::spawn(move || pass(inside_too, outside_too));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // A broken connection ends both ways; there is nobody to tell but the two ends, who see it.
    if io::copy(&mut from, &mut to).is_err() {
        let _closed = from.shutdown(Shutdown::Both);
    }
    let _closed = to.shutdown(Shutdown::Write);
}
