//! Who listens where, under which names.
