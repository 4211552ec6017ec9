//! Look-ups outside the event loop: each blocks a thread of its own; their number is bounded.
//!
//! In: questions. Out: the results, which are also kept for a while.
//! Invariant: a question is looked up once at a time, however often it is asked; never more threads
//! than the limit; a look-up that does not return keeps its thread, and nothing waits for it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    cache::{CachedValue, ExpiringCache},
    question::{Found, Question, look_up},
    verify::Resolver,
};

/// Room for the C library's resolver and the modules of nsswitch.conf.
const STACK_BYTES: usize = 512 << 10;

/// Limits of look-ups, and how long results are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupLimits {
    /// Look-ups at once.
    pub at_once: usize,
    /// Answers that are kept.
    pub kept: usize,
    /// How long a name is kept.
    pub found_for: Duration,
    /// How long the result that there is none is kept.
    pub not_found_for: Duration,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// Look-ups begun.
    pub begun: u64,
    /// Questions that were answered from memory.
    pub remembered: u64,
    /// Threads that could not be started.
    pub failed: u64,
}

/// Makes look-ups.
pub struct LookupThreads {
    resolver: Arc<dyn Resolver + Send + Sync>,
    limits: LookupLimits,
    cache: ExpiringCache<Question, Found>,
    /// Questions without an answer; and whether a thread is looking each up.
    open: HashMap<Question, bool>,
    queue: VecDeque<Question>,
    running: usize,
    counts: LookupCounts,
    sender: mpsc::UnboundedSender<(Question, Found)>,
    receiver: mpsc::UnboundedReceiver<(Question, Found)>,
}

