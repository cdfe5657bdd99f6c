//! Numbers that look random and follow from a seed.

/// A full-period generator: enough to spread kills, cuts and sizes.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A place among `count`, which is not 0.
    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count.try_into().unwrap())).unwrap()
    }
}

/// The seed that `MONETA_SEED` asks for; printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("MONETA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    seed
}

/// How many rounds: `quick`, or as many as `MONETA_CRASHES` asks for.
pub(crate) fn rounds(quick: u64) -> u64 {
    std::env::var("MONETA_CRASHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(quick)
}
