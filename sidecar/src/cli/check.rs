//! `check`: does the configuration parse, and what does it come to?

use std::path::Path;
use std::process::ExitCode;

use crate::config_source::load;

/// Prints the effective settings of every policy, or what is wrong.
pub fn run(path: &Path) -> ExitCode {
    match load(path) {
        Ok(configs) => {
            for config in configs {
                println!("{}", capstan_config::render(&config).trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
