//! Node's cluster protocol: how an unmodified `server.listen(3001)` in many processes shares one port.
//!
//! A worker started with [`Endpoint::environment`] believes that a `node:cluster` primary started it: instead of
//! binding, it asks over its channel. [`Endpoint`] is our end of that channel, [`Table`] the listeners that the
//! workers of one app share, [`Worker`] the other end for programs that are not node.
//!
//! The wire is one JSON value and a line feed per message, descriptors by `SCM_RIGHTS` with the line that names them.
//! The same bytes work with node 12 to 26 and Deno; Bun's dialect is recognised from its first byte. Sources: the
//! library source in node's own binaries (`lib/internal/cluster`, `lib/internal/child_process.js`).
//!
//! Never starts a process, never decides what becomes of one. A worker's bytes are hostile: nothing here panics on
//! them, and all memory and all descriptors that they can claim are bounded.
//!
//! ```
//! use clustr_net::node::{Endpoint, Said, Table};
//!
//! let mut table = Table::new(Vec::new());
//! let (mut endpoint, theirs) = Endpoint::pair()?;
//! // A spawner would place `theirs` as descriptor 3 and set `Endpoint::environment(3, 1)`. Here we speak for it.
//! let mut worker = clustr_net::node::Worker::new(theirs)?;
//! let asking = std::thread::scope(|scope| {
//!     let asking = scope.spawn(|| worker.listen(&"127.0.0.1:0".parse().unwrap()));
//!     let mut said = Vec::new();
//!     while !asking.is_finished() {
//!         endpoint.receive(64, &mut said)?;
//!         for word in said.drain(..) {
//!             if let Said::Query(query) = word {
//!                 let answer = table.answer(1, &query);
//!                 endpoint.answer(&query, answer)?;
//!             }
//!         }
//!     }
//!     Ok::<_, Box<dyn std::error::Error>>(asking.join().expect("the worker's thread lives"))
//! })?;
//! assert_eq!(asking?.local_addr()?.port(), table.listeners().next().map(clustr_net::Listener::port).unwrap().unwrap());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod encode;
mod endpoint;
mod json;
mod ledger;
mod lines;
mod message;
mod outbox;
mod query;
mod table;
mod window;
mod worker;

pub use endpoint::{Endpoint, Fault, Said};
pub use lines::LINE_BYTES_MAX;
pub use message::{Decoder, Dialect, Message};
pub use outbox::{QUEUE_BYTES_MAX, QUEUE_LINES_MAX, SendError};
pub use query::{AddressKind, Query};
pub use table::{Answer, Bound, Closed, Fate, Gone, Table};
pub use window::{WINDOW_MAX, Window};
pub use worker::{Heard, Worker};

pub use crate::progress::Progress;
