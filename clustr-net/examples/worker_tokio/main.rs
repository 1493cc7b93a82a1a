//! A worker with axum on a current-thread runtime: the worker is its listener.

#[allow(unsafe_code)]
mod sys;

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use axum::serve::Listener;
use clustr_net::Worker;
use clustr_net::worker::{Heard, OpenGuard, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let Some(worker) = Worker::from_env()? else {
        return Err(io::Error::other(
            "nobody made this a worker: CLUSTR_CHANNEL_FD and LISTEN_FDS are not set",
        ));
    };
    worker.ready()?;
    let app = Router::new().route("/", get(async || "hello\n"));
    let (drain, drained) = oneshot::channel();
    let watch = sys::Watch::new(worker.as_fd().try_clone_to_owned()?)?;
    let connections = Connections { worker, watch, drain: Some(drain) };
    // What is open is finished when the primary says to drain.
    axum::serve(connections, app).with_graceful_shutdown(async { drop(drained.await) }).await
}

/// The worker's connections, as axum wants them.
struct Connections {
    worker: Worker,
    watch: sys::Watch,
    /// Dropped when it is time to leave.
    drain: Option<oneshot::Sender<()>>,
}

/// A connection, and the count of it.
struct Counted {
    stream: TcpStream,
    _open: OpenGuard,
}

impl Listener for Connections {
    type Io = Counted;
    type Addr = ();

    async fn accept(&mut self) -> (Counted, ()) {
        loop {
            match self.next().await {
                Ok(Some(counted)) => return (counted, ()),
                Ok(None) => {}
                // No descriptor is left, or the primary is out of its mind: nobody else can come.
                Err(_) => self.drain = None,
            }
            if self.drain.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Connections {
    async fn next(&mut self) -> io::Result<Option<Counted>> {
        let mut ready = self.watch.readable().await?;
        match self.worker.try_next()? {
            Some(Heard::Connection(connection)) => {
                let (Stream::Tcp(stream), open) = connection.into_parts() else { return Ok(None) };
                return Ok(Some(Counted { stream: TcpStream::from_std(stream)?, _open: open }));
            }
            Some(Heard::Message(_)) => {}
            Some(Heard::Drain | Heard::Closed) => self.drain = None,
            None => ready.clear_ready(),
        }
        Ok(None)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
