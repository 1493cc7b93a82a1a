"""Datagrams: each is answered with the pid of whoever got it."""

import os
import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    _, client = server.recvfrom(1000)
    server.sendto(b"%d" % os.getpid(), client)
