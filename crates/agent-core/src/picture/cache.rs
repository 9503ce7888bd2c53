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

/// Tiles of at most this share of the largest have slots of their own: a stroke or a pan makes thousands of them, for which
/// a view that will come again must not go.
const SMALL: u32 = 8;
/// What small tiles get, of all that a client keeps.
const SMALL_SHARE: u32 = 8;

/// Slots of one client, the least recently used given away first.
#[derive(Debug)]
pub struct TileCache {
    large: Slots,
    small: Slots,
    /// Pixels.
    largest_small: u32,
}

/// Slots for tiles of one size or less.
#[derive(Debug)]
struct Slots {
    /// None where there is no room for any.
    known: Option<LruCache<TileKey, u32>>,
    next: u32,
}

impl Slots {
    /// Numbered from `first` on.
    fn new(first: u32, count: u32) -> Self {
        let count = usize::try_from(count).ok().and_then(NonZeroUsize::new);
        Self { known: count.map(LruCache::new), next: first }
    }

    fn insert(&mut self, key: TileKey) -> Option<u32> {
        let known = self.known.as_mut()?;
        if known.len() < known.cap().get() {
            known.put(key, self.next);
            self.next += 1;
            return Some(self.next - 1);
        }
        let (_, slot) = known.pop_lru()?;
        known.put(key, slot);
        Some(slot)
    }
}

impl TileCache {
    /// For a client that keeps `pixels`, when no tile has more than `largest`. Every slot is taken to hold the largest it may:
    /// so the client never keeps more than it offered, whatever replaces what.
    pub fn new(pixels: u32, largest: u32) -> Self {
        let largest_small = (largest / SMALL).max(1);
        let for_small = pixels / SMALL_SHARE;
        let (small, large) = (for_small / largest_small, (pixels - for_small) / largest.max(1));
        Self { large: Slots::new(0, large), small: Slots::new(large, small), largest_small }
    }

    fn slots(&mut self, key: TileKey) -> &mut Slots {
        let small = u32::from(key.width) * u32::from(key.height) <= self.largest_small;
        if small { &mut self.small } else { &mut self.large }
    }

    /// The slot that holds this tile.
    pub fn find(&mut self, key: TileKey) -> Option<u32> {
        self.slots(key).known.as_mut()?.get(&key).copied()
    }

    /// A slot to put a tile into that is not there yet.
    pub fn insert(&mut self, key: TileKey) -> Option<u32> {
        self.slots(key).insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64) -> TileKey {
        TileKey { hash, width: 10, height: 10 }
    }

    fn small(hash: u64) -> TileKey {
        TileKey { hash, width: 3, height: 4 }
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
    fn small_tiles_take_no_room_from_large_ones() {
        let mut cache = TileCache::new(800, 100);
        let large: Vec<_> = (0..7).map(|hash| cache.insert(key(hash))).collect();
        let small: Vec<_> = (0..100).map(|hash| cache.insert(small(hash))).collect();
        let mut slots: Vec<u32> = large.iter().chain(&small).map(|slot| slot.expect("room")).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots, (0..7 + 8).collect::<Vec<_>>(), "seven of 100 pixels, eight of 12");
        assert!((0..7).all(|hash| cache.find(key(hash)).is_some()));
    }

    #[test]
    fn nothing_is_kept_by_a_client_without_a_cache() {
        let mut cache = TileCache::new(99, 100);
        assert_eq!((cache.insert(key(1)), cache.find(key(1))), (None, None));
    }
}
