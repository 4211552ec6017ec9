//! Cases over the whole language, realistic and hostile.
//!
//! Out: scenes: two tables, their files, and some requests. What the tables speak of, the
//! requests are about: their addresses lie at the borders of the tables' patterns.
//! Invariants: the same seed, the same cases. No pattern file includes itself, and no token of
//! one is longer than 8 KiB: libwrap dies of both. No request makes libwrap look anything up.

mod files;
mod hosts;
mod lists;
mod networks;
mod options;
mod random;
mod requests;
mod tables;
mod taste;
mod tools;
mod world;

use std::collections::VecDeque;

use random::Random;
use taste::Taste;
use world::World;

use super::{Case, Text};

/// Requests about the same tables.
const REQUESTS: usize = 5;
/// About tables with many rules.
const MANY_REQUESTS: usize = 25;

/// An endless stream of cases.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    random: Random,
    count: u64,
    ready: VecDeque<Case>,
}

impl Generator {
    /// The cases of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, random: Random::new(seed), count: 0, ready: VecDeque::new() }
    }

    fn scene(&mut self) {
        // What one scene draws does not depend on how much the one before has drawn.
        let mut random = Random::new(self.random.next());
        let taste = Taste::any(&mut random);
        let mut world = World::new(&mut random);
        let mut author = Author { random: &mut random, taste: &taste, world: &mut world };
        let allow = author.table(false);
        let deny = author.table(true);
        let requests = if taste.many { MANY_REQUESTS } else { REQUESTS };
        for _ in 0..requests {
            let case = author.request(allow.as_deref(), deny.as_deref());
            self.ready.push_back(case);
        }
    }
}

impl Iterator for Generator {
    type Item = Case;

    fn next(&mut self) -> Option<Case> {
        if self.ready.is_empty() {
            self.scene();
        }
        let case = self.ready.pop_front()?;
        self.count += 1;
        Some(Case { id: format!("seed-{}-{}", self.seed, self.count), ..case })
    }
}

/// Who writes a scene.
struct Author<'a> {
    random: &'a mut Random,
    taste: &'a Taste,
    world: &'a mut World,
}
