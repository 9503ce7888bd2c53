//! Fine wheel movements to the clicks of buttons 4 to 7 that X has for them.

use super::Effect;

/// Units of `Action::Wheel` in one notch.
const NOTCH: i32 = 120;

/// What has been turned and was not a whole notch yet, in 1/120 of one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    x: i32,
    y: i32,
}

impl Wheel {
    /// Positive is right and down.
    pub fn turn(&mut self, dx: i16, dy: i16, effects: &mut Vec<Effect>) {
        for (rest, turned, back, forth) in [(&mut self.y, dy, 4, 5), (&mut self.x, dx, 6, 7)] {
            let turned = i32::from(turned);
            // Who turns back does not owe the rest of the way there first.
            if rest.signum() * turned.signum() < 0 {
                *rest = 0;
            }
            *rest += turned;
            let number = if *rest < 0 { back } else { forth };
            for _ in 0..(*rest / NOTCH).abs() {
                effects.extend([true, false].map(|down| Effect::Button { number, down }));
            }
            *rest %= NOTCH;
        }
    }
}
