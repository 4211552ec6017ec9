//! The sandbox and helpers the tests and the demo share.
