//! Several servers on one database: who they are, which of them looks after which session, and what they tell each other.
//!
//! Only adds, so that a server of the version before goes on beside it: sessions that it begins have no keeper here, and
//! it minds no lease. See "Upgrade" in `docs/kubernetes.md`.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_replicas"
    }
}

/// Tells every server of each change, together with the change itself: whoever changes a session can't forget to.
const TELL: &str = "
CREATE FUNCTION gimp_platform_session_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
BEGIN
    IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
    IF TG_OP = 'UPDATE' AND NEW.ended_at IS NOT NULL AND OLD.ended_at IS NULL THEN
        DELETE FROM session_reports WHERE session_id = NEW.id;
    END IF;
    PERFORM pg_notify('gimp_platform', json_build_object('session', json_build_object(
        'id', changed.id, 'user', changed.user_id,
        'asked', changed.end_asked IS NOT NULL OR changed.keep_asked_at IS NOT NULL))::text);
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_changed AFTER INSERT OR UPDATE OR DELETE ON sessions
    FOR EACH ROW EXECUTE FUNCTION gimp_platform_session_changed();
CREATE FUNCTION gimp_platform_report_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('gimp_platform', json_build_object('session', json_build_object(
        'id', s.id, 'user', s.user_id, 'asked', false))::text)
    FROM sessions s WHERE s.id = NEW.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER session_reports_changed AFTER INSERT OR UPDATE ON session_reports
    FOR EACH ROW EXECUTE FUNCTION gimp_platform_report_changed();";

const TELL_NO_MORE: &str = "
DROP TRIGGER session_reports_changed ON session_reports;
DROP TRIGGER sessions_changed ON sessions;
DROP FUNCTION gimp_platform_report_changed();
DROP FUNCTION gimp_platform_session_changed();";

fn added() -> [ColumnDef; 5] {
    [
        // The server that looks after the session, and the term of that server in which it took it.
        uuid_null("keeper"),
        big_integer_null("keeper_term"),
        // Grows each time the session is taken: the fence for whoever had it before.
        big_integer("term").default(0).take(),
        // What its user asked another server for.
        string_len_null("end_asked", 20),
        timestamp_with_time_zone_null("keep_asked_at"),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite as well: a server that was killed halfway begins anew.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, m: &SchemaManager) -> Result<(), DbErr> {
        for column in added() {
            // One at a time: SQLite takes no more.
            m.alter_table(Table::alter().table("sessions").add_column(column).to_owned()).await?;
        }
        m.create_table(
            Table::create()
                .table("servers")
                .col(uuid("id").primary_key())
                // Grows each time the server begins anew.
                .col(big_integer("term"))
                // Alive at least until then, by the database's clock.
                .col(timestamp_with_time_zone("until"))
                .col(string_len("driver", 20))
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("leases")
                .col(string_len("name", 40).primary_key())
                .col(uuid("keeper"))
                .col(big_integer("keeper_term"))
                .col(big_integer("term"))
                .to_owned(),
        )
        .await?;
        m.create_table(
            Table::create()
                .table("session_reports")
                .col(uuid("session_id").primary_key())
                .col(text("body"))
                .foreign_key(
                    ForeignKey::create()
                        .from("session_reports", "session_id")
                        .to("sessions", "id")
                        .on_delete(ForeignKeyAction::Cascade),
                )
                .to_owned(),
        )
        .await?;
        // Few of all rows, and looked for each second.
        m.get_connection()
            .execute_unprepared("CREATE INDEX sessions_active ON sessions (id) WHERE ended_at IS NULL")
            .await?;
        if m.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
            m.get_connection().execute_unprepared(TELL).await?;
        }
        Ok(())
    }

    async fn down(&self, m: &SchemaManager) -> Result<(), DbErr> {
        if m.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
            m.get_connection().execute_unprepared(TELL_NO_MORE).await?;
        }
        m.get_connection().execute_unprepared("DROP INDEX sessions_active").await?;
        for table in ["session_reports", "leases", "servers"] {
            m.drop_table(Table::drop().table(table).if_exists().to_owned()).await?;
        }
        for column in added() {
            let name = column.get_column_name();
            m.alter_table(Table::alter().table("sessions").drop_column(name).to_owned()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, Database};
    use sea_orm_migration::MigratorTrait;

    use crate::db::migration::Migrator;
    use crate::test_app::TestDatabase;

    #[tokio::test]
    async fn a_migration_that_failed_halfway_is_done_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let postgres = TestDatabase::create().await;
        let file = format!("sqlite://{}?mode=rwc", folder.path().join("test.sqlite").display());
        let db = Database::connect(postgres.as_ref().map_or(file, TestDatabase::url)).await.unwrap();
        Migrator::up(&db, Some(1)).await.unwrap();
        // Stands in the way of what comes after the new columns.
        db.execute_unprepared("CREATE TABLE leases (id INTEGER)").await.unwrap();
        crate::db::migrate(&db).await.expect_err("the name is taken");
        db.execute_unprepared("DROP TABLE leases").await.unwrap();
        crate::db::migrate(&db).await.expect("nothing of the first attempt is left");
        assert_eq!(crate::db::pending(&db).await.unwrap(), 0);

        Migrator::down(&db, Some(2)).await.expect("there is a way back");
        crate::db::migrate(&db).await.expect("and forth");
        db.close().await.unwrap();
    }
}
