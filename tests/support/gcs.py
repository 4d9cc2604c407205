"""A server for ``gs://`` on this machine, which TensorFlow reaches through a proxy.

TensorFlow's own client of Google Cloud Storage is tested with it: the variables of
``environment`` lead the client to this server, with a certificate of its own. Objects
are in memory. Bucket ``missing`` does not exist; a test can let requests fail.
"""

import contextlib
import datetime
import http.server
import json
import re
import shutil
import socketserver
import ssl
import subprocess
import threading
import urllib.parse

import pytest

HOSTS = "DNS:www.googleapis.com,DNS:storage.googleapis.com"


class Server(socketserver.ThreadingTCPServer):
    """Objects of all buckets, and the requests that were made.

    Attributes:
        objects: "bucket/name" -> (bytes, number of the change).
        fault: (method, "bucket/name") -> HTTP status to fail with, or None.
        log: (method, "bucket/name") of each request that changes an object.
        silent: Whether the server accepts connections and never answers.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.log, self.silent = {}, [], False
        self.fault = lambda method, name: None
        self.folder, self.changes = folder, 0
        key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj"
        names = ["/CN=www.googleapis.com", "-addext", f"subjectAltName={HOSTS}"]
        files = ["-keyout", key, "-out", self.certificate]
        subprocess.run(
            [*command.split(), *names, *files], check=True, capture_output=True
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)

    @property
    def environment(self):
        proxy = f"http://127.0.0.1:{self.server_address[1]}"
        return {
            "https_proxy": proxy,
            "HTTPS_PROXY": proxy,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(self.certificate),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "NO_GCE_CHECK": "true",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "0",
            "GCS_STAT_CACHE_MAX_AGE": "0",
        }

    def put(self, name, content):
        self.changes += 1
        self.objects[name] = content, self.changes

    def names(self, folder):
        """Names of the objects below bucket/folder, relative to it."""
        start = f"{folder}/"
        return sorted(
            n.removeprefix(start) for n in self.objects if n.startswith(start)
        )

    def read(self, name):
        return self.objects[name][0]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if self.server.silent:
            threading.Event().wait()
        self.connection = self.server.context.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)

    def _answer(self, code, body=b"", **headers):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _object(self):
        """The bucket/name of a request, its query, and whether it is an upload."""
        path, _, query = self.path.partition("?")
        query = {k: v[0] for k, v in urllib.parse.parse_qs(query).items()}
        match = re.fullmatch(r"(/upload)?/storage/v1/b/([^/]+)(/o)?/?(.*)", path)
        if match:
            bucket, name = match[2], urllib.parse.unquote(match[4])
            return bucket, name or query.get("name", ""), query, bool(match[3])
        bucket, _, name = urllib.parse.unquote(path).lstrip("/").partition("/")
        return bucket, name, None, True

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _handle(self):
        body = self._body()
        bucket, name, query, of_objects = self._object()
        name, server = f"{bucket}/{name}", self.server
        code = server.fault(self.command, name)
        if code or bucket == "missing":
            return self._answer(code or 404, {"error": "as the test wants"})
        if self.command == "GET":
            return self._get(bucket, name, query, of_objects)
        if "/rewriteTo/b/" in name:  # a file is renamed: copied, then removed
            source, _, target = name.partition("/rewriteTo/b/")
            server.put(target.replace("/o/", "/", 1), server.read(source))
            return self._answer(200, {"done": True})
        if self.command == "POST" and query["uploadType"] == "resumable":
            query = urllib.parse.urlencode({"name": name.partition("/")[2]})
            place = f"https://www.googleapis.com/upload/storage/v1/b/{bucket}/o?{query}"
            return self._answer(200, Location=place)
        server.log.append((self.command, name))
        if self.command in ("PUT", "POST"):
            server.put(name, body)
            return self._answer(200, {})
        found = server.objects.pop(name, None)
        return self._answer(404 if found is None else 204)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _get(self, bucket, name, query, of_objects):
        objects = self.server.objects
        if query is not None and not of_objects:
            return self._answer(200, {"name": bucket})
        if query is not None and name == f"{bucket}/":
            return self._list(bucket, query)
        if name not in objects:
            return self._answer(404, {"error": "not found"})
        content, change = objects[name]
        if query is None:
            return self._send(content)
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        time = start + datetime.timedelta(seconds=change)
        facts = {"size": str(len(content)), "generation": str(change)}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return self._answer(200, {**facts, "updated": stamp})

    def _send(self, content):
        match = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not match:
            return self._answer(200, content)
        if int(match[1]) >= len(content):
            return self._answer(416)
        return self._answer(206, content[int(match[1]) : int(match[2]) + 1])

    def _list(self, bucket, query):
        start, items, folders = query.get("prefix", ""), [], {}
        for name in sorted(self.server.objects):
            inside = name.removeprefix(f"{bucket}/")
            if name == inside or not inside.startswith(start):
                continue
            head, slash, _ = inside[len(start) :].partition("/")
            if slash and query.get("delimiter"):
                folders[f"{start}{head}/"] = None
            else:
                items.append({"name": inside})
        return self._answer(200, {"items": items, "prefixes": list(folders)})


@contextlib.contextmanager
def serving(folder):
    """A server, until the block ends."""
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl, which is not installed")
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
