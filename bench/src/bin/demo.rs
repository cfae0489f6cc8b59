//! `make demo`: exit code 0 only if nothing is missing, 130 if it was interrupted.

use std::process::ExitCode;

use capstan_bench::demo::{self, Outcome};

fn main() -> ExitCode {
    match demo::run() {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete(directory)) => {
            eprintln!("everything is kept in {}", directory.display());
            ExitCode::FAILURE
        }
        Ok(Outcome::Interrupted) => {
            eprintln!("interrupted; everything was stopped and removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
