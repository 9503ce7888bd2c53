//! `gimp-platform users`: accounts, for whoever has the machine. Passwords are asked for or read from standard input:
//! arguments can be seen by every user of the machine.

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use sea_orm::DatabaseConnection;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::settings;
use crate::auth::current::Role;
use crate::auth::password::Passwords;
use crate::auth::{accounts, reset};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::entity::user;

pub fn command() -> Command {
    let email = || Arg::new("email").value_name("EMAIL").required(true);
    let role = || PossibleValuesParser::new([Role::User.as_str(), Role::Admin.as_str()]);
    let with_settings = |command: Command| settings::flags(command);
    Command::new("users")
        .about("Add, list and change accounts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(
            Command::new("add")
                .about("Make an account; asks for its password, or reads it from standard input")
                .arg(email())
                .arg(
                    Arg::new("role")
                        .long("role")
                        .value_parser(role())
                        .help("Unless given, the first account is an administrator's, the others are users'"),
                ),
        ))
        .subcommand(with_settings(
            Command::new("list")
                .about("Show all accounts")
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("For programs")),
        ))
        .subcommand(with_settings(
            Command::new("set-role")
                .about("Make somebody an administrator, or a user again")
                .arg(email())
                .arg(Arg::new("role").value_parser(role()).required(true)),
        ))
        .subcommand(with_settings(
            Command::new("reset-password").about("Print a link to set a new password, good for an hour").arg(email()),
        ))
}

/// Does what was asked and returns what to print.
///
/// # Errors
/// In words for whoever asked.
pub async fn run(matches: &ArgMatches) -> anyhow::Result<String> {
    let Some((name, matches)) = matches.subcommand() else { anyhow::bail!("users needs a command") };
    let settings = settings::read(matches)?;
    crate::data_dir::prepare(&settings.data_dir)?;
    let db = open(&settings).await?;
    let done = act(name, matches, &settings, &db).await;
    db.close().await.context("the database could not be closed")?;
    done
}

/// A server may be running on the database, so its schema is brought up to date only where `migrate` would do so.
async fn open(settings: &Settings) -> anyhow::Result<DatabaseConnection> {
    let db = crate::db::connect_only(settings.database().expose()).await.context("the database can't be opened")?;
    if crate::db::pending(&db).await.context("the database can't be read")? > 0 {
        let _lock = crate::data_dir::lock(settings)?;
        crate::db::migrate(&db).await.context("the database can't be brought up to date")?;
    }
    Ok(db)
}

async fn act(name: &str, matches: &ArgMatches, settings: &Settings, db: &DatabaseConnection) -> anyhow::Result<String> {
    let now = Clock::default().now();
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().map(String::as_str).unwrap_or_default();
    let (email, role) = (text("email"), Role::from_sql(text("role")));
    Ok(match name {
        "add" => {
            let passwords = Passwords::new(settings.bcrypt_cost);
            let role = matches.get_one::<String>("role").map(|role| Role::from_sql(role));
            let user = accounts::add(db, &passwords, email, password()?, role, settings.quota_gb, now).await?;
            let first = role.is_none() && Role::from_sql(&user.role) == Role::Admin;
            let why = if first { ": the first account is an administrator's" } else { "" };
            format!("{} has an account now, as {}{why}.\n", user.email, user.role)
        }
        "list" => {
            let users = accounts::list(db).await?;
            if matches.get_flag("json") { json_list(&users)? } else { table(&users) }
        }
        "set-role" => {
            let user = accounts::set_role(db, email, role, now).await?;
            format!("{} has the role {} now.\n", user.email, user.role)
        }
        "reset-password" => {
            let link = reset::make_link_at_command_line(db, &settings.public_url(), email, now).await?;
            format!("{link}\nWho opens this link within an hour can set a new password.\n")
        }
        _ => anyhow::bail!("there is no such command; gimp-platform users --help lists them"),
    })
}

/// Twice from a terminal, once from anything else.
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line).context("no password on standard input")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ")?;
    let second = rpassword::prompt_password("The same again: ")?;
    anyhow::ensure!(first == second, "the two passwords differ; nothing was done");
    Ok(first)
}

fn table(users: &[user::Model]) -> String {
    let width = users.iter().map(|user| user.email.chars().count()).max().unwrap_or_default().max("e-mail".len());
    let mut text = format!("{:width$}  role   active  last sign-in\n", "e-mail");
    for user in users {
        let last = user.last_sign_in_at.map_or_else(|| "never".to_owned(), time_text);
        let active = if user.is_active { "yes" } else { "no" };
        text.push_str(&format!("{:width$}  {:5}  {active:6}  {last}\n", user.email, user.role));
    }
    text
}

fn json_list(users: &[user::Model]) -> anyhow::Result<String> {
    let list: Vec<_> = users
        .iter()
        .map(|user| {
            json!({
                "id": user.id, "email": user.email, "role": user.role, "isActive": user.is_active,
                "createdAt": time_text(user.created_at), "lastSignInAt": user.last_sign_in_at.map(time_text),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}

fn time_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
