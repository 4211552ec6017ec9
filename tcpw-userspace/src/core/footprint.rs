//! What the core keeps: how many things each duty holds of attempts, connections and preparations.
//!
//! In: the duties. Out: numbers, 0 where nothing is under way. Caches that are bounded are left out.

use super::Core;

/// A kind of thing, and how many of it a duty holds.
pub(in crate::core) type FootprintEntry = (&'static str, usize);

impl Core {
    /// How many things each duty holds.
    pub fn footprint(&self) -> Vec<(&'static str, usize)> {
        let mut all = Vec::new();
        all.extend(self.held.footprint());
        all.extend(self.lookups.footprint());
        all.extend(self.users.footprint());
        all.extend(self.challenges.footprint());
        all.extend(self.commands.footprint());
        all.extend(self.effects.footprint());
        all.extend(self.banners.footprint());
        all.extend(self.redirect.footprint());
        all.extend(self.report.lines.footprint());
        all.extend(self.keepalive.footprint());
        all.extend(self.apply.footprint());
        all.extend(self.reload.footprint());
        all
    }
}
