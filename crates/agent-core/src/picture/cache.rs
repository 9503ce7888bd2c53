//! Which tiles a client keeps, so that a menu opened twice is sent once: the agent's account of the client's cache.

use std::num::NonZeroUsize;

use lru::LruCache;

/// What a tile is known by: its content's hash and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileKey {
    pub hash: u64,
    pub width: u16,
    pub height: u16,
}

/// Slots of one client, the least recently used given away first.
#[derive(Debug)]
pub struct TileCache {
    /// None for a client that keeps nothing.
    slots: Option<LruCache<TileKey, u32>>,
    next: u32,
}

impl TileCache {
    /// For a client that keeps `pixels`, when no tile has more than `largest`. Every slot is taken to hold such a one:
    /// so the client never keeps more than it offered, whatever replaces what.
    pub fn new(pixels: u32, largest: u32) -> Self {
        let slots = usize::try_from(pixels / largest.max(1)).ok().and_then(NonZeroUsize::new);
        Self { slots: slots.map(LruCache::new), next: 0 }
    }

    /// The slot that holds this tile.
    pub fn find(&mut self, key: TileKey) -> Option<u32> {
        self.slots.as_mut()?.get(&key).copied()
    }

    /// A slot to put a tile into that is not there yet.
    pub fn insert(&mut self, key: TileKey) -> Option<u32> {
        let slots = self.slots.as_mut()?;
        if slots.len() < slots.cap().get() {
            slots.put(key, self.next);
            self.next += 1;
            return Some(self.next - 1);
        }
        let (_, slot) = slots.pop_lru()?;
        slots.put(key, slot);
        Some(slot)
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
        let mut cache = TileCache::new(399, 100);
        let slots: Vec<_> = (0..3).map(|hash| cache.insert(key(hash))).collect();
        assert_eq!(slots, [Some(0), Some(1), Some(2)]);
        assert_eq!(cache.find(key(0)), Some(0));
        assert_eq!(cache.insert(key(3)), Some(1), "the slot of tile 1, the oldest");
        assert_eq!(cache.find(key(1)), None);
        assert_eq!(cache.find(key(3)), Some(1));
    }

    #[test]
    fn nothing_is_kept_by_a_client_without_a_cache() {
        let mut cache = TileCache::new(99, 100);
        assert_eq!((cache.insert(key(1)), cache.find(key(1))), (None, None));
    }
}
