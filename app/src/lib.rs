//! Studio library.
