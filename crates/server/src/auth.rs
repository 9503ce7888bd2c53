//! Who is asking: sign-ins, tokens, passwords. No HTTP beyond the extractors.

pub mod current;
pub mod token;
