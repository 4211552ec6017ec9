//! The answer that a request has.
//!
//! In: a [`Response`]. Out: the value that was asked for. A new kind of answer is one line in the table below.

use super::{ApplyAnswer, BanList, BanResult, LiveAnswer, Metrics, RecentAnswer, Response, Status};

/// A value that a request is answered with.
pub trait Answer: Sized {
    /// From the response to its request; `None` if it is another's.
    fn of(response: Response) -> Option<Self>;
}

/// Each kind of answer, and its response.
macro_rules! answers {
    ($($value:ty: $variant:ident;)*) => {
        $(impl Answer for $value {
            fn of(response: Response) -> Option<Self> {
                if let Response::$variant(value) = response { Some(value) } else { None }
            }
        })*
    };
}

answers! {
    Box<Status>: Status;
    Box<Metrics>: Metrics;
    Box<LiveAnswer>: Match;
    RecentAnswer: Recent;
    BanResult: Banned;
    BanList: Bans;
    ApplyAnswer: Apply;
    Vec<String>: Done;
}

/// The value that was asked for.
///
/// # Errors
/// The request failed, or this is another kind of answer.
pub fn answer_in<A: Answer>(response: Response) -> Result<A, String> {
    match response {
        Response::Failed(reason) => Err(reason),
        Response::Status(_)
        | Response::Metrics(_)
        | Response::Match(_)
        | Response::Recent(_)
        | Response::Banned(_)
        | Response::Bans(_)
        | Response::Apply(_)
        | Response::Done(_) => {
            A::of(response).ok_or_else(|| "another answer than was asked for: is it another version?".into())
        }
    }
}
