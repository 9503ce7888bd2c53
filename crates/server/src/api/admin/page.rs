//! Long lists, newest first, in pages. Ids sort by time of creation, so the last one of a page is where the next one
//! goes on, whatever is added meanwhile.

use uuid::Uuid;

use crate::error::Problem;

/// Rows of a page unless asked otherwise.
const DEFAULT: u64 = 50;
/// Most rows of a page.
const MAX: u64 = 200;

/// What every paged list takes.
#[derive(Debug, Clone, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// `nextCursor` of the page before.
    pub cursor: Option<String>,
    /// Rows of the page, 1..=200; 50 unless given.
    pub limit: Option<u64>,
}

impl PageQuery {
    /// Rows to answer with.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.limit.unwrap_or(DEFAULT).clamp(1, MAX)
    }

    /// The id before which the page begins.
    ///
    /// # Errors
    /// 422 when it is not one of ours.
    pub fn before(&self) -> Result<Option<Uuid>, Problem> {
        let parse = |cursor: &String| {
            Uuid::try_parse(cursor).map_err(|_| {
                Problem::invalid(&[("cursor", "Use `nextCursor` of the page before, or leave it away.".to_owned())])
            })
        };
        self.cursor.as_ref().map(parse).transpose()
    }

    /// Takes away the row fetched beyond the page, if there is one, and says where the next page begins.
    pub fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> Option<String> {
        let length = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        if rows.len() <= length {
            return None;
        }
        rows.truncate(length);
        rows.last().map(|row| id(row).to_string())
    }
}
