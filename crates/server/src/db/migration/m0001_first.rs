//! Users, sessions and storage quotas as the MVP specification has them, and what sign-in, invites and the logs need.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

fn time(name: &'static str) -> ColumnDef {
    timestamp_with_time_zone(name)
}

fn time_null(name: &'static str) -> ColumnDef {
    timestamp_with_time_zone_null(name)
}

fn owner(table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().from(table, "user_id").to("users", "id").on_delete(ForeignKeyAction::Cascade).to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(clippy::too_many_lines, reason = "one table after the other reads best")]
    async fn up(&self, m: &SchemaManager) -> Result<(), DbErr> {
        m.create_table(
            Table::create()
                .table("users")
                .col(uuid("id").primary_key())
                .col(string_len("email", 255).unique_key())
                .col(string_len("password_hash", 255))
                .col(string_len_null("first_name", 100))
                .col(string_len_null("last_name", 100))
                .col(string_len("role", 20))
                .col(time("created_at"))
                .col(time("updated_at"))
                .col(boolean("is_active").default(true))
                .col(time_null("last_sign_in_at"))
                // Offset from the configured first uid; each user's sessions run as their own uid.
                .col(integer_null("uid_offset").unique_key())
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("sessions")
                .col(uuid("id").primary_key())
                .col(uuid("user_id"))
                .col(string_len("application", 50).default("gimp"))
                .col(string_len("status", 20).default("starting"))
                .col(string_len_null("step", 40))
                .col(string_len_null("stage", 40))
                // Where it runs: a pod's name in a cluster, the driver's handle on one machine.
                .col(string_len_null("pod_name", 255))
                .col(string_len_null("endpoint_url", 500))
                .col(time("created_at"))
                .col(time_null("started_at"))
                .col(time_null("ended_at"))
                .col(time_null("expires_at"))
                .col(string_len("cpu_request", 20).default("1000m"))
                .col(string_len("memory_request", 20).default("2Gi"))
                .col(string_len_null("end_reason", 20))
                .col(string_len_null("end_detail", 500))
                // 0-based slot among the user's running sessions, NULL once ended: the unique index below is what
                // enforces the limit, whatever the number of writers.
                .col(integer_null("slot"))
                .col(integer("screen_width").default(1280))
                .col(integer("screen_height").default(800))
                .col(float("screen_scale").default(1.0))
                .foreign_key(&mut owner("sessions"))
                .to_owned(),
        )
        .await?;
        m.create_index(
            Index::create().name("sessions_user_slot").table("sessions").col("user_id").col("slot").unique().to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("sessions_status").table("sessions").col("status").to_owned()).await?;
        m.create_table(
            Table::create()
                .table("storage_quotas")
                .col(uuid("id").primary_key())
                .col(uuid_uniq("user_id"))
                .col(integer("storage_gb").default(20))
                .col(integer("used_gb").default(0))
                .col(big_integer("used_bytes").default(0))
                .col(time("created_at"))
                .col(time("updated_at"))
                .foreign_key(&mut owner("storage_quotas"))
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("sign_ins")
                .col(uuid("id").primary_key())
                .col(uuid("user_id"))
                .col(time("created_at"))
                .col(time("last_used_at"))
                .col(time_null("revoked_at"))
                .col(string_len("address", 64))
                .col(string_len_null("user_agent", 400))
                .foreign_key(&mut owner("sign_ins"))
                .to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("sign_ins_user").table("sign_ins").col("user_id").to_owned()).await?;
        m.create_table(
            Table::create()
                .table("tokens")
                // SHA-256 of the opaque token, hex.
                .col(string_len("hash", 64).primary_key())
                .col(uuid("sign_in_id"))
                .col(string_len("kind", 10))
                .col(time("expires_at"))
                // A refresh token that has been exchanged; seen again, it is theft.
                .col(time_null("used_at"))
                .foreign_key(
                    ForeignKey::create()
                        .from("tokens", "sign_in_id")
                        .to("sign_ins", "id")
                        .on_delete(ForeignKeyAction::Cascade),
                )
                .to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("tokens_sign_in").table("tokens").col("sign_in_id").to_owned()).await?;
        m.create_index(Index::create().name("tokens_expires").table("tokens").col("expires_at").to_owned()).await?;
        m.create_table(
            Table::create()
                .table("login_failures")
                // SHA-256 of the address typed, hex, whether or not an account has it.
                .col(string_len("email_hash", 64).primary_key())
                .col(integer("failures"))
                .col(time("last_at"))
                .col(time_null("locked_until"))
                .to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("login_failures_last").table("login_failures").col("last_at").to_owned())
            .await?;
        m.create_table(
            Table::create()
                .table("password_resets")
                .col(string_len("hash", 64).primary_key())
                .col(uuid("user_id"))
                .col(time("expires_at"))
                .col(time_null("used_at"))
                .foreign_key(&mut owner("password_resets"))
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("invites")
                .col(string_len("hash", 64).primary_key())
                .col(string_len_null("email", 255))
                .col(uuid_null("created_by"))
                .col(time("created_at"))
                .col(time("expires_at"))
                .col(time_null("used_at"))
                .col(uuid_null("used_by"))
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("audit_log")
                .col(uuid("id").primary_key())
                .col(time("at"))
                .col(string_len("kind", 60))
                .col(uuid_null("user_id"))
                .col(string_len_null("email", 255))
                .col(string_len_null("address", 64))
                .col(string_len_null("detail", 500))
                .to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("audit_log_at").table("audit_log").col("at").to_owned()).await?;
        m.create_table(
            Table::create()
                .table("access_log")
                .col(uuid("id").primary_key())
                .col(time("at"))
                .col(string_len("method", 10))
                // The route's template, never the path itself: paths can hold file names.
                .col(string_len("route", 200))
                .col(integer("status"))
                .col(integer("duration_ms"))
                .col(uuid_null("user_id"))
                .col(string_len_null("address", 64))
                .col(string_len("request_id", 64))
                .to_owned(),
        )
        .await?;
        m.create_index(Index::create().name("access_log_at").table("access_log").col("at").to_owned()).await
    }

    async fn down(&self, m: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            "access_log",
            "audit_log",
            "invites",
            "password_resets",
            "login_failures",
            "tokens",
            "sign_ins",
            "storage_quotas",
            "sessions",
            "users",
        ] {
            m.drop_table(Table::drop().table(table).if_exists().to_owned()).await?;
        }
        Ok(())
    }
}
