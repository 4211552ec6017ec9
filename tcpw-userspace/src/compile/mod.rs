//! Rules to a policy: where first match becomes longest match. No I/O, no aya.
#![forbid(unsafe_code)]
