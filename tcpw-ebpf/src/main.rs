//! The gate.
#![no_std]
#![no_main]
