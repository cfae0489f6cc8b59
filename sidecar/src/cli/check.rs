//! `check`: does the configuration parse, and what does it come to?

use std::path::Path;
use std::process::ExitCode;

use crate::config_source::load;

/// Prints the effective settings of every policy, or what is wrong.
pub fn run(path: &Path) -> ExitCode {
    match load(path) {
        Ok(loaded) => {
            for config in &loaded.configs {
                println!("{}", capstan_config::render(config).trim_end());
            }
            for (_, error) in &loaded.failed {
                eprintln!("{error}");
            }
            if loaded.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
