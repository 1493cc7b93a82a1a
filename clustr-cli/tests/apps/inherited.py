# A server on the descriptor that it was started with, or else on its own port; a thread for each client. What is open is
# finished on SIGTERM. CRASHES makes it a bad version: it writes down every client's port first, and ends after so many
# seconds.
import os
import select
import signal
import socket
import threading

crashes = os.environ.get("CRASHES")

if "LISTEN_FDS" in os.environ:
    listener = socket.socket(fileno=3)
else:
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=1024)
listener.setblocking(False)
woken, wake = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(wake, b"."))


# Held from a client's arrival until its port is written down: no crash comes between.
noting = threading.Lock()


def crash():
    noting.acquire()
    os._exit(5)


if crashes:
    threading.Timer(float(crashes), crash).start()


def note(port):
    with open(os.path.join(os.environ["FOLDER"], "crashed.log"), "a") as log:
        log.write(f"{port}\n")


def serve(client):
    with client:
        client.settimeout(30)
        asked = b""
        while b"\r\n\r\n" not in asked:
            piece = client.recv(4096)
            if not piece:
                return
            asked += piece
        body = f"{os.environ['CLUSTR_GENERATION']} {os.getpid()}".encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))


while True:
    readable, _, _ = select.select([listener, woken], [], [])
    if woken in readable:
        break
    with noting:
        try:
            client, address = listener.accept()
        except BlockingIOError:
            continue
        if crashes:
            note(address[1])
    threading.Thread(target=serve, args=(client,)).start()
