//! What one client's link carries and how far it lags, learnt from its draw acknowledgements. For what may be under way
//! drawing belongs to the link: what counts is when pixels are seen. Where ways to show the same are compared, what each
//! takes to draw is known apart.

use std::collections::VecDeque;
use std::time::Duration;

/// Believed of a link that nothing is known of, bytes a second.
const FIRST_GUESS: f64 = 4e6;
/// Bytes below which an update says something of the delay only.
const TELLING: usize = 12 * 1024;
/// The shortest delay of so long counts.
const DELAY_MEMORY: Duration = Duration::from_secs(10);
/// Weight of a new sample of the rate: a slower one convinces faster, as what is sent too much is seen late.
const SLOWER_WEIGHT: f64 = 0.5;
const FASTER_WEIGHT: f64 = 0.25;
const MIN_RATE: f64 = 8e3;
const MAX_RATE: f64 = 2e9;

#[derive(Debug, Clone, Copy)]
struct Sent {
    seq: u32,
    bytes: usize,
    at: Duration,
    /// Nothing was under way before it: what it took, it did not wait for.
    alone: bool,
}

/// Times are since any fixed moment.
#[derive(Debug)]
pub struct Link {
    sent: VecDeque<Sent>,
    in_flight: usize,
    /// Bytes a second.
    rate: f64,
    measured: bool,
    /// The same without the time of drawing.
    carried: f64,
    last_arrived: Duration,
    /// Shortest delays from sending to acknowledgement: when seen, and how long.
    delays: VecDeque<(Duration, Duration)>,
    last_drawn: Duration,
    answers: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            in_flight: 0,
            rate: FIRST_GUESS,
            measured: false,
            carried: FIRST_GUESS,
            last_arrived: Duration::ZERO,
            delays: VecDeque::new(),
            last_drawn: Duration::ZERO,
            answers: false,
        }
    }
}

impl Link {
    pub fn sent(&mut self, seq: u32, bytes: usize, now: Duration) {
        self.sent.push_back(Sent { seq, bytes, at: now, alone: self.sent.is_empty() });
        self.in_flight += bytes;
    }

    /// The client has drawn every update up to `seq`, the last of them in `took` after it had arrived; none: that is not told
    /// apart.
    pub fn drawn(&mut self, seq: u32, took: Option<Duration>, now: Duration) {
        // Several may be acknowledged at once: they are one batch, served since the acknowledgement before it.
        let mut batch: Option<(Duration, usize)> = None;
        let mut alone = None;
        while let Some(first) = self.sent.front().filter(|sent| sent.seq <= seq) {
            let (began, bytes) = batch.unwrap_or((first.at, 0));
            batch = Some((began, bytes + first.bytes));
            alone = Some(first.alone && alone.is_none());
            self.in_flight -= first.bytes;
            self.sent.pop_front();
        }
        let (Some((began, bytes)), Some(alone)) = (batch, alone) else { return };
        let delay = now.saturating_sub(began);
        if bytes < TELLING && alone {
            self.delay_seen(delay, now);
        }
        if bytes >= TELLING {
            let due = began + self.delay().min(delay);
            #[expect(clippy::cast_precision_loss, reason = "bytes of some updates")]
            let sample = |from: Duration, to: Duration| {
                let service = to.saturating_sub(from).max(Duration::from_micros(200));
                (bytes as f64 / service.as_secs_f64()).clamp(MIN_RATE, MAX_RATE)
            };
            learn(&mut self.rate, self.measured, sample(due.max(self.last_drawn), now));
            if let Some(took) = took {
                let arrived = now.saturating_sub(took);
                learn(&mut self.carried, self.measured, sample(due.max(self.last_arrived), arrived));
            }
            self.carried = self.carried.max(self.rate);
            self.measured = true;
        }
        self.last_drawn = now;
        self.last_arrived = now.saturating_sub(took.unwrap_or_default());
        self.answers = true;
    }

    /// Whether anything was ever acknowledged.
    pub const fn answers(&self) -> bool {
        self.answers
    }

    fn delay_seen(&mut self, delay: Duration, now: Duration) {
        while self.delays.back().is_some_and(|(_, longer)| *longer >= delay) {
            self.delays.pop_back();
        }
        self.delays.push_back((now, delay));
        while self.delays.len() > 1
            && self.delays.front().is_some_and(|(seen, _)| now.saturating_sub(*seen) > DELAY_MEMORY)
        {
            self.delays.pop_front();
        }
    }

