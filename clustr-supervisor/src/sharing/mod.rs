//! How workers get connections: one file a way.
//!
//! Both ways go over node's own cluster protocol, whose words [`node`] understands once: in `shared` a worker gets a
//! duplicate of the listener and accepts for itself; in [`handoff`] the listener stays with the primary.

mod handoff;
pub(crate) mod node;
mod reserve;
