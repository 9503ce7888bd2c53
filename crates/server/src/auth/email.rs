//! E-mail addresses as accounts know them: checked, in one spelling.

use std::fmt;
use std::str::FromStr;

/// Longest address SMTP can deliver to (RFC 5321, erratum 1690), bytes.
const MAX_BYTES: usize = 254;

/// A checked address: trimmed, lower case, the domain in its ASCII form. Two spellings of one mailbox are equal.
/// (RFC 5321 lets a mail server tell `Ann@` from `ann@`; none does, and people type both.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Enter an e-mail address, like name@example.org.")]
pub struct EmailError;

impl Email {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.0.as_str(), |(local, _)| local)
    }
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(EmailError);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError)?;
        // Quoted local parts are valid, unused, and a way to smuggle blanks.
        if !local.is_ascii() || local.contains('"') {
            return Err(EmailError);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError)?;
        let address =
            lettre::Address::new(local.to_ascii_lowercase(), domain.to_ascii_lowercase()).map_err(|_| EmailError)?;
        let address = address.to_string();
        if address.len() > MAX_BYTES { Err(EmailError) } else { Ok(Self(address)) }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_mailbox_are_equal() {
        for text in ["ann@example.org", " Ann@Example.ORG ", "ANN@EXAMPLE.ORG\n"] {
            assert_eq!(text.parse::<Email>().expect(text).as_str(), "ann@example.org");
        }
        assert_eq!("a@bücher.example".parse(), "a@xn--bcher-kva.example".parse::<Email>());
        assert_eq!("a+b@example.org".parse::<Email>().expect("parses").local_part(), "a+b");
        assert!("root@localhost".parse::<Email>().is_ok(), "one machine without a domain");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(60).as_str().to_owned() + &".b".repeat(120));
        for text in [
            "",
            "@",
            "ann",
            "ann@",
            "@example.org",
            "a b@example.org",
            "a@b@c",
            "\"a b\"@example.org",
            "a@exa mple.org",
            "ann@example.org\r\nBcc: all@example.org",
            "änn@example.org",
            "a\0@example.org",
            "a..b@example.org",
            &long,
        ] {
            assert_eq!(text.parse::<Email>(), Err(EmailError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_stable_and_yields_no_control_characters(text in "\\PC{0,30}@\\PC{0,30}|[a-zA-Z0-9.+]{1,20}@[a-zA-Z0-9.-]{1,20}") {
            if let Ok(email) = text.parse::<Email>() {
                prop_assert_eq!(email.as_str().parse::<Email>(), Ok(email.clone()));
                prop_assert!(email.as_str().is_ascii() && !email.as_str().contains(|c: char| c.is_whitespace() || c.is_control()));
            }
        }
    }
}
