"""An AF_UNIX server at PATH; with a second word it removes the path first, as most do."""

import os
import socket
import sys

path = sys.argv[1]
if len(sys.argv) > 2 and os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(64)
while True:
    client, _ = server.accept()
    try:
        client.recv(1000)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n%d" % os.getpid())
    except OSError:
        pass  # Whoever hangs up has not harmed anybody else.
    client.close()
