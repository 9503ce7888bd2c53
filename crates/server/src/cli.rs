//! The command line of `gimp-platform`.

mod settings;
mod users;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::clock::Clock;
use crate::state::App;

/// Threads for work that blocks: password hashes, files. Each idle one costs memory; more work waits.
const BLOCKING_THREADS: usize = 32;

/// Runs the program; returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    match run(&matches) {
        Ok(code) => code,
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
        .arg_required_else_help(true)
        .arg(settings::config_flag())
        .subcommand(settings::flags(
            Command::new("serve").about("Serve pages, API and sessions").arg(
                Arg::new("print-settings")
                    .long("print-settings")
                    .action(ArgAction::SetTrue)
                    .help("Show the settings that would be used, without secrets, and leave"),
            ),
        ))
        .subcommand(settings::flags(
            Command::new("migrate").about("Make the database, or bring its schema up to date, and leave"),
        ))
        .subcommand(users::command())
        .subcommand(settings::flags(
            Command::new("doctor")
                .about(
                    "Look at this machine: what works, what is missing, how to get it. Fails if sessions can't start",
                )
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("For programs")),
        ))
        .subcommand(Command::new("openapi").about("Print the description of the API"))
}

fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("serve", matches)) if matches.get_flag("print-settings") => {
            print!("{}", toml::to_string(&settings::read(matches)?)?);
        }
        Some(("serve", matches)) => {
            let settings = settings::read(matches)?;
            crate::telemetry::init(&settings)?;
            runtime()?.block_on(crate::serve::serve(settings))?;
        }
        Some(("migrate", matches)) => {
            let settings = settings::read(matches)?;
            crate::telemetry::init(&settings)?;
            crate::data_dir::prepare(&settings.data_dir)?;
            let _lock = crate::data_dir::lock(&settings)?;
            runtime()?.block_on(async {
                let app = App::open(settings, Clock::default()).await?;
                app.background.end().await;
                app.db.close().await.context("the database could not be closed")
            })?;
            println!("The database is up to date.");
        }
        Some(("users", matches)) => print!("{}", runtime()?.block_on(users::run(matches))?),
        Some(("doctor", matches)) => {
            let settings = settings::read(matches)?;
            let report = runtime()?.block_on(crate::doctor::examine(&settings));
            if matches.get_flag("json") {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", report.text());
            }
            return Ok(if report.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some(("openapi", _)) => print!("{}", crate::api::openapi::json()?),
        _ => anyhow::bail!("there is no such command; gimp-platform --help lists them"),
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("can't start threads")
}
