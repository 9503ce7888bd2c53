//! How much of the machine a session asks for: CPU and memory in the notation of Kubernetes, as in the REST API.

use std::str::FromStr;

/// Thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(pub u32);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub u64);

/// What one session gets. Always within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub cpu: Cpu,
    pub memory: Memory,
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl Cpu {
    pub const LEAST: Self = Self(250);
    pub const MOST: Self = Self(4000);
}

impl Memory {
    /// Below this GIMP does not start.
    pub const LEAST: Self = Self(512 * MIB);
    pub const MOST: Self = Self(8 * GIB);
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: Cpu(1000), memory: Memory(2 * GIB) }
    }
}

/// Text that is no amount, or one out of range. The words are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("cpu must be a number of cores such as \"1\", \"1.5\" or \"1500m\", from 250m to 4.")]
    Cpu,
    #[error("memory must be a size such as \"2Gi\" or \"1536Mi\", from 512Mi to 8Gi.")]
    Memory,
}

impl FromStr for Cpu {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let millis = match text.strip_suffix('m') {
            Some(millis) => digits(millis),
            None => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                if fraction.len() > 3 {
                    return Err(AmountError::Cpu);
                }
                let scale = 10_u64.pow(3 - u32::try_from(fraction.len()).unwrap_or(3));
                digits(whole).zip(digits(fraction)).map(|(whole, fraction)| whole * 1000 + fraction * scale)
            }
        };
        let cpu = Self(millis.and_then(|millis| u32::try_from(millis).ok()).ok_or(AmountError::Cpu)?);
        if (Self::LEAST..=Self::MOST).contains(&cpu) { Ok(cpu) } else { Err(AmountError::Cpu) }
    }
}

impl FromStr for Memory {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let unit = match unit {
            "" => 1,
            "k" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1024,
            "Mi" => MIB,
            "Gi" => GIB,
            _ => return Err(AmountError::Memory),
        };
        let bytes = digits(number).and_then(|number| number.checked_mul(unit)).ok_or(AmountError::Memory)?;
        if (Self::LEAST..=Self::MOST).contains(&Self(bytes)) { Ok(Self(bytes)) } else { Err(AmountError::Memory) }
    }
}

/// At most 15 digits: no product of it and a unit of CPU overflows.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}m", self.0)
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            bytes if bytes % GIB == 0 => write!(f, "{}Gi", bytes / GIB),
            bytes if bytes % MIB == 0 => write!(f, "{}Mi", bytes / MIB),
            bytes => write!(f, "{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_in_all_notations() {
        for (text, millis) in [("1", 1000), ("1.5", 1500), ("0.25", 250), ("1500m", 1500), ("4.000", 4000)] {
            assert_eq!(text.parse(), Ok(Cpu(millis)), "{text}");
        }
        for (text, bytes) in [
            ("2Gi", 2 * GIB),
            ("512Mi", 512 * MIB),
            ("1G", 1_000_000_000),
            ("2000M", 2_000_000_000),
            ("1073741824", GIB),
        ] {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        assert_eq!("1048576Ki".parse(), Ok(Memory(GIB)));
        assert_eq!("1000000k".parse(), Ok(Memory(1_000_000_000)));
    }

    #[test]
    fn what_is_no_amount_or_out_of_range_is_refused() {
        for text in ["", "m", "-1", "249m", "4001m", "5", "1.2345", "1e3", "1 ", ".5", "1.", "٣", "9999999999999999m"]
        {
            assert_eq!(text.parse::<Cpu>(), Err(AmountError::Cpu), "{text}");
        }
        for text in ["", "Gi", "-1Gi", "511Mi", "9Gi", "1.5Gi", "2gi", "2 Gi", "999999999999999Gi", "1TiB"] {
            assert_eq!(text.parse::<Memory>(), Err(AmountError::Memory), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_again(millis in 250_u32..=4000, bytes in 512 * MIB..=8 * GIB) {
            prop_assert_eq!(Cpu(millis).to_string().parse(), Ok(Cpu(millis)));
            prop_assert_eq!(Memory(bytes).to_string().parse(), Ok(Memory(bytes)));
        }

        #[test]
        fn random_text_never_panics(text in ".{0,40}") {
            if let Ok(cpu) = text.parse::<Cpu>() {
                prop_assert!((Cpu::LEAST..=Cpu::MOST).contains(&cpu));
            }
            if let Ok(memory) = text.parse::<Memory>() {
                prop_assert!((Memory::LEAST..=Memory::MOST).contains(&memory));
            }
        }
    }
}