    /// From sending a small update until it is known to be drawn; zero when not known.
    pub fn delay(&self) -> Duration {
        self.delays.front().map_or(Duration::ZERO, |(_, delay)| *delay)
    }

    /// Bytes a second without the time that the client takes to draw them.
    pub const fn carried(&self) -> f64 {
        self.carried
    }

    /// Bytes a second, and whether that was measured.
    pub fn rate(&self) -> (f64, bool) {
        (self.rate, self.measured)
    }

    /// How long the link takes for so many bytes after what is under way.
    pub fn transfer(&self, bytes: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "bytes of some updates")]
        let seconds = bytes as f64 / self.rate;
        Duration::from_secs_f64(seconds)
    }

    pub fn updates_in_flight(&self) -> usize {
        self.sent.len()
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.in_flight
    }

    /// Since when the oldest unacknowledged update is under way.
    pub fn oldest(&self) -> Option<Duration> {
        self.sent.front().map(|sent| sent.at)
    }
}

fn learn(rate: &mut f64, measured: bool, sample: f64) {
    let weight = match measured {
        false => 1.0,
        true if sample < *rate => SLOWER_WEIGHT,
        true => FASTER_WEIGHT,
    };
    *rate += (sample - *rate) * weight;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn small_updates_tell_the_delay_and_large_ones_the_rate() {
        let mut link = Link::default();
        link.sent(1, 500, ms(1000));
        link.drawn(1, None, ms(1040));
        assert_eq!(link.delay(), ms(40));
        assert!(!link.rate().1);
        // 62 500 bytes at 5 Mbit/s take 100 ms more.
        link.sent(2, 62_500, ms(2000));
        link.drawn(2, None, ms(2140));
        let (rate, measured) = link.rate();
        assert!(measured && (rate - 625_000.0).abs() < 1.0, "{rate}");
        assert_eq!(link.transfer(6_250), ms(10));
    }

    #[test]
    fn what_waits_behind_another_update_is_not_held_against_the_link() {
        let mut link = Link::default();
        link.sent(1, 500, ms(0));
        link.drawn(1, None, ms(10));
        for (seq, sent, drawn) in [(2, 100, 210), (3, 101, 310), (4, 102, 410)] {
            link.sent(seq, 100_000, ms(sent));
            assert_eq!(link.updates_in_flight(), (seq - 1) as usize);
            let _later = drawn;
        }
        for (seq, drawn) in [(2, 210), (3, 310), (4, 410)] {
            link.drawn(seq, None, ms(drawn));
        }
        let (rate, _) = link.rate();
        assert!((rate - 1e6).abs() < 1e4, "{rate}");
        assert_eq!((link.bytes_in_flight(), link.oldest()), (0, None));
    }

    #[test]
    fn drawing_slows_what_is_seen_but_not_what_the_link_carries() {
        let mut link = Link::default();
        link.sent(1, 500, ms(0));
        link.drawn(1, None, ms(1));
        for turn in 1..20 {
            link.sent(2 * turn, 20_000, ms(100 * u64::from(turn)));
            link.drawn(2 * turn, Some(ms(19)), ms(100 * u64::from(turn) + 30));
        }
        // 30 ms, of which 1 is the delay and 19 are drawing.
        let (seen, carried) = (link.rate().0, link.carried());
        assert!((seen - 20_000.0 / 0.029).abs() < 1e3 && (carried - 2e6).abs() < 1e4, "{seen} {carried}");
        // Where they aren't told apart it is at least what is seen.
        link.sent(100, 1_000_000, ms(5000));
        link.drawn(100, None, ms(5006));
        assert!(link.carried() >= link.rate().0);
    }

    #[test]
    fn an_old_short_delay_is_forgotten() {
        let mut link = Link::default();
        link.sent(1, 1, ms(0));
        link.drawn(1, None, ms(5));
        link.sent(2, 1, ms(20_000));
        link.drawn(2, None, ms(20_120));
        assert_eq!(link.delay(), ms(120));
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut link = Link::default();
        link.drawn(77, None, ms(1));
        link.sent(1, 10, ms(5));
        link.drawn(0, None, ms(6));
        assert_eq!(link.updates_in_flight(), 1);
        link.drawn(u32::MAX, None, ms(2));
        assert_eq!(link.updates_in_flight(), 0);
    }
}
