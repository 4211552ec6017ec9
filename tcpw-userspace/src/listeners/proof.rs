//! Which names of a listener are proven.
//!
//! In: facts of the process, its executable, its unit and its socket. Out: each name with what proves it, or why
//! nothing does. No I/O.
//! Invariant: what a user without privileges can choose proves nothing: names and places of files, arguments, the
//! process name, mounts, namespaces, libraries that are loaded beforehand.
//!
//! The socket's maker counts, and not the process alone: a process may have been given a socket, and a program
//! that is root's may run with code of its user (LD_PRELOAD).

use super::{NamePart, names::parts, process::ProcessInfo};
use crate::{names::NamesSet, parse::rule::Text};

/// A name of a listener, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: Text,
    /// What proves it, or why nothing does.
    pub proof: Result<Proof, Doubt>,
}

/// What proves a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Root of the host runs the process and made the socket.
    Root,
    /// Root of the host made the socket, and only root can have put the executable where it is.
    File,
    /// It is of its unit of the system manager: runs the unit's program, or runs as the unit's user.
    Unit,
    /// The configuration of a super-server of root.
    SuperServer,
    /// tcpw.toml.
    Setting,
}

impl std::fmt::Display for Proof {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::File => "file",
            Self::Unit => "unit",
            Self::SuperServer => "super-server",
            Self::Setting => "tcpw.toml",
        })
    }
}

/// Why a name is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A user runs the process.
    User(u32),
    /// A user runs the process, with rights or a socket of another user's.
    Users(u32),
    /// It becomes another program while it is looked at.
    Changing,
    /// The process is in a user namespace of its own, which this user made.
    UserNamespace(u32),
    /// The executable is set-uid or set-gid: its caller chooses its arguments.
    SetId,
    /// A user made the socket.
    SocketOf(u32),
    /// Others than root can have put the executable where it is: why.
    File(String),
    /// Others than root can write to the cgroup of the unit.
    Cgroup,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(out, "user {user} runs it"),
            Self::Users(user) => write!(out, "user {user} runs it, with another user's rights or socket"),
            Self::Changing => write!(out, "it becomes another program while it is looked at"),
            Self::UserNamespace(user) => write!(out, "it is in a user namespace that user {user} made"),
            Self::SetId => write!(out, "its program is set-uid or set-gid"),
            Self::SocketOf(user) => write!(out, "user {user} made its socket"),
            Self::File(why) => write!(out, "{why}"),
            Self::Cgroup => write!(out, "others than root can write to the cgroup of its unit"),
        }
    }
}

/// What a listener's names depend on.
#[derive(Clone, Copy)]
pub(super) struct ProcessFacts<'a> {
    pub(super) process: &'a ProcessInfo,
    /// The user that made the socket.
    pub(super) maker: u32,
}

/// All names of a listener's process.
pub(super) fn claims(facts: ProcessFacts<'_>) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for (name, part) in parts(facts.process).into_iter().filter(|(name, _)| !name.is_empty()) {
        let proof = facts.proof_of(part);
        match claims.iter_mut().find(|claim| *claim.name == *name) {
            Some(known) if known.proof.is_err() && proof.is_ok() => known.proof = proof,
            Some(_) => {}
            None => claims.push(Claim { name: name.into(), proof }),
        }
    }
    claims
}

/// Names that a process gives another listener: proven if root of the host runs it.
pub(super) fn given<N: AsRef<[u8]>>(
    names: impl IntoIterator<Item = N>,
    by: ProcessFacts<'_>,
    proof: Proof,
) -> Vec<Claim> {
    let proof = by.is_root().map(|()| proof);
    let claim = |name: N| Claim { name: name.as_ref().into(), proof: proof.clone() };
    names.into_iter().map(claim).collect()
}

/// The names-set of claims.
pub(super) fn names_set(claims: &[Claim]) -> NamesSet {
    let of = |is_proven: bool| {
        claims.iter().filter(move |claim| claim.proof.is_ok() == is_proven).map(|claim| &claim.name)
    };
    NamesSet::new(of(true)).with_unproven(of(false))
}

