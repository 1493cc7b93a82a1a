//! Keys by which TLS sessions are resumed, whichever worker a client comes to next.
//!
//! Owns how they are made and written. Never keeps any: the table's entries do. Called by `table`.

use std::fmt::Write as _;

use crate::node::query::Query;

/// Whether a server cannot do without.
pub(super) fn are_wanted(query: &Query) -> bool {
    crate::node::json::pick(&query.data, ["ticketKeys"]).is_some_and(|[keys]| keys.is_some())
}

/// 48 random bytes, as 96 hexadecimal digits in node's object (`tls.Server.setTicketKeys`).
pub(super) fn fresh() -> Option<String> {
    let mut bytes = [0; 48];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    if filled != bytes.len() {
        return None;
    }
    let mut text = "{\"ticketKeys\":\"".to_owned();
    for byte in bytes {
        write!(text, "{byte:02x}").ok()?;
    }
    text.push_str("\"}");
    Some(text)
}
