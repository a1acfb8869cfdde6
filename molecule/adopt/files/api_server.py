"""Stands in for an old vLLM: listens where it was told to, and answers that it is alive."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Alive(BaseHTTPRequestHandler):
    """Says 200 to everything."""

    def do_GET(self):
        """Answer."""
        self.send_response(200)
        self.end_headers()


HTTPServer(("0.0.0.0", int(sys.argv[sys.argv.index("--port") + 1])), Alive).serve_forever()  # noqa: S104 - as vLLM
