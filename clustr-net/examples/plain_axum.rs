//! A server with axum that knows nothing of clusters: it binds for itself, on the port that is its one argument.
//!
//! `clustr run -n 4 -- target/debug/examples/plain_axum 3001` shares that port.

use std::io;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|word| word.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("one argument is needed: a port"))?;
    let app = Router::new().route("/", get(async || std::process::id().to_string()));
    axum::serve(TcpListener::bind(("127.0.0.1", port)).await?, app).await
}
