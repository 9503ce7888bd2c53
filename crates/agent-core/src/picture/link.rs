//! What one client's link carries and how far it lags, learnt from its draw acknowledgements. Drawing belongs to the
//! link: what counts is when pixels are seen.

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

    /// The client has drawn every update up to `seq`.
    pub fn drawn(&mut self, seq: u32, now: Duration) {
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
            let base = self.delay().min(delay);
            let served_from = (began + base).max(self.last_drawn);
            let service = now.saturating_sub(served_from).max(Duration::from_micros(200));
            #[expect(clippy::cast_precision_loss, reason = "bytes of some updates")]
            let sample = (bytes as f64 / service.as_secs_f64()).clamp(MIN_RATE, MAX_RATE);
            let weight = match self.measured {
                false => 1.0,
                true if sample < self.rate => SLOWER_WEIGHT,
                true => FASTER_WEIGHT,
            };
            self.rate += (sample - self.rate) * weight;
            self.measured = true;
        }
        self.last_drawn = now;
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
        link.drawn(1, ms(1040));
        assert_eq!(link.delay(), ms(40));
        assert!(!link.rate().1);
        // 62 500 bytes at 5 Mbit/s take 100 ms more.
        link.sent(2, 62_500, ms(2000));
        link.drawn(2, ms(2140));
        let (rate, measured) = link.rate();
        assert!(measured && (rate - 625_000.0).abs() < 1.0, "{rate}");
        assert_eq!(link.transfer(6_250), ms(10));
    }

    #[test]
    fn what_waits_behind_another_update_is_not_held_against_the_link() {
        let mut link = Link::default();
        link.sent(1, 500, ms(0));
        link.drawn(1, ms(10));
        for (seq, sent, drawn) in [(2, 100, 210), (3, 101, 310), (4, 102, 410)] {
            link.sent(seq, 100_000, ms(sent));
            assert_eq!(link.updates_in_flight(), (seq - 1) as usize);
            let _later = drawn;
        }
        for (seq, drawn) in [(2, 210), (3, 310), (4, 410)] {
            link.drawn(seq, ms(drawn));
        }
        let (rate, _) = link.rate();
        assert!((rate - 1e6).abs() < 1e4, "{rate}");
        assert_eq!((link.bytes_in_flight(), link.oldest()), (0, None));
    }

    #[test]
    fn an_old_short_delay_is_forgotten() {
        let mut link = Link::default();
        link.sent(1, 1, ms(0));
        link.drawn(1, ms(5));
        link.sent(2, 1, ms(20_000));
        link.drawn(2, ms(20_120));
        assert_eq!(link.delay(), ms(120));
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut link = Link::default();
        link.drawn(77, ms(1));
        link.sent(1, 10, ms(5));
        link.drawn(0, ms(6));
        assert_eq!(link.updates_in_flight(), 1);
        link.drawn(u32::MAX, ms(2));
        assert_eq!(link.updates_in_flight(), 0);
    }
}