impl LookupThreads {
    /// Uses that resolver, within these limits.
    pub fn new(resolver: Arc<dyn Resolver + Send + Sync>, limits: LookupLimits) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            resolver,
            limits,
            cache: ExpiringCache::new(limits.kept),
            open: HashMap::new(),
            queue: VecDeque::new(),
            running: 0,
            counts: LookupCounts::default(),
            sender,
            receiver,
        }
    }

    /// The limits.
    pub fn limits(&self) -> LookupLimits {
        self.limits
    }

    /// The result that is kept for a question.
    pub fn remembered(&mut self, question: &Question) -> Option<&CachedValue<Found>> {
        let kept = self.cache.at(question, Instant::now());
        self.counts.remembered += u64::from(kept.is_some());
        kept
    }

    /// Begins a look-up, now or when there is a thread for it. The answer comes from [`Self::next`].
    pub fn begin(&mut self, question: &Question) {
        if self.open.contains_key(question) {
            return;
        }
        self.open.insert(question.clone(), false);
        self.queue.push_back(question.clone());
        self.start();
    }

    /// The question is no longer needed: if its look-up was not begun, it is not begun at all.
    pub fn forget(&mut self, question: &Question) {
        if self.open.get(question) == Some(&false) {
            self.open.remove(question);
        }
    }

    /// The next answer. Cancel safe.
    pub async fn next(&mut self) -> (Question, Found) {
        match self.receiver.recv().await {
            Some(answer) => {
                self.finished(&answer);
                answer
            }
            // Cannot happen: this value holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Counts since the start.
    pub fn counts(&self) -> LookupCounts {
        self.counts
    }

    /// Look-ups that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Questions asked for and not answered.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Results that are kept, and those evicted before they expired.
    pub fn kept(&self) -> (usize, u64) {
        (self.cache.len(), self.cache.evicted())
    }

    fn finished(&mut self, (question, found): &(Question, Found)) {
        self.running -= 1;
        self.open.remove(question);
        let now = Instant::now();
        let LookupLimits { found_for, not_found_for, .. } = self.limits;
        let held = if found.is_something() { found_for } else { not_found_for };
        self.cache.keep(question.clone(), found.clone(), now, now + held);
        self.start();
    }

    fn start(&mut self) {
        while self.running < self.limits.at_once
            && let Some(question) = self.queue.pop_front()
        {
            // Questions that were dropped meanwhile are still in the queue.
            let Some(has_thread) = self.open.get_mut(&question).filter(|has_thread| !**has_thread) else {
                continue;
            };
            let (resolver, sender) = (Arc::clone(&self.resolver), self.sender.clone());
            let own = question.clone();
            let thread =
                thread::Builder::new().name("look-up".into()).stack_size(STACK_BYTES).spawn(move || {
                    let found = look_up(&own, resolver.as_ref());
                    // The daemon may have ended meanwhile.
                    let _ = sender.send((own, found));
                });
            match thread {
                Ok(_detached) => {
                    *has_thread = true;
                    self.running += 1;
                    self.counts.begun += 1;
                }
                Err(error) => {
                    // Attempts that wait for it reach their time limit.
                    self.open.remove(&question);
                    self.counts.failed += 1;
                    log::error!("a look-up gets no thread: {error}");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        sync::{Condvar, Mutex},
    };

    use super::*;
    use crate::{evaluate::request::HostName, resolve::Forward};

    /// A resolver that blocks until it is released, and records how many calls ran at once.
    #[derive(Default)]
    struct BlockingResolver {
        state: Mutex<(usize, usize, bool)>,
        changed: Condvar,
    }

    impl BlockingResolver {
        /// Releases all calls, once this many run.
        fn open(&self, asking: usize) {
            let mut state = self.state.lock().unwrap();
            while state.0 < asking {
                state = self.changed.wait(state).unwrap();
            }
            state.2 = true;
            self.changed.notify_all();
        }
    }

    impl Resolver for BlockingResolver {
        fn reverse(&self, _: IpAddr) -> Option<Vec<u8>> {
            let mut state = self.state.lock().unwrap();
            state.0 += 1;
            state.1 = state.1.max(state.0);
            self.changed.notify_all();
            while !state.2 {
                state = self.changed.wait(state).unwrap();
            }
            state.0 -= 1;
            None
        }
        fn is_numeric(&self, _: &[u8], _: IpAddr) -> bool {
            false
        }
        fn forward(&self, _: &[u8], _: IpAddr) -> Option<Forward> {
            None
        }
    }

    fn limits(at_once: usize) -> LookupLimits {
        let (found_for, not_found_for) = (Duration::from_secs(60), Duration::from_secs(60));
        LookupLimits { at_once, kept: 1000, found_for, not_found_for }
    }

    fn question(number: u8) -> Question {
        Question::name_of(IpAddr::from([192, 0, 2, number]))
    }

    async fn next(lookups: &mut LookupThreads) -> (Question, Found) {
        tokio::time::timeout(Duration::from_secs(10), lookups.next()).await.unwrap()
    }

    #[tokio::test]
    async fn each_question_is_asked_once_and_few_at_a_time() {
        let gate = Arc::new(BlockingResolver::default());
        let mut lookups = LookupThreads::new(Arc::clone(&gate) as Arc<_>, limits(3));
        for _ in 0..5 {
            (0..10).for_each(|number| lookups.begin(&question(number)));
        }
        assert_eq!((lookups.running(), lookups.open()), (3, 10));
        gate.open(3);
        for _ in 0..10 {
            let (_, found) = next(&mut lookups).await;
            assert_eq!(found, Found::Name(super::super::Verified { name: HostName::Unknown, warning: None }));
        }
        assert_eq!(gate.state.lock().unwrap().1, 3);
        assert_eq!((lookups.running(), lookups.open(), lookups.counts().begun), (0, 0, 10));
        assert!(lookups.remembered(&question(9)).is_some());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let gate = Arc::new(BlockingResolver::default());
        let mut lookups = LookupThreads::new(Arc::clone(&gate) as Arc<_>, limits(1));
        (0..3).for_each(|number| lookups.begin(&question(number)));
        (0..2).for_each(|number| lookups.forget(&question(number)));
        gate.open(1);
        assert_eq!(next(&mut lookups).await.0, question(0), "it had been begun");
        assert_eq!(next(&mut lookups).await.0, question(2));
        assert_eq!(lookups.counts().begun, 2);
    }

    #[test]
    fn mapped_address_is_asked_for_as_ipv4() {
        assert_eq!(
            Question::name_of("::ffff:192.0.2.1".parse().unwrap()),
            Question::Name("192.0.2.1".parse().unwrap())
        );
    }
}
