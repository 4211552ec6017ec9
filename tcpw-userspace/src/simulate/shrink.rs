//! A failing history, as short as it can be.
//!
//! In: a plan, and the rule that it breaks. Out: the history of a plan with less in it that breaks the same
//! rule. Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (delta debugging).

use super::{
    BrokenSeed, HistoryResult,
    history::{Broken, History},
    plan::Plan,
    plant::Plant,
};

/// Histories that are tried at most.
const MOST_TRIES: usize = 3000;

/// Lines of a history that are shown at most.
const MOST_LINES: usize = 400;

/// Makes the history of a plan short, and tells it.
pub(super) fn failure(plan: Plan, plant: Option<Plant>, broken: Broken) -> BrokenSeed {
    let mut shrinker = Shrinker { plan, plant, rule: broken.rule, tries: 0 };
    while shrinker.tries < MOST_TRIES && (shrinker.steps() | shrinker.files() | shrinker.conditions()) {}
    let Shrinker { plan, plant, rule, .. } = shrinker;
    let HistoryResult { broken, trace, .. } = History::new(plan.clone(), plant, true).run();
    let Some(broken) = broken else {
        let what =
            "it does not break it when it happens once more: the core decides by more than its inputs".into();
        return BrokenSeed { seed: plan.seed, rule, what, history: Vec::new() };
    };
    BrokenSeed { seed: plan.seed, rule, what: broken.what.clone(), history: history(&plan, &broken, trace) }
}

/// What happened, as far as it is about the attempt.
fn history(plan: &Plan, broken: &Broken, trace: Vec<String>) -> Vec<String> {
    let mut lines = vec![format!("{:?}", plan.conditions)];
    let config = &plan.config;
    lines.push(format!(
        "mode {}, pin {}, log_allowed {}, {:?}, {:?}",
        config.mode, config.pin, config.log_allowed, config.exempt, config.resolve
    ));
    for (number, files) in plan.files.iter().enumerate() {
        lines.push(format!("files {number}: allow {:?}", files.allow));
        lines.push(format!("files {number}: deny {:?}, patterns {:?}", files.deny, files.patterns));
    }
    let is_shown = |line: &String| match broken.port {
        None => true,
        Some(port) => {
            let port = port.to_string();
            let is_of_none = !line.contains("client_port") && !line.contains("client :");
            line.contains(&port) || is_of_none && !line.contains("Second(")
        }
    };
    let shown: Vec<String> = trace.into_iter().filter(is_shown).collect();
    let left_out = shown.len().saturating_sub(MOST_LINES);
    if left_out > 0 {
        lines.push(format!("... {left_out} lines before"));
    }
    lines.extend(shown.into_iter().skip(left_out));
    lines
}

struct Shrinker {
    plan: Plan,
    plant: Option<Plant>,
    rule: &'static str,
    tries: usize,
}

impl Shrinker {
    /// Takes a plan if it breaks the same rule.
    fn try_plan(&mut self, plan: Plan) -> bool {
        self.tries += 1;
        if self.tries > MOST_TRIES {
            return false;
        }
        let broken = History::new(plan.clone(), self.plant, false).run().broken;
        let is_same = broken.is_some_and(|broken| broken.rule == self.rule);
        if is_same {
            self.plan = plan;
        }
        is_same
    }

    /// Leaves out steps, many at once first.
    fn steps(&mut self) -> bool {
        let mut is_shorter = false;
        let mut chunk = self.plan.steps.len();
        while chunk > 0 {
            let mut at = 0;
            while at < self.plan.steps.len() {
                let mut plan = self.plan.clone();
                plan.steps.drain(at..(at + chunk).min(plan.steps.len()));
                if self.try_plan(plan) { is_shorter = true } else { at += chunk }
            }
            chunk /= 2;
        }
        is_shorter
    }

    /// Leaves out lines of the files.
    fn files(&mut self) -> bool {
        let mut is_shorter = false;
        for number in 0..self.plan.files.len() {
            'again: loop {
                let shorter: Vec<_> = self.plan.files[number].shorter().collect();
                for files in shorter {
                    let mut plan = self.plan.clone();
                    plan.files[number] = files;
                    if self.try_plan(plan) {
                        is_shorter = true;
                        continue 'again;
                    }
                }
                break;
            }
        }
        is_shorter
    }

    /// Makes the host a better one.
    fn conditions(&mut self) -> bool {
        let simpler: [fn(&mut Plan) -> bool; 5] = [
            |plan| std::mem::replace(&mut plan.conditions.slow_percent, 0) != 0,
            |plan| std::mem::replace(&mut plan.conditions.fail_percent, 0) != 0,
            |plan| std::mem::replace(&mut plan.conditions.delay_ms, 2) != 2,
            |plan| std::mem::replace(&mut plan.conditions.ring, 1000) != 1000,
            |plan| std::mem::replace(&mut plan.config.log_allowed, false),
        ];
        let mut is_simpler = false;
        for simplify in simpler {
            let mut plan = self.plan.clone();
            is_simpler |= simplify(&mut plan) && self.try_plan(plan);
        }
        is_simpler
    }
}
