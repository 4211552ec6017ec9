//! Alone in naming aya: load, sync, attach, pin.
