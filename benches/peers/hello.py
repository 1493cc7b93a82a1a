# The app of the peers that run Python: knows nothing of clusters.
import os


def app(environ, start_response):
    body = b"%d\n" % os.getpid() if os.environ.get("ANSWER") == "pid" else b"hello\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
