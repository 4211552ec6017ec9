//! The patterns of one pattern file by keys.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    slice,
};

use super::{
    super::host::Host,
    Candidates, Index,
    host::{FoundBy, HostIndex, HostIndexBuilder, found_by, may_ask},
    keys::IndexKey,
};
use crate::parse::rule::{HostPattern, Origin, PatternFile};

/// The patterns of one pattern file.
#[derive(Clone, Debug)]
pub(in crate::evaluate) struct FileIndex(HostIndex);

impl FileIndex {
    pub(super) fn new(file: &PatternFile) -> Self {
        let mut builder = HostIndexBuilder::with_capacity(file.patterns.len());
        let mut files: HashSet<&PathBuf> = HashSet::new();
        for (position, (_, pattern)) in file.patterns.iter().enumerate() {
            match found_by(pattern) {
                // A file is read once.
                FoundBy::Always => match pattern {
                    HostPattern::File(path) if !files.insert(path) => {}
                    HostPattern::Netgroup(_)
                    | HostPattern::File(_)
                    | HostPattern::Known
                    | HostPattern::Local
                    | HostPattern::NetV4 { .. }
                    | HostPattern::NetV6 { .. }
                    | HostPattern::Never
                    | HostPattern::Text { .. } => builder.add(IndexKey::Always, position),
                },
                FoundBy::ByKey(key) => {
                    builder.add(key, position);
                    if may_ask(pattern) {
                        builder.add(IndexKey::MayAsk, position);
                    }
                }
                FoundBy::Never if may_ask(pattern) => builder.add(IndexKey::MayAsk, position),
                FoundBy::Never => {}
            }
        }
        Self(builder.build())
    }

    pub(super) fn keys(&self) -> &HostIndex {
        &self.0
    }

    fn next<'a>(&'a self, candidates: &mut Candidates<'a>, host: &Host<'_>) -> Option<usize> {
        let is_named = host.known_name().is_some();
        candidates.next(is_named, |lists| {
            let wanted =
                if is_named { &[IndexKey::Always][..] } else { &[IndexKey::Always, IndexKey::MayAsk] };
            lists.extend(wanted.iter().map(|key| self.0.find(*key)).filter(|list| !list.is_empty()));
            self.0.find_host(host, lists);
        })
    }
}

/// The patterns of a file that may match, in order.
pub(in crate::evaluate) enum CandidatePatterns<'a> {
    /// All of them.
    All(slice::Iter<'a, (Origin, HostPattern)>),
    /// Those that the index finds.
    Found(&'a FileIndex, Candidates<'a>, &'a [(Origin, HostPattern)]),
}

impl<'a> CandidatePatterns<'a> {
    pub(in crate::evaluate) fn new(path: &Path, file: &'a PatternFile, index: &'a Index) -> Self {
        match index.file(path) {
            Some(index) => Self::Found(index, Candidates::new(), &file.patterns),
            None => Self::All(file.patterns.iter()),
        }
    }

    /// The next pattern that the host may match.
    pub(in crate::evaluate) fn next(&mut self, host: &Host<'_>) -> Option<&'a HostPattern> {
        let (_, pattern) = match self {
            Self::All(patterns) => patterns.next()?,
            Self::Found(index, candidates, patterns) => patterns.get(index.next(candidates, host)?)?,
        };
        Some(pattern)
    }
}
