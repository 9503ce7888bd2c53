//! The command line of `gimp-platform`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command};

use crate::clock::Clock;
use crate::config::{self, KEYS, Settings};
use crate::state::App;

/// Runs the program; returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    match run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gimp-platform: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    Command::new("gimp-platform")
        .about("GIMP in the browser: control plane and gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .env("GIMP_PLATFORM_CONFIG")
                .value_parser(clap::value_parser!(PathBuf))
                .global(true)
                .help("Settings file [default: /etc/gimp-platform.toml if it exists]"),
        )
        .subcommand(settings_flags(Command::new("serve").about("Serve pages, API and sessions")))
        .subcommand(Command::new("openapi").about("Print the description of the API"))
        .subcommand(settings_flags(Command::new("migrate").about("Bring the database's schema up to date and leave")))
}

/// A flag for every setting.
fn settings_flags(command: Command) -> Command {
    command.args(
        KEYS.iter().map(|key| {
            Arg::new(key.name).long(key.flag()).value_name(key.value).help(key.help).help_heading("Settings")
        }),
    )
}

fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    match matches.subcommand() {
        Some(("serve", matches)) => {
            let settings = settings(matches)?;
            crate::telemetry::init(&settings)?;
            runtime()?.block_on(async {
                let app = App::open(settings, Clock::default()).await?;
                crate::serve::serve(app).await
            })
        }
        Some(("migrate", matches)) => {
            let settings = settings(matches)?;
            crate::telemetry::init(&settings)?;
            runtime()?.block_on(async { App::open(settings, Clock::default()).await.map(drop) })
        }
        Some(("openapi", _)) => {
            print!("{}", crate::api::openapi::json()?);
            Ok(())
        }
        _ => unreachable!("clap requires a subcommand"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start threads")
}

fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
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
