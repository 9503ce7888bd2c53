//! `gimp-session`: the program in a session's sandbox that owns display, GIMP, picture and input.

mod api;
mod check;
mod display;
mod documents;
mod encode;
mod gimp;
mod handover;
mod history;
mod metrics;
mod picture;
mod session;
mod settings;
mod supervise;
mod transport;
mod wake;
mod warm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use protocol::agent::paths;
use settings::{Folders, Listen};
use supervise::guard::{self, BAD_CONFIGURATION, Inherited};
use supervise::os;
use tracing_subscriber::EnvFilter;

/// Runs one GIMP session: display, window manager, GIMP, and an HTTP API to watch and steer them.
#[derive(Debug, Parser)]
#[command(name = "gimp-session", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a session until it ends (the default).
    Run(RunOptions),
    /// Makes the start-up caches that let GIMP start fast in a new workspace.
    Warm(warm::WarmOptions),
    /// Copies config.json and token from a folder that is only read to the run folder.
    Unpack(handover::UnpackOptions),
    /// Says as JSON which of the programs needed are installed.
    Check,
    /// The agent below the guard; started by `run` only.
    #[command(hide = true)]
    Agent(AgentOptions),
}

#[derive(Debug, Args)]
struct RunOptions {
    /// Private folder with config.json and token; sockets and logs go there.
    #[arg(long, env = "GIMP_SESSION_RUN_DIR", default_value = paths::RUN_DIR)]
    run_dir: PathBuf,
    /// The workspace.
    #[arg(long, env = "GIMP_SESSION_HOME", default_value = paths::HOME)]
    home: PathBuf,
    /// Start-up caches made by `gimp-session warm`; may be absent.
    #[arg(long, env = "GIMP_SESSION_WARM_DIR", default_value = paths::WARM_DIR)]
    warm_dir: PathBuf,
    /// Path of a Unix socket, or ADDRESS:PORT. Default: agent.sock in the run folder.
    #[arg(long, env = "GIMP_SESSION_LISTEN")]
    listen: Option<Listen>,
    /// File that the last status goes to at the end: a container's termination message.
    #[arg(long, env = "GIMP_SESSION_LAST_WORDS")]
    last_words: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AgentOptions {
    #[command(flatten)]
    run: RunOptions,
    /// Take over a session whose agent was killed.
    #[arg(long)]
    take_over: bool,
    /// Take over a session whose agents keep dying, and end it.
    #[arg(long)]
    give_up: bool,
}

impl RunOptions {
    fn folders(&self) -> Folders {
        Folders { run: self.run_dir.clone(), home: self.home.clone(), warm: self.warm_dir.clone() }
    }

    fn listen(&self) -> Listen {
        self.listen.clone().unwrap_or_else(|| Listen::Unix(self.run_dir.join(paths::AGENT_SOCKET)))
    }

    /// For the agent below the guard.
    fn arguments(&self) -> Vec<OsString> {
        let listen = match self.listen() {
            Listen::Unix(path) => {
                let mut text = OsString::from("unix:");
                text.push(path);
                text
            }
            Listen::Tcp(address) => address.to_string().into(),
        };
        let mut arguments: Vec<OsString> = Vec::new();
        arguments.extend(["--run-dir".into(), self.run_dir.clone().into()]);
        arguments.extend(["--home".into(), self.home.clone().into()]);
        arguments.extend(["--warm-dir".into(), self.warm_dir.clone().into()]);
        arguments.extend(["--listen".into(), listen]);
        arguments
    }
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("GIMP_SESSION_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    os::ignore_file_size_signal();
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(options) => block_on(run(options)),
        Command::Agent(options) => block_on(agent(options)),
        Command::Warm(options) => block_on(warm::run(options)).map(|()| ExitCode::SUCCESS),
        Command::Unpack(options) => handover::unpack(&options).map(|()| ExitCode::SUCCESS),
        Command::Check => check::print().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        tracing::error!(error = format!("{error:#}"), "gimp-session stops");
        ExitCode::from(BAD_CONFIGURATION)
    })
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    // A thread may wait for an X server that no longer answers.
    runtime.shutdown_background();
    result
}

async fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    let folders = options.folders();
    settings::read_config(&folders)?;
    let token = settings::take_token(&folders)?;
    let ended = guard::run(&token, &options.arguments()).await;
    if let Some(path) = &options.last_words
        && let Err(error) = handover::leave_last_words(&folders, path)
    {
        tracing::warn!(%error, "the last status can't be left behind");
    }
    ended
}

async fn agent(options: AgentOptions) -> anyhow::Result<ExitCode> {
    let (token, inherited) = Inherited::open().await.context("started without a guard")?;
    let folders = options.run.folders();
    let config = settings::read_config(&folders)?;
    let begin = match options {
        AgentOptions { give_up: true, .. } => session::Begin::GiveUp,
        AgentOptions { take_over: true, .. } => session::Begin::TakeOver,
        AgentOptions { .. } => session::Begin::Fresh,
    };
    let (session, shared) =
        session::Session::new(session::Setup { folders, config, inherited: Some(inherited), begin })?;
    let listen = options.run.listen();
    let api = tokio::spawn(async move { api::serve(&listen, shared, &token).await });
    tokio::select! {
        ended = session.run() => {
            let reason = ended?;
            tracing::info!(%reason, "session ended");
            Ok(ExitCode::SUCCESS)
        }
        failed = api => {
            failed??;
            anyhow::bail!("the API stopped")
        }
    }
}
