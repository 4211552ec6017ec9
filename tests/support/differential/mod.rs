//! The same questions to the real libwrap and to tcpw.
//!
//! In: a [`Generator`]'s cases, or a corpus's. Out: where [`Programs`] disagree, as small a case as
//! is easily found, and how the cases are [spread](Spread) over the language.

mod case;
mod generate;
mod minimise;
mod programs;
mod spread;
mod tcpdmatch;
mod text;
mod wanted;

use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;

pub use case::{Answer, Answered, Case};
pub use generate::Generator;
pub use minimise::minimise;
pub use programs::Programs;
pub use spread::Spread;
pub use tcpdmatch::{Access, Tcpdmatch};
pub use text::Text;

/// Cases asked at once.
const BATCH: usize = 10_000;
/// Most cases that are made smaller.
const EXAMPLES: usize = 30;
/// Of each kind.
const EXAMPLES_OF_A_KIND: usize = 2;

/// A case on which libwrap and tcpw disagree.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The case, with libwrap's answer: a line for a corpus.
    pub libwrap: Answered,
    /// What tcpw answers.
    pub tcpw: Answer,
}

impl Disagreement {
    /// Who answers what.
    fn outline(&self) -> String {
        let (theirs, ours) = (&self.libwrap.answer, &self.tcpw);
        let rule = if theirs.matched == ours.matched { "" } else { " rule" };
        format!("{}/{} {}/{}{rule}", theirs.expect, ours.expect, theirs.via, ours.via)
    }

    /// [`Self::outline`], and the messages, roughly.
    fn kind(&self) -> String {
        let said = |lines: &[String], others: &[String]| {
            let line = lines.iter().find(|line| !others.contains(line)).cloned().unwrap_or_default();
            line.chars().filter(|character| !character.is_ascii_digit()).take(80).collect::<String>()
        };
        let (theirs, ours) = (&self.libwrap.answer.warnings, &self.tcpw.warnings);
        format!("{} \"{}\" \"{}\"", self.outline(), said(theirs, ours), said(ours, theirs))
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |value| serde_json::to_string(value).map_err(|_| fmt::Error);
        writeln!(out, "{}", serde_json::to_string(&self.libwrap).map_err(|_| fmt::Error)?)?;
        writeln!(out, "  libwrap: {}", json(&self.libwrap.answer)?)?;
        write!(out, "  tcpw:    {}", json(&self.tcpw)?)
    }
}

/// What a run over generated cases finds.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// libwrap's answers.
    pub spread: Spread,
    /// How many cases the two disagree on.
    pub disagreeing: usize,
    /// Kinds of disagreements, and how many are of each.
    pub kinds: BTreeMap<String, usize>,
    /// Some of each kind, made smaller.
    pub examples: Vec<Disagreement>,
}

/// Another seed each time.
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()
}

/// Asks both about the first cases of a seed. `progress` hears the findings so far, now and then.
///
/// # Errors
/// One of them cannot be asked.
pub fn run(
    programs: &Programs,
    seed: u64,
    cases: usize,
    progress: &mut dyn FnMut(&Findings),
) -> Result<Findings> {
    let mut generator = Generator::new(seed);
    let mut findings = Findings::default();
    let mut left = cases;
    while left > 0 {
        let batch: Vec<_> = generator.by_ref().take(left.min(BATCH)).collect();
        left -= batch.len();
        let (disagreements, answers) = compare(programs, &batch)?;
        answers.iter().for_each(|answer| findings.spread.add(answer));
        findings.disagreeing += disagreements.len();
        for found in disagreements {
            let seen = findings.kinds.entry(found.kind()).or_default();
            *seen += 1;
            if *seen <= EXAMPLES_OF_A_KIND && findings.examples.len() < EXAMPLES {
                findings.examples.push(minimise(programs, found)?);
            }
        }
        progress(&findings);
    }
    Ok(findings)
}

/// Asks both; their disagreements, and libwrap's answers.
///
/// # Errors
/// One of them cannot be asked.
pub fn compare(programs: &Programs, cases: &[Case]) -> Result<(Vec<Disagreement>, Vec<Answer>)> {
    let (theirs, ours) = thread::scope(|scope| {
        let ours = scope.spawn(|| programs.tcpw(cases));
        let theirs = programs.libwrap(cases);
        (theirs, ours.join().unwrap_or_else(|_| Err(anyhow::anyhow!("asking tcpw panicked"))))
    });
    let (theirs, ours) = (theirs?, ours?);
    let both = cases.iter().zip(&theirs).zip(ours);
    let disagreements =
        both.filter(|((_, theirs), ours)| !wanted::agree(theirs, ours)).map(|((case, theirs), tcpw)| {
            Disagreement { libwrap: Answered { case: case.clone(), answer: theirs.clone() }, tcpw }
        });
    Ok((disagreements.collect(), theirs))
}
