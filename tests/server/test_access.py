"""Who may reach the server, and what a browser may do with its page."""

import json
import re

import pytest
from websockets.sync.client import connect

from magenta_midi.server.app import PAGE
from magenta_midi.server.settings import ServerSettings

TOKEN = "a-token-of-16-letters"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def socket_of(client, **headers):
  url = f"ws://{client.base_url.netloc.decode()}/api/socket"
  return connect(url, additional_headers=headers)


UPGRADE = {
  "connection": "Upgrade",
  "upgrade": "websocket",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  "sec-websocket-version": "13",
}


def refused_socket(client, **headers):
  answer = client.get("/api/socket", headers=UPGRADE | headers)
  return answer.status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "[::1]:8765"])
def test_this_machine_has_its_names(web, host):
  answer = web().get("/api/info", headers={"host": host})
  assert answer.status_code == 200


@pytest.mark.parametrize(
  "host", ["evil.example", "127.0.0.1.evil.example:8765", "10.0.0.1", "", "[:"]
)
def test_another_name_that_leads_here_is_refused(web, host):
  client = web()
  for path in ("/", "/api/info", "/api/takes", "/healthz"):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 403
  assert refused_socket(client, host=host)


def test_a_server_for_others_has_its_addresses_and_given_names(web):
  client = web(host="0.0.0.0", token=TOKEN, names=("Music.example:8765",))
  for host, status in (
    ("192.168.1.7:8765", 200),
    ("music.example", 200),
    ("localhost:8765", 200),
    ("evil.example", 403),
  ):
    answer = client.get("/api/info", headers={"host": host, **BEARER})
    assert answer.status_code == status, host


@pytest.mark.parametrize(
  "origin",
  [
    "https://evil.example",
    "null",
    "http://127.0.0.1:9999",
    "file://",
    "http://[",
  ],
)
def test_pages_of_other_sites_are_refused(web, origin):
  client = web()
  headers = {"origin": origin}
  assert client.get("/api/takes", headers=headers).status_code == 403
  assert client.post("/api/finetune/stop", headers=headers).status_code == 403
  assert refused_socket(client, origin=origin)


def test_our_own_page_may(web):
  client = web()
  origin = str(client.base_url).rstrip("/")
  headers = {"origin": origin, "sec-fetch-site": "same-origin"}
  assert client.get("/api/takes", headers=headers).status_code == 200


def test_a_link_elsewhere_leads_to_the_page_and_to_nothing_else(web):
  client = web()
  link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
  assert client.get("/", headers=link).status_code == 200
  assert client.get("/api/takes", headers=link).status_code == 403
  picture = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
  assert client.get("/", headers=picture).status_code == 403


def test_without_its_token_nothing_is_answered(web):
  client = web(token=TOKEN)
  paths = ("/", "/main.js", "/api/info", "/api/openapi.json", "/api/takes")
  for path in paths:
    assert client.get(path).status_code == 401
    wrong = {"authorization": "Bearer another-token-here"}
    assert client.get(path, headers=wrong).status_code == 401
  assert client.get("/?token=wrong").status_code == 401
  assert client.get(f"/api/takes?token={TOKEN}").status_code == 401
  assert refused_socket(client)
  assert client.get("/healthz").json() == {"status": "ok"}


def test_the_address_with_the_token_gives_a_cookie(web):
  client = web(token=TOKEN)
  answer = client.get(f"/?token={TOKEN}")
  cookie = answer.headers["set-cookie"]
  assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
  assert TOKEN not in answer.text
  assert 'content="0;url=/"' in answer.text
  assert client.get("/api/info").status_code == 200


def test_a_program_gives_the_token_in_a_header(web):
  client = web(token=TOKEN)
  assert client.get("/api/info", headers=BEARER).status_code == 200
  with socket_of(client, **BEARER) as socket:
    socket.send('{"type": "bye"}')
    assert json.loads(socket.recv(10))["type"] == "error"


def test_others_are_not_let_in_without_a_token():
  with pytest.raises(ValueError, match="must have a token"):
    ServerSettings(host="0.0.0.0")


def test_the_page_may_load_its_own_files_alone(web):
  answer = web().get("/")
  policy = answer.headers["content-security-policy"]
  assert "default-src 'none'" in policy
  assert "script-src 'self';" in policy
  assert "frame-ancestors 'none'" in policy
  assert "unsafe" not in policy and "*" not in policy
  assert answer.headers["x-content-type-options"] == "nosniff"
  assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_page_has_no_script_within_it():
  for path in PAGE.rglob("*.html"):
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\son\w+=|javascript:|<style|\sstyle=", text)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_there_is_no_cors(web):
  client = web()
  preflight = {
    "origin": "https://evil.example",
    "access-control-request-method": "POST",
  }
  for answer in (
    client.options("/api/takes", headers=preflight),
    client.get("/api/takes"),
    client.get("/"),
  ):
    names = [name for name in answer.headers if "access-control" in name]
    assert not names


def test_too_many_requests_are_refused_for_a_while(web, monkeypatch):
  # So that a slow machine is too fast, too.
  monkeypatch.setattr("magenta_midi.server.access.REQUESTS_A_SECOND", 0.1)
  monkeypatch.setattr("magenta_midi.server.access.REQUESTS_AT_ONCE", 20.0)
  client = web()
  codes = [client.get("/api/info").status_code for _ in range(40)]
  assert codes[0] == 200
  assert 429 in codes
  # The page's own files are many, and cost nothing.
  assert client.get("/").status_code == 200


def test_a_body_that_is_too_large_is_refused(web):
  client = web()
  body = b'{"name": "' + b"x" * 100_000 + b'"}'
  kind = {"content-type": "application/json"}
  answer = client.post("/api/finetune", content=body, headers=kind)
  assert answer.status_code == 413
  pieces = (b"x" * 10_000 for _ in range(20))
  answer = client.post("/api/finetune", content=pieces, headers=kind)
  assert answer.status_code == 413


def test_no_stack_trace_leaves_the_server(web, monkeypatch):
  def broken(self):
    raise RuntimeError("/home/somebody/secret")

  monkeypatch.setattr("magenta_midi.server.library.takes.Takes.all", broken)
  answer = web().get("/api/takes")
  assert answer.status_code == 500
  assert set(answer.json()) == {"error"}
  assert "secret" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/api/nothing", "/api/takes/x/y/z", "/x.js"])
def test_what_is_not_there_is_one_line(web, path):
  answer = web().get(path)
  assert answer.status_code == 404
  assert "site-packages" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
  "path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "//etc/passwd"]
)
def test_files_beside_the_page_are_not_served(web, path):
  answer = web().get(path)
  assert answer.status_code in (400, 404)
  assert "FastAPI" not in answer.text
