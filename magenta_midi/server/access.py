"""Access: who may reach the server, and what a browser may do with it.

An ASGI middleware around everything. It refuses other hosts' names (a page of
another site may have its own name lead here), other sites' requests, missing
tokens, too many requests, and bodies that are too large.
"""

import hmac
import http
import ipaddress
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from magenta_midi.server.rates import Buckets
from magenta_midi.server.settings import LOCAL_HOSTS, ServerSettings

__all__ = ["Access", "cookie_name"]

MAX_BODY_BYTES = 64 * 1024
# A page loads some fifty files at once.
REQUESTS_A_SECOND, REQUESTS_AT_ONCE = 30.0, 200.0
_OPEN = ("/healthz",)
_UPLOADS = "/api/uploads"
_COOKIE_S = 30 * 24 * 3600
_POLICY = (
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'"
  " data: blob:; media-src 'self' blob:; font-src 'self'; worker-src 'self';"
  " manifest-src 'self'; connect-src 'self' ws://{host} wss://{host};"
  " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_TOO_LARGE = "this is too large."
# A page that leads on: a redirect would keep the token in the history, and a
# browser that comes from another site would not send the cookie along.
_LEADING_ON = (
  b'<!doctype html><html lang="en"><title>magenta_midi</title>'
  b'<meta http-equiv="refresh" content="0;url=/"></html>'
)


def cookie_name(port: int) -> str:
  """Of the token: cookies do not know ports."""
  return f"magenta_midi_{port}"


class Access:
  """The middleware.

  Args:
    app: What it stands before.
    settings: Of the server.
    port: On which it listens.
    max_upload: Bytes of an upload at most.
  """

  def __init__(
    self, app: ASGIApp, settings: ServerSettings, port: int, max_upload: int
  ):
    self._app, self._settings, self._port = app, settings, port
    self._max_upload = max_upload
    self._buckets = Buckets(REQUESTS_A_SECOND, REQUESTS_AT_ONCE)
    self._names = {*LOCAL_HOSTS, settings.host.lower()}
    self._names |= {_host_name(name) or "" for name in settings.names}
    # A server for other machines is reached by its machine's addresses.
    self._any_address = settings.host not in LOCAL_HOSTS

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Lets a request through, or answers it."""
    if scope["type"] not in ("http", "websocket"):
      await self._app(scope, receive, send)
      return
    headers = Headers(scope=scope)
    refused = self._refused(scope, headers)
    if refused is not None:
      await self._refuse(scope, send, *refused)
      return
    if scope["type"] == "websocket":
      await self._app(scope, receive, send)
      return
    if (token := self._token_of_address(scope)) is not None:
      await self._take_token(send, token)
      return
    await self._answer(scope, headers, receive, send)

  async def _answer(
    self, scope: Scope, headers: Headers, receive: Receive, send: Send
  ) -> None:
    limit = MAX_BODY_BYTES
    if scope["path"] == _UPLOADS:
      limit = self._max_upload
    length = headers.get("content-length", "0")
    if not length.isdigit() or len(length) > 15 or int(length) > limit:
      await self._refuse(scope, send, 413, _TOO_LARGE)
      return
    received = 0

    async def bounded() -> Message:
      nonlocal received
      message = await receive()
      received += len(message.get("body", b""))
      if received > limit:
        raise HTTPException(413, _TOO_LARGE)
      return message

    async def guarded(message: Message) -> None:
      if message["type"] == "http.response.start":
        self._add_headers(message, headers, scope["path"])
      await send(message)

    await self._app(scope, bounded, guarded)

  # Reasons to refuse.

  def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
    """Status and line of the answer; None: it may pass."""
    client = scope.get("client")
    # The page's own files cost next to nothing, and are many.
    counted = scope["path"].startswith("/api/")
    if counted and not self._buckets.take(client[0] if client else ""):
      return 429, "too many requests; wait a little."
    host = headers.get("host", "")
    if not self._is_ours(host):
      return 403, "the server is not known by this name (see --allow-host)."
    if not _same_site(scope, headers, host):
      return 403, "requests of other sites are refused."
    if scope["path"] in _OPEN or self._has_token(scope, headers):
      return None
    return 401, "open the whole address that serve printed, with its token."

  def _is_ours(self, host: str) -> bool:
    name = _host_name(host)
    if name is None:
      return False
    if name in self._names:
      return True
    if not self._any_address:
      return False
    # A name may be made to lead here; an address is what it is.
    try:
      ipaddress.ip_address(name)
    except ValueError:
      return False
    return True

  def _has_token(self, scope: Scope, headers: Headers) -> bool:
    if self._settings.token is None:
      return True
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and self._is_token(given.strip()):
      return True
    cookies: SimpleCookie = SimpleCookie()
    try:
      cookies.load(headers.get("cookie", ""))
    except CookieError:
      return False
    found = cookies.get(cookie_name(self._port))
    if found is not None and self._is_token(found.value):
      return True
    return self._token_of_address(scope) is not None

  def _is_token(self, given: str) -> bool:
    token = self._settings.token or ""
    return hmac.compare_digest(token.encode(), given.encode())

  def _token_of_address(self, scope: Scope) -> str | None:
    """The right token in the address of the page; None: there is none."""
    if self._settings.token is None or scope["path"] != "/":
      return None
    if scope["type"] != "http":
      return None
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
    return given[0] if len(given) == 1 and self._is_token(given[0]) else None

  # Answers.

  async def _take_token(self, send: Send, token: str) -> None:
    """Trades the address's token for a cookie."""
    cookie = (
      f"{cookie_name(self._port)}={token}; Path=/; Max-Age={_COOKIE_S};"
      " HttpOnly; SameSite=Strict"
    )
    headers = [
      (b"content-type", b"text/html; charset=utf-8"),
      (b"content-security-policy", b"default-src 'none'"),
      (b"set-cookie", cookie.encode()),
      (b"cache-control", b"no-store"),
      (b"referrer-policy", b"no-referrer"),
      (b"content-length", str(len(_LEADING_ON)).encode()),
    ]
    await send(
      {"type": "http.response.start", "status": 200, "headers": headers}
    )
    await send({"type": "http.response.body", "body": _LEADING_ON})

  async def _refuse(
    self, scope: Scope, send: Send, status: int, text: str
  ) -> None:
    if scope["type"] == "websocket":
      # Before it is accepted: the client gets a plain 403.
      await send({"type": "websocket.close", "code": 1008})
      return
    body = json.dumps({"error": text}).encode()
    if scope["path"] == "/":
      phrase = http.HTTPStatus(status).phrase
      body = f"{status} {phrase}: {text}\n".encode()
    kind = b"text/plain; charset=utf-8"
    if scope["path"] != "/":
      kind = b"application/json"
    headers = [
      (b"content-type", kind),
      (b"content-length", str(len(body)).encode()),
      (b"x-content-type-options", b"nosniff"),
      (b"cache-control", b"no-store"),
    ]
    await send(
      {"type": "http.response.start", "status": status, "headers": headers}
    )
    await send({"type": "http.response.body", "body": body})

  def _add_headers(self, message: Message, headers: Headers, path: str) -> None:
    more = MutableHeaders(scope=message)
    host = headers.get("host", "")
    more["content-security-policy"] = _POLICY.format(host=host)
    more["x-content-type-options"] = "nosniff"
    more["referrer-policy"] = "no-referrer"
    more["cross-origin-opener-policy"] = "same-origin"
    more["cross-origin-resource-policy"] = "same-origin"
    more["permissions-policy"] = "midi=(self), camera=(), microphone=()"
    if "cache-control" not in more:
      more["cache-control"] = (
        "no-store" if path.startswith("/api") else "no-cache"
      )


def _host_name(host: str) -> str | None:
  """The name in a Host header, in small letters; None: there is none."""
  try:
    return urlsplit(f"//{host}").hostname
  except ValueError:
    return None


def _same_site(scope: Scope, headers: Headers, host: str) -> bool:
  """Whether a request comes from our own page, or from no page at all."""
  origin = headers.get("origin")
  if origin is not None:
    try:
      parts = urlsplit(origin)
    except ValueError:
      return False
    same = parts.netloc.lower() == host.lower()
    if parts.scheme not in ("http", "https") or not same:
      return False
  if headers.get("sec-fetch-site") in (None, "same-origin", "none"):
    return True
  # A link to the page may stand anywhere.
  return (
    scope["type"] == "http"
    and scope["method"] == "GET"
    and scope["path"] == "/"
    and headers.get("sec-fetch-mode") == "navigate"
  )
