//! A map with a fast seeded hash. Its order is never part of the result.

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
