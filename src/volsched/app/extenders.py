"""Scheduler extenders over HTTP: the ExtenderClient that a configuration's extenders are reached by.

    call(verb, args) ──POST urlPrefix/verb, JSON──> status 200 and JSON, anything else is a PluginError

The standard library's client is enough: one request at a time, answers read whole, no retries, since upstream makes none. An address is
`http://host:port/path`, `https://…`, or `http+unix://%2Frun%2Fextender.sock/path` for a socket. Each call has a connection of its own, so
that an extender may restart between two of them. The timeout holds for connecting and for each wait on the socket.

Source: pkg/scheduler/extender.go (NewHTTPExtender, send, makeTransport).
"""

from __future__ import annotations

import base64
import binascii
import http.client
import socket
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from volsched.api.kinds import Json
from volsched.errors import InputError, PluginError
from volsched.scheduler.configuration import ExtenderSettings, TlsSettings
from volsched.scheduler.extenders import Extender

_HEADERS: Final = {"Content-Type": "application/json"}


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _NamedConnection(http.client.HTTPSConnection):
    """HTTPS to a server whose certificate is for another name than its address."""

    def __init__(self, host: str, port: int | None, *, timeout: float, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._ssl = context
        self._server_name = server_name or host

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._ssl.wrap_socket(self.sock, server_hostname=self._server_name)


class HttpExtenderClient:
    """One extender's address. Raises InputError when the address or its certificates cannot be used."""

    def __init__(self, settings: ExtenderSettings) -> None:
        self._settings = settings
        self._base = settings.url_prefix.rstrip("/")
        address = urlsplit(self._base)
        self._scheme, self._path = address.scheme, address.path
        try:
            self._host, self._port = unquote(address.hostname or ""), address.port
        except ValueError as problem:
            raise InputError(f'extender address "{settings.url_prefix}": {problem}') from problem
        if self._scheme == "http+unix":
            self._host = unquote(address.netloc)  # a path, whose case counts
        if self._scheme not in ("http", "https", "http+unix") or not self._host:
            text = "is none: write http://host:port/path, https://host:port/path or http+unix://%2Fpath%2Fto%2Fsocket/path"
            raise InputError(f'extender address "{settings.url_prefix}" {text}')
        self._context = _tls_context(settings) if self._scheme == "https" else None

    def _connection(self) -> http.client.HTTPConnection:
        timeout = self._settings.timeout_s
        if self._scheme == "http+unix":
            return _SocketConnection(self._host, timeout)
        if self._context is not None:
            name = self._settings.tls.server_name
            return _NamedConnection(self._host, self._port, timeout=timeout, context=self._context, server_name=name)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def call(self, verb: str, args: Json) -> Json:
        """Post the arguments; see `volsched.ports.ExtenderClient`."""
        url = f"{self._base}/{verb}"
        try:
            with closing(self._connection()) as connection:
                connection.request("POST", f"{self._path}/{verb}", msgspec.json.encode(args), _HEADERS)
                answer = connection.getresponse()
                status, body = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as problem:
            reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem) or type(problem).__name__
            raise PluginError(f'Post "{url}": {reason}') from problem
        if status != http.client.OK:
            raise PluginError(f"failed {verb} with extender at URL {url}, code {status}")
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise PluginError(f"the answer of extender {url} is not JSON: {problem}") from problem


def _tls_context(settings: ExtenderSettings) -> ssl.SSLContext:
    """Raises InputError when a certificate or key cannot be read."""
    tls = settings.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None, cadata=_pem(tls.ca_data, "caData") or None)
        if tls.insecure or (settings.https and not (tls.ca_file or tls.ca_data)):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _load_own_certificate(context, tls)
    except (OSError, ValueError) as problem:  # ssl.SSLError is an OSError
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise InputError(f'extender "{settings.url_prefix}": its TLS settings cannot be used: {reason}') from problem
    return context


def _load_own_certificate(context: ssl.SSLContext, tls: TlsSettings) -> None:
    """ssl reads certificates and keys from files alone, so data goes through files that nobody else can read."""
    if not (tls.cert_file or tls.cert_data):
        return
    with tempfile.TemporaryDirectory(prefix="volsched-") as folder:  # of this user alone
        cert = Path(tls.cert_file) if tls.cert_file else _written(Path(folder) / "cert.pem", _pem(tls.cert_data, "certData"))
        key = Path(tls.key_file) if tls.key_file else None
        if key is None and tls.key_data:
            key = _written(Path(folder) / "key.pem", _pem(tls.key_data, "keyData"))
        context.load_cert_chain(cert, key)


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="ascii")
    return path


def _pem(data: str, field: str) -> str:
    """Certificates in a configuration are base64 of their PEM text."""
    if not data:
        return ""
    try:
        return base64.b64decode(data, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise ValueError(f"{field} is not base64 of PEM text: {problem}") from problem


def make_extenders(settings: Sequence[ExtenderSettings]) -> list[Extender]:
    """The extenders of a configuration. Raises InputError."""
    return [
        Extender(
            url=item.url_prefix,
            client=HttpExtenderClient(item),
            filter_verb=item.filter_verb,
            prioritize_verb=item.prioritize_verb,
            bind_verb=item.bind_verb,
            preempt_verb=item.preempt_verb,
            weight=item.weight,
            sends_names=item.node_cache_capable,
            ignorable=item.ignorable,
            managed=item.managed,
        )
        for item in settings
    ]
