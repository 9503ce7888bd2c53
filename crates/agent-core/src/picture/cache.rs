//! Which tiles a client keeps, so that a menu opened twice is sent once: the agent's account of the client's cache.

use std::collections::HashMap;

/// Most tiles kept, whatever their size.
const MAX_SLOTS: u32 = 4096;

/// What a tile is known by: its content's hash and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileKey {
    pub hash: u64,
    pub width: u16,
    pub height: u16,
}

impl TileKey {
    fn pixels(self) -> u32 {
        u32::from(self.width) * u32::from(self.height)
    }
}

/// Slots of one client, least recently used given away first.
#[derive(Debug, Default)]
pub struct TileCache {
    /// Pixels that the client keeps.
    budget: u32,
    used: u32,
    slots: HashMap<TileKey, Slot>,
    free: Vec<u32>,
    next: u32,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    number: u32,
    used_at: u64,
}

impl TileCache {
    /// For a client that keeps so many pixels.
    pub fn new(budget: u32) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The slot that holds this tile.
    pub fn find(&mut self, key: TileKey) -> Option<u32> {
        self.clock += 1;
        let slot = self.slots.get_mut(&key)?;
        slot.used_at = self.clock;
        Some(slot.number)
    }

    /// A slot to put a new tile into; none when it is larger than the cache.
    pub fn insert(&mut self, key: TileKey) -> Option<u32> {
        if key.pixels() > self.budget / 2 {
            return None;
        }
        while self.used + key.pixels() > self.budget || self.slots.len() >= MAX_SLOTS as usize {
            let oldest = *self.slots.iter().min_by_key(|(_, slot)| slot.used_at)?.0;
            let slot = self.slots.remove(&oldest)?;
            self.used -= oldest.pixels();
            self.free.push(slot.number);
        }
        self.clock += 1;
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        if let Some(before) = self.slots.insert(key, Slot { number, used_at: self.clock }) {
            self.free.push(before.number);
        } else {
            self.used += key.pixels();
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64) -> TileKey {
        TileKey { hash, width: 10, height: 10 }
    }

    #[test]
    fn the_least_recently_used_tile_makes_room() {
        let mut cache = TileCache::new(300);
        let slots: Vec<_> = (0..3).map(|hash| cache.insert(key(hash)).expect("room")).collect();
        assert_eq!(slots, [0, 1, 2]);
        assert_eq!(cache.find(key(0)), Some(0));
        assert_eq!(cache.insert(key(3)), Some(1), "the slot of tile 1, the oldest");
        assert_eq!(cache.find(key(1)), None);
        assert_eq!(cache.find(key(3)), Some(1));
    }

    #[test]
    fn nothing_fits_a_client_without_a_cache() {
        assert_eq!(TileCache::new(0).insert(key(1)), None);
        assert_eq!(TileCache::new(150).insert(key(1)), None, "it would take all the room");
    }
}
