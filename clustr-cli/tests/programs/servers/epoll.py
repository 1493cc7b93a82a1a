"""A socket that is registered with epoll before it is bound, as the native transports of some frameworks do."""

import os
import select
import socket
import sys

server = socket.socket()
server.setblocking(False)
queue = select.epoll()
queue.register(server.fileno(), select.EPOLLIN)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen(64)
queue.modify(server.fileno(), select.EPOLLIN)
while True:
    for descriptor, _ in queue.poll():
        assert descriptor == server.fileno(), descriptor
        try:
            client, _ = server.accept()
        except BlockingIOError:
            continue
        client.setblocking(True)
        try:
            client.recv(1000)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n%d" % os.getpid())
        except OSError:
            pass  # Whoever hangs up has not harmed anybody else.
        client.close()
