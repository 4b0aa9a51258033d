//! What was used lately, bounded: a map that forgets what was neither put nor touched for longest.
//!
//! Two generations: what is put or touched belongs to the young one. When that is full the old one is forgotten, and the
//! young one is the old one. So the `bound` entries that were used last are always there, and never more than twice as
//! many, without an order to keep or times to compare.

use std::borrow::Borrow;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// A bounded map.
#[derive(Debug)]
pub(crate) struct Recent<K, V = ()> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    bound: usize,
    forgotten: u64,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default(), bound, forgotten: 0 }
    }

    /// Gives what was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.old.remove(&key);
        let young = self.young.insert(key, value);
        if self.young.len() >= self.bound {
            self.forgotten += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        young.or(old)
    }

    /// Finds an entry that is in use: it is forgotten last.
    pub(crate) fn touch<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn contains_key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        self.young.retain(|key, value| keep(key, value));
        self.old.retain(|key, value| keep(key, value));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Entries that made room for others.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_pass_and_what_is_in_use_stays() {
        let mut recent = Recent::new(100);
        recent.insert(u64::MAX, 0);
        for key in 0..100_000 {
            recent.insert(key, key);
            assert!(recent.touch(&u64::MAX).is_some() && recent.len() <= 200, "{key}");
        }
        assert_eq!(recent.forgotten() + recent.len() as u64, 100_001);
        assert!((99_901..100_000).all(|key| recent.get(&key) == Some(&key)) && !recent.contains_key(&0));
    }

    #[test]
    fn an_entry_is_there_once() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.insert("a", 1), None);
        assert_eq!(recent.insert("b", 2), None);
        assert_eq!((recent.insert("a", 3), recent.len()), (Some(1), 2));
        assert_eq!(recent.get("a"), Some(&3));
        assert_eq!(recent.touch("c"), None);
        assert_eq!(recent.touch("b"), Some(&mut 2));
        recent.retain(|key, _| *key == "b");
        assert_eq!(recent.iter().collect::<Vec<_>>(), [(&"b", &2)]);
    }
}
