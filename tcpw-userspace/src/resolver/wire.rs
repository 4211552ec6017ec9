//! Messages between the daemon and the process that looks names up.
//!
//! In: messages. Out: frames of [`effects::wire`](crate::effects::wire).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    evaluate::request::HostName,
    parse::rule::Text,
    resolve::{Found, Question, Verified, ident::IdentReply},
};

/// The daemon's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Charge {
    /// The user to become.
    pub(super) user: String,
}

/// The process's first message: it has given up root, or why it could not.
pub(super) type Ready = Result<(), String>;

/// The number of [`Asked::sign_of_life`].
pub(super) const SIGN_OF_LIFE: u64 = 0;

/// A question, with a number of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: u64,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
enum What {
    /// Nothing: it is answered at once.
    SignOfLife,
    Name(IpAddr),
    Netgroup {
        group: Vec<u8>,
        host: Vec<u8>,
    },
    User(IdentReply),
}

/// What a question asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A sign of life.
    Nothing,
    /// A look-up.
    LookUp(Question),
    /// The user that a reply names.
    Read(IdentReply),
}

/// The answer to the question of that number; `None`: it could not be looked up.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) id: u64,
    result: Option<Answer>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Name { name: Name, warning: Option<String> },
    Member(bool),
    User(Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
enum Name {
    Known(Vec<u8>),
    Unknown,
    Paranoid,
}

impl Asked {
    pub(super) fn new(id: u64, question: &Question) -> Self {
        let what = match question {
            Question::Name(address) => What::Name(*address),
            Question::Netgroup { group, host } => {
                What::Netgroup { group: group.to_vec(), host: host.to_vec() }
            }
        };
        Self { id, what }
    }

    /// Asks whether the process still takes questions.
    pub(super) fn sign_of_life() -> Self {
        Self { id: SIGN_OF_LIFE, what: What::SignOfLife }
    }

    /// Asks which user a reply names.
    pub(super) fn user(id: u64, reply: IdentReply) -> Self {
        Self { id, what: What::User(reply) }
    }

    /// What is to be done.
    pub(super) fn work(self) -> Work {
        match self.what {
            What::SignOfLife => Work::Nothing,
            What::Name(address) => Work::LookUp(Question::Name(address)),
            What::Netgroup { group, host } => {
                Work::LookUp(Question::Netgroup { group: group.into(), host: host.into() })
            }
            What::User(reply) => Work::Read(reply),
        }
    }
}

impl Answered {
    pub(super) fn new(id: u64, found: Option<Found>) -> Self {
        let result = found.map(|found| match found {
            Found::Member(is_member) => Answer::Member(is_member),
            Found::Name(Verified { name, warning }) => {
                let name = match name {
                    HostName::Known(name) => Name::Known(name.into_vec()),
                    HostName::Unknown => Name::Unknown,
                    HostName::Paranoid => Name::Paranoid,
                };
                Answer::Name { name, warning }
            }
        });
        Self { id, result }
    }

    /// The user that a reply names.
    pub(super) fn of_user(id: u64, user: Option<Text>) -> Self {
        Self { id, result: user.map(|user| Answer::User(user.into_vec())) }
    }

    /// The user; `None` also if it is no answer to that question.
    pub(super) fn user(self) -> Option<Text> {
        match self.result? {
            Answer::User(user) => Some(user.into()),
            Answer::Name { .. } | Answer::Member(_) => None,
        }
    }

    /// What was found; `None` also if it is no answer to that question.
    pub(super) fn found(self, question: &Question) -> Option<Found> {
        match (self.result?, question) {
            (Answer::Member(is_member), Question::Netgroup { .. }) => Some(Found::Member(is_member)),
            (Answer::Name { name, warning }, Question::Name(_)) => {
                let name = match name {
                    Name::Known(name) => HostName::Known(name.into()),
                    Name::Unknown => HostName::Unknown,
                    Name::Paranoid => HostName::Paranoid,
                };
                Some(Found::Name(Verified { name, warning }))
            }
            (Answer::Member(_), Question::Name(_))
            | (Answer::Name { .. }, Question::Netgroup { .. })
            | (Answer::User(_), Question::Name(_) | Question::Netgroup { .. }) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::wire;

    fn sent<M: Serialize + serde::de::DeserializeOwned>(message: &M) -> M {
        wire::read(&mut wire::frame(message).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn questions_and_answers_come_out_as_they_went_in() {
        let name = Question::Name("2001:db8::1".parse().unwrap());
        let member = Question::Netgroup { group: (*b"trusted").into(), host: (*b"\xff.example").into() };
        for question in [&name, &member] {
            let asked = sent(&Asked::new(7, question));
            assert_eq!((asked.id, asked.work()), (7, Work::LookUp(question.clone())));
        }
        let names = [HostName::Known((*b"a.example").into()), HostName::Unknown, HostName::Paranoid];
        for host in names {
            let found = Found::Name(Verified { name: host, warning: Some("warning: x".into()) });
            assert_eq!(sent(&Answered::new(7, Some(found.clone()))).found(&name), Some(found));
        }
        let found = Found::Member(true);
        assert_eq!(sent(&Answered::new(7, Some(found.clone()))).found(&member), Some(found));
        assert_eq!(sent(&Answered::new(7, None)).found(&member), None);
    }

    #[test]
    fn sign_of_life_is_no_question() {
        let asked = sent(&Asked::sign_of_life());
        assert_eq!((asked.id, asked.work()), (SIGN_OF_LIFE, Work::Nothing));
    }

    #[test]
    fn answer_of_another_kind_is_none() {
        let name = Question::Name("10.0.0.1".parse().unwrap());
        assert_eq!(Answered::new(7, Some(Found::Member(true))).found(&name), None);
        assert_eq!(Answered::new(7, Some(Found::Member(true))).user(), None);
        assert_eq!(Answered::of_user(7, Some((*b"root").into())).found(&name), None);
    }

    #[test]
    fn users_come_out_as_they_went_in() {
        let user: Text = (*b"\xffroot").into();
        assert_eq!(sent(&Answered::of_user(7, Some(user.clone()))).user(), Some(user));
        assert_eq!(sent(&Answered::of_user(7, None)).user(), None);
    }
}
