"""Answers every request with the process that did it. A request's number, if its path is one, comes back, so that
the access log has one line per number."""

import os


def application(environ, start_response):
    number = environ["PATH_INFO"].lstrip("/")
    body = f"{number} by {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
