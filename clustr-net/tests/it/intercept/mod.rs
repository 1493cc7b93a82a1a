//! Programs that know nothing, in processes of their own: their `bind` and `listen` are stopped, and shared.

mod adopt;
mod cases;
mod compiled;
mod golden;
mod ports;
mod probe;
mod reduced;
pub(crate) mod stage;
#[allow(unsafe_code)]
mod sys;
mod unix;
mod uring;
mod users;

/// A server in Python, whose options stand in the place of `{}`: it says its slot and pid to whoever connects.
pub(crate) fn server(port: u16) -> String {
    format!(
        "import os, socket
s = socket.socket()
s.bind(('127.0.0.1', {port}))
s.listen(64)
while True:
    c, _ = s.accept()
    c.recv(100)
    c.sendall(b'%s %d' % (os.environ['CLUSTR_SLOT'].encode(), os.getpid()))
    c.close()
"
    )
}