impl ProcessFacts<'_> {
    fn proof_of(&self, part: NamePart) -> Result<Proof, Doubt> {
        let doubt = match self.is_root() {
            Ok(()) => return Ok(Proof::Root),
            Err(doubt @ Doubt::Changing) => return Err(doubt),
            Err(doubt) => doubt,
        };
        match part {
            NamePart::Argv | NamePart::Comm => Err(doubt),
            NamePart::Unit => self.is_of_unit().map(|_| Proof::Unit).map_err(|more| more.unwrap_or(doubt)),
            NamePart::Executable | NamePart::Libwrap => {
                if self.is_of_unit() == Ok(Program::Named) {
                    return Ok(Proof::Unit);
                }
                if self.is_other_program_of_unit() {
                    return Err(doubt);
                }
                self.is_file_of_root().map(|()| Proof::File).map_err(|more| more.unwrap_or(doubt))
            }
        }
    }

    /// A process of a unit that is not root's, with a program that the unit does not name and that is not called like the
    /// unit. An attacker that controls such a process can execute any file of root, and keeps the socket that root made.
    fn is_other_program_of_unit(&self) -> bool {
        let ProcessInfo { unit, uids, .. } = self.process;
        unit.as_ref().is_some_and(|unit| unit.is_of_root && !unit.is_called_so) && !uids.contains(&0)
    }

    /// Root of the host runs the process, by a program that no other user gave its arguments, and made the socket.
    fn is_root(&self) -> Result<(), Doubt> {
        match self.process.is_run_by_root() {
            Ok(()) if self.maker == 0 => Ok(()),
            Ok(()) => Err(Doubt::SocketOf(self.maker)),
            Err(Doubt::User(user)) if !self.is_of_user(user) => Err(Doubt::Users(user)),
            Err(doubt) => Err(doubt),
        }
    }

    /// This user, by its id on the host, runs the process with no other user's rights; it or root made the socket.
    pub(super) fn is_of_user(&self, user: u32) -> bool {
        let ProcessInfo { uids, is_changing, .. } = self.process;
        !is_changing && *uids == [user; 4] && (self.maker == user || self.maker == 0)
    }

    /// Root made the socket, and only root can have put the executable where it is. A set-uid program (exim) is what
    /// its file is, whatever its caller tells it. Otherwise what to say that the doubt about the user does not.
    fn is_file_of_root(&self) -> Result<(), Option<Doubt>> {
        let ProcessInfo { program, has_foreign_users, .. } = self.process;
        if self.maker != 0 || *has_foreign_users {
            return Err(None);
        }
        match program {
            Some(program) => program.of_root.clone().map_err(|why| Some(Doubt::File(why))),
            None => Err(None),
        }
    }

    /// It is of its unit, and not what another user runs below the unit: it is a program that the unit names, and root
    /// or the user of the unit runs it and made the socket, or root let it keep the capability to bind (named), or root
    /// runs it with a user's rights for a time (proftpd); or the user of the unit runs any program and made the socket.
    ///
    /// A user namespace of its own (PrivateUsers=) changes nothing: the user ids are those of the host.
    fn is_of_unit(&self) -> Result<Program, Option<Doubt>> {
        let ProcessInfo { unit: Some(unit), program, uids, .. } = self.process else {
            return Err(None);
        };
        if !unit.is_of_root {
            return Err(Some(Doubt::Cgroup));
        }
        if program.as_ref().is_none_or(|program| program.is_set_id) {
            return Err(None);
        }
        let taken = self.process.taken_user();
        let are_of = |user: Option<u32>| {
            let is_its = |uid: u32| uid == 0 || user == Some(uid);
            is_its(self.maker) && uids.iter().all(|uid| is_its(*uid))
        };
        let are_users_its = are_of(unit.user);
        let is_given = self.maker == 0 && !self.process.has_foreign_users;
        let may_be_program = are_users_its || are_of(taken) || is_given || self.process.has_given_capability;
        if unit.is_program && may_be_program || unit.user.is_some() && are_users_its {
            Ok(if unit.is_called_so { Program::Named } else { Program::Any })
        } else {
            Err(None)
        }
    }
}

/// What a process of a unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A program under the name that the unit gives it.
    Named,
    /// Perhaps another, or under a name that the user of the unit chose.
    Any,
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
