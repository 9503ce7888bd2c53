//! Flags for every setting, and the settings they and the other sources make.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::config::{self, KEYS, Settings};

/// `--config`, for all commands.
pub fn config_flag() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("GIMP_PLATFORM_CONFIG")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help("Settings file [default: /etc/gimp-platform.toml if it exists]")
}

/// A flag for every setting.
pub fn flags(command: Command) -> Command {
    command.args(KEYS.iter().map(|key| {
        Arg::new(key.name)
            .long(key.flag())
            .value_name(key.value)
            .allow_hyphen_values(true)
            .help(key.help)
            .help_heading("Settings, also as variables GIMP_PLATFORM_<NAME> and in the settings file")
    }))
}

/// From all sources; warns of variables that mean nothing.
///
/// # Errors
/// Names the setting that is wrong, where, and what is allowed.
pub fn read(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let flags: BTreeMap<String, String> = KEYS
        .iter()
        .filter_map(|key| {
            let value: &String = matches.try_get_one(key.name).ok().flatten()?;
            Some((key.name.to_owned(), value.clone()))
        })
        .collect();
    let file: Option<&PathBuf> = matches.get_one("config");
    let loaded = config::load(flags, std::env::vars_os(), file.map(PathBuf::as_path))?;
    for name in loaded.ignored_variables {
        eprintln!("gimp-platform: the environment variable {name} is no setting and is ignored");
    }
    Ok(loaded.settings)
}
