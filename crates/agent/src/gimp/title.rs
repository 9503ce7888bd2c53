//! Which images GIMP's windows show, by their titles: the only place where GIMP tells.

use std::collections::BTreeSet;

use agent_core::recovery::{DocumentId, InSight};

/// A title names its image as "name-ID.VIEW". One without such a part, as a user may have chosen in the preferences, tells
/// nothing.
pub fn in_sight(titles: &[String]) -> InSight {
    let mut shown = BTreeSet::new();
    for title in titles {
        let named: Vec<DocumentId> = numbers(title).collect();
        if named.is_empty() {
            return InSight::Unknown;
        }
        shown.extend(named);
    }
    if shown.is_empty() { InSight::Unknown } else { InSight::Only(shown) }
}

/// All that may be the image's: its name may look like one.
fn numbers(title: &str) -> impl Iterator<Item = DocumentId> {
    title.split('-').skip(1).filter_map(|part| {
        let (id, view) = part.split_once('.')?;
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit()) && view.starts_with(|c: char| c.is_ascii_digit());
        if is_number { id.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(titles: &[&str]) -> InSight {
        in_sight(&titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn titles_of_gimp_name_their_images() {
        let one = "*[Untitled]-1.0 (RGB color 8-bit gamma integer, GIMP built-in sRGB, 1 layer) 320x200 \u{2013} GIMP";
        assert_eq!(shown(&[one]), InSight::Only([1].into()));
        assert_eq!(shown(&[one, "[u] (imported)-12.3 (RGB)"]), InSight::Only([1, 12].into()));
        assert_eq!(shown(&["a-b-2.0.xcf-7.1 (RGB)"]), InSight::Only([2, 7].into()), "either may be meant");
    }

    #[test]
    fn what_names_none_leaves_all_possible() {
        for titles in
            [&[][..], &["GNU Image Manipulation Program"], &["poster.xcf"], &["a-1.0", "poster"], &["-.-.1-a.b"]]
        {
            assert_eq!(shown(titles), InSight::Unknown, "{titles:?}");
        }
    }
}
