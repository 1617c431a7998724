"""The server over HTTP: what it takes, gives, refuses, and survives."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.dashboard.models import Model
from bench.dashboard.page import page
from bench.dashboard.pool import resident_bytes
from bench.dashboard.sessions import COOKIE, new_token
from bench.dashboard.settings import Settings
from bench.dashboard.shapes import Health, health_of
from bench.dashboard.uploads import UPLOAD_LIMIT_S
from tests.bench.dashboard.conftest import (
    BLACK,
    GREEN,
    RED,
    WHITE,
    ModelOf,
    file_of,
    serving,
)
from tests.bench.dashboard.test_uploads import photograph, png_of, zipped

httpx = pytest.importorskip("httpx", reason="needs httpx to ask the server")
pytest.importorskip("fastapi", reason="needs the extra dashboard")

Client = Any


@contextlib.contextmanager
def browser(address: str) -> Iterator[Client]:
    """A client with a session of its own."""
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/").status_code == 200
        yield client


def upload(client: Client, content: bytes) -> str:
    """Send a picture; its name."""
    answer = client.post("/api/pictures", content=content)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["id"]
    return name


def names(client: Client) -> list[str]:
    """All models that are offered."""
    return [model["name"] for model in client.get("/api/models").json()["models"]]


def start(client: Client, picture: str, models: list[str], **more: object) -> dict[str, Any]:
    """Queue a run."""
    answer = client.post("/api/runs", json={"picture": picture, "models": models, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(client: Client, run: str) -> Iterator[tuple[str, Any]]:
    """Kind and data of each event of a run until the stream ends."""
    yield from told_by(client, f"/api/runs/{run}/events")


def building(client: Client) -> Iterator[tuple[str, Any]]:
    """Those of getting the models ready."""
    yield from told_by(client, "/api/building")


def told_by(client: Client, path: str) -> Iterator[tuple[str, Any]]:
    """Kind and data of each event of a stream."""
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def finished(client: Client, run: str) -> dict[str, Any]:
    """A run when its stream has ended."""
    for _ in events(client, run):
        pass
    found: dict[str, Any] = client.get(f"/api/runs/{run}").json()
    return found


def test_cards_fill_in_as_results_arrive(address: str) -> None:
    """First a class, then a time, at last all runs; with advice that follows from them."""
    with browser(address) as client:
        run = start(client, upload(client, file_of(RED)), names(client))
        assert [card["state"] for card in run["cards"]] == ["waiting"] * 3
        seen = list(events(client, run["id"]))
        base = [data for kind, data in seen if kind == "card" and data["baseline"]]
        answered = next(i for i, card in enumerate(base) if card["top"])
        timed = next(i for i, card in enumerate(base) if card["runs"])
        assert answered < timed
        assert base[-1]["state"] == "done"
        assert base[-1]["runs"] == base[-1]["planned"] == 6
        assert base[-1]["top"][0]["name"] == "red"
        assert [data for kind, data in seen if kind == "place"][-1]["state"] == "done"
        final = client.get(f"/api/runs/{run['id']}").json()
        cards = {card["recipe"]: card for card in final["cards"]}
        assert cards["int8-dynamic"]["right"] and cards["int8-dynamic"]["agreement"]["same"]
        assert cards["int8-static"]["right"] is False
        assert cards["int8-dynamic"]["speedup"]["value"] > 0
        assert final["advice"]["final"]
        assert "int8-static" not in final["advice"]["ship"]
        assert any("One picture proves nothing" in text for text in final["advice"]["reasons"])


@pytest.mark.long
def test_running_at_once_is_a_switch(address: str) -> None:
    """The cards then say what it did; without it they don't."""
    with browser(address) as client:
        picture = upload(client, file_of(GREEN))
        plain = finished(client, start(client, picture, names(client))["id"])
        assert {card["beside"] for card in plain["cards"]} == {""}
        both = finished(client, start(client, picture, names(client), beside=True)["id"])
        assert all("while 2 other models ran" in card["beside"] for card in both["cards"])
        assert [card["runs"] for card in both["cards"]] == [6, 6, 6]


def test_history_belongs_to_a_session(address: str) -> None:
    """Pictures and runs of others can't be seen, started, or ended, by whatever name."""
    with browser(address) as ours, browser(address) as theirs:
        picture = upload(ours, file_of(RED, (90, 60)))
        run = start(ours, picture, names(ours)[:1])["id"]
        (shown,) = ours.get("/api/pictures").json()
        facts = {"id": picture, "width": 90, "height": 60, "sample": "", "run": run}
        assert shown == {**facts, "going": True}
        finished(ours, run)
        assert ours.get("/api/pictures").json() == [{**facts, "going": False}]
        assert ours.get(f"/api/pictures/{picture}").headers["content-type"] == "image/jpeg"
        assert theirs.get("/api/pictures").json() == []
        for path in (f"/api/pictures/{picture}", f"/api/runs/{run}", f"/api/runs/{run}/events"):
            assert theirs.get(path).status_code == 404
        assert theirs.delete(f"/api/runs/{run}").status_code == 404
        asked = {"picture": picture, "models": names(theirs)}
        assert theirs.post("/api/runs", json=asked).status_code == 404
        assert ours.delete(f"/api/pictures/{picture}").status_code == 204
        assert ours.get("/api/pictures").json() == []


def test_a_sample_is_a_picture_like_any_other(address: str) -> None:
    """It can be looked at, taken, and measured; an unknown one is none."""
    with browser(address) as client:
        assert "drawn" in client.get("/api/models").json()["samples"]
        assert client.get("/api/samples/drawn").content.startswith(b"\xff\xd8")
        taken = client.post("/api/samples/drawn").json()
        assert taken["sample"] == "drawn"
        assert finished(client, start(client, taken["id"], names(client))["id"])["state"] == "done"
        for path in ("/api/samples/nobody", "/api/samples/..%2f..%2fetc%2fpasswd"):
            assert client.get(path).status_code == 404


def test_cancelling_keeps_what_was_measured(model_of: ModelOf, tmp_path: Path) -> None:
    """What waits is dropped at once, and the next run is measured."""
    models = [model_of("fp32"), model_of("int8-dynamic")]
    slow = serving(models, tmp_path / "logs", Settings(runs=300))
    with slow as address, browser(address) as client:
        run = start(client, upload(client, file_of(WHITE)), names(client))["id"]
        stream = events(client, run)
        for kind, data in stream:
            if kind == "card" and data["top"]:
                break
        assert client.delete(f"/api/runs/{run}").status_code == 204
        last = [data for kind, data in stream if kind == "place"][-1]
        assert last["state"] == "cancelled"
        found = client.get(f"/api/runs/{run}").json()
        assert {card["state"] for card in found["cards"]} == {"cancelled"}
        assert found["cards"][0]["top"]
        assert client.get("/health").json()["waiting"] == 0


def test_a_picture_that_kills_children_fails_on_its_card_only(address: str) -> None:
    """Each gets a second, fresh child; then the card says how it died, and the page lives on."""
    with browser(address) as client:
        found = finished(client, start(client, upload(client, file_of(BLACK)), names(client))["id"])
        assert [card["state"] for card in found["cards"]] == ["failed"] * 3
        reason = found["cards"][0]["reason"]
        assert "exit code 3" in reason and "logs" not in reason, "a path of the server"
        assert "every model failed" in found["advice"]["headline"]
        again = finished(client, start(client, upload(client, file_of(RED)), names(client))["id"])
        assert [card["state"] for card in again["cards"]] == ["done"] * 3
        assert client.get("/health").json()["status"] == "ok"


def test_one_session_does_not_starve_another(address: str) -> None:
    """Who asks for one model gets it before somebody's twenty runs are over, and sees his place."""
    with browser(address) as many, browser(address) as one:
        picture = upload(many, file_of(RED))
        runs = [start(many, picture, names(many))["id"] for _ in range(20)]
        mine = start(one, upload(one, file_of(GREEN)), names(one)[:1])
        places = [data["ahead"] for kind, data in events(one, mine["id"]) if kind == "place"]
        assert all(ahead is None or ahead <= 2 for ahead in places)
        waiting = many.get("/health").json()["waiting"]
        assert waiting > 100, "the other's runs were over before the one was"
        for run in runs:
            many.delete(f"/api/runs/{run}")


def test_too_much_at_once_is_refused(address: str) -> None:
    """Of one session, with what to do; another one is served."""
    with browser(address) as client, browser(address) as other:
        picture = upload(client, file_of(WHITE))
        asked = {"picture": picture, "models": names(client)}
        answers = [client.post("/api/runs", json=asked) for _ in range(80)]
        # Not the last one, perhaps: what was measured meanwhile has made room for some.
        refused = [answer for answer in answers if answer.status_code != 201]
        assert {answer.status_code for answer in refused} == {429}
        assert "cancel" in refused[0].json()["detail"]
        start(other, upload(other, file_of(RED)), names(other)[:1])
        for answer in answers:
            if answer.status_code == 201:
                client.delete(f"/api/runs/{answer.json()['id']}")


# --- hostile


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (png_of(50_000, 50_000), 413, "pixels"),
        (photograph()[:1500], 422, "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "an SVG drawing"),
        (zipped(), 415, "a zip archive"),
        (b"", 400, "no body"),
        (b"hello", 415, "an unknown file"),
    ],
)
def test_hostile_uploads_get_a_sentence(
    address: str, content: bytes, status: int, words: str
) -> None:
    """And the page lives: the next upload is taken."""
    with browser(address) as client:
        answer = client.post("/api/pictures", content=content)
        assert answer.status_code == status
        assert words in answer.json()["detail"]
        upload(client, file_of(RED))


def test_the_declared_type_is_not_believed(address: str) -> None:
    """A picture is one whatever it is called, and what is called a picture need not be one."""
    with browser(address) as client:
        told = {"content-type": "application/json"}
        assert client.post("/api/pictures", content=file_of(RED), headers=told).status_code == 201
        told = {"content-type": "image/png"}
        assert client.post("/api/pictures", content=zipped(), headers=told).status_code == 415


def _streamed(address: str, most: int) -> tuple[int, bytes]:
    """Send a chunked body until the server has had enough; bytes sent, and its answer."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=60) as line:
        head = f"POST /api/pictures HTTP/1.1\r\nhost: {place.netloc}\r\n"
        line.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        sent, answer = 0, b""
        with contextlib.suppress(ConnectionError):
            while sent < most:
                readable, _, _ = select.select([line], [], [], 0)
                if readable:
                    break
                line.sendall(chunk)
                sent += 1 << 20
        with contextlib.suppress(ConnectionError):
            while part := line.recv(65536):
                answer += part
    return sent, answer


@contextlib.contextmanager
def memory_watched() -> Iterator[list[int]]:
    """What this process, in which the server is, holds in memory: sampled until the end."""
    seen = [resident_bytes(os.getpid())]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(resident_bytes(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_a_gigabyte_is_cut_off_early(address: str) -> None:
    """Soon after the limit; a declared one before its first byte. The page lives on.

    Nor does it take much memory: there are never more than some times the limit of 20 MiB.
    """
    with memory_watched() as seen:
        sent, answer = _streamed(address, 1 << 30)
    assert max(seen) - seen[0] < 200 << 20
    assert sent < 64 << 20
    assert answer.startswith(b"HTTP/1.1 413") and b"larger than 20 MiB" in answer
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=60) as line:
        head = f"POST /api/pictures HTTP/1.1\r\nhost: {place.netloc}\r\n"
        line.sendall(f"{head}content-length: {1 << 30}\r\n\r\n".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 413")
    with browser(address) as client:
        upload(client, file_of(RED))


def test_asking_with_many_cookies_costs_nobody_his_pictures(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked: a session is made of what somebody sends, not of a cookie."""
    monkeypatch.setattr("bench.dashboard.sessions.MOST_SESSIONS", 3)
    with browser(address) as client:
        picture = upload(client, file_of(RED))
        for _ in range(5):
            for path in ("/", "/api/pictures", "/api/models", "/health", "/api/runs/nobody"):
                httpx.get(f"{address}{path}", headers={"cookie": f"{COOKIE}={new_token()}"})
            told = {"cookie": f"{COOKIE}={new_token()}"}
            assert httpx.post(f"{address}/api/pictures", headers=told).status_code == 400
        assert client.get(f"/api/pictures/{picture}").status_code == 200


def test_a_slow_sender_keeps_nobody_else_waiting(address: str) -> None:
    """Ten uploads of one session that don't come on take two places, and not all of them."""
    with contextlib.ExitStack() as lines, browser(address) as other:
        for _ in range(10):
            lines.enter_context(slow_upload(address))
        # Shorter than what a slow sender is given: it must not be one of them that ends first.
        answer = other.post("/api/pictures", content=file_of(RED), timeout=UPLOAD_LIMIT_S / 3)
        assert answer.status_code == 201


def test_many_cookies_of_one_address_keep_no_other_waiting(address: str) -> None:
    """A session costs nothing; who sends slowly in twenty of them leaves places to others."""
    with contextlib.ExitStack() as lines, browser(address) as other:
        for _ in range(20):
            cookie = f"cookie: {COOKIE}={new_token()}\r\n"
            lines.enter_context(slow_upload(address, cookie, source="127.0.0.2"))
        answer = other.post("/api/pictures", content=file_of(RED), timeout=UPLOAD_LIMIT_S / 3)
        assert answer.status_code == 201


def slow_upload(address: str, headers: str = "", source: str = "") -> socket.socket:
    """A connection that has sent four bytes of a thousand, from an address of this machine."""
    place = urlsplit(address)
    line = socket.create_connection(
        (place.hostname or "", place.port or 0), timeout=60, source_address=(source, 0)
    )
    head = f"POST /api/pictures HTTP/1.1\r\nhost: {place.netloc}\r\n{headers}"
    line.sendall(f"{head}content-length: 1000\r\n\r\nslow".encode())
    return line


def test_a_page_that_can_not_go_on_says_so(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours ends what waits, with the reason on its cards; nothing new is taken."""
    monkeypatch.setattr("bench.dashboard.turns.Turns.take", mistaken)
    with browser(address) as client:
        picture = upload(client, file_of(RED))
        found = finished(client, start(client, picture, names(client))["id"])
        assert found["state"] == "cancelled"
        assert {card["state"] for card in found["cards"]} == {"failed"}
        assert "a mistake of ours" in found["cards"][0]["reason"]
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        again = client.post("/api/runs", json={"picture": picture, "models": names(client)})
        assert again.status_code == 503 and "a mistake of ours" in again.json()["detail"]


def mistaken(*_: object) -> None:
    """What nobody expects."""
    raise ZeroDivisionError("a mistake of ours")


def test_records_that_can_not_be_read_end_nothing(
    three: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with them: the page says so, without its folders, and measures."""

    def unreadable(*_: object) -> None:
        raise RecursionError("/srv/results/records/a.jsonl is too deep")

    monkeypatch.setattr("bench.dashboard.stored.find", unreadable)
    settings = Settings(runs=6, records=tmp_path)
    with serving(three, tmp_path / "logs", settings) as address, browser(address) as client:
        told = dict(building(client))
        assert told["building"]["state"] == "ready"
        assert told["rows"] == 0
        (complaint,) = told["building"]["failed"]
        assert complaint.endswith("can't be used: a.jsonl is too deep")
        assert client.get("/health").status_code == 200
        run = start(client, upload(client, file_of(RED)), names(client))
        assert finished(client, run["id"])["state"] == "done"


def test_where_looking_for_models_fails_the_page_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream ends with the reason: it is not left waiting."""
    monkeypatch.setattr("bench.dashboard.models.standing", mistaken)
    with serving_none(Settings(), tmp_path) as address, browser(address) as client:
        told = dict(building(client))
        assert told["building"]["state"] == "failed"
        assert "a mistake of ours" in told["building"]["failed"][0]
        assert told["rows"] == 0
        assert client.get("/health").status_code == 503


def test_health_tells_a_page_without_models_from_a_broken_one(
    three: list[Model], tmp_path: Path
) -> None:
    """It is starting while they are looked for or built, failed where none could be."""
    one = page(Settings(), tmp_path)
    assert health_of(one) == Health("starting", "looking into the store", 0, [], 0)
    one.offer.progress.state = "building"
    assert health_of(one).status == "starting"
    one.offer.show(three)
    assert health_of(one) == Health("ok", "", 3, [], 0)
    one.offer.show([])
    one.offer.complain("vgg19 fp32: the disk is full")
    found = health_of(one)
    assert found.status == "failed"
    assert found.reason == (
        "no model could be built: see what failed; vgg19 fp32: the disk is full"
    )


def test_a_sample_is_made_small_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for it costs nothing."""
    monkeypatch.setattr("bench.dashboard.uploads.thumbnail", mistaken)
    monkeypatch.setattr("bench.dashboard.uploads.kept", mistaken)
    with browser(address) as client:
        assert client.get("/api/samples/drawn").content.startswith(b"\xff\xd8")


def test_a_picture_that_is_forgotten_ends_its_run(model_of: ModelOf, tmp_path: Path) -> None:
    """Nothing of it stays, and its listeners hear the end."""
    slow = serving([model_of()], tmp_path / "logs", Settings(runs=900))
    with slow as address, browser(address) as client:
        picture = upload(client, file_of(WHITE))
        run = start(client, picture, names(client))["id"]
        stream = events(client, run)
        next(stream)
        assert client.delete(f"/api/pictures/{picture}").status_code == 204
        assert [data for kind, data in stream if kind == "place"][-1]["state"] == "cancelled"
        assert client.get(f"/api/runs/{run}").status_code == 404


def test_ending_breaks_off_no_stream(
    three: list[Model], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who still listens hears the end at once: nothing is waited for, and no trace is printed."""
    with contextlib.ExitStack() as server:
        address = server.enter_context(serving(three, tmp_path / "logs", Settings(runs=900)))
        with browser(address) as client:
            run = start(client, upload(client, file_of(WHITE)), names(client))["id"]
            stream = events(client, run)
            next(stream)
            server.close()
            assert "done" not in [data["state"] for kind, data in stream if kind == "place"]
    assert capsys.readouterr().err == ""


def test_two_hundred_at_once(three: list[Model], tmp_path: Path) -> None:
    """All are taken, each session keeps its newest, and memory stays within bounds."""

    content = file_of(RED, (3000, 2000))
    with serving(three, tmp_path / "logs") as address, browser(address) as client:
        upload(client, content)
        with (
            memory_watched() as seen,
            httpx.Client(timeout=300, limits=httpx.Limits(max_connections=200)) as many,
        ):

            def post(_: int) -> int:
                code: int = many.post(f"{address}/api/pictures", content=content).status_code
                return code

            with ThreadPoolExecutor(200) as threads:
                codes = list(threads.map(post, range(200)))
        assert codes == [201] * 200
        # Decoded they are 18 MB each: 3.6 GB, were all of them decoded at once.
        assert max(seen) - seen[0] < 1_000_000_000
        assert client.get("/health").json()["status"] == "ok"


def test_nothing_is_written_to_a_disk(
    three: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the upload nor what becomes of it: only the logs of children, which are empty."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    with serving(three, tmp_path / "logs") as address, browser(address) as client:
        run = start(client, upload(client, file_of(RED, (400, 300))), names(client))
        finished(client, run["id"])
        written = [path for folder in (place, tmp_path / "logs") for path in folder.rglob("*")]
        files = [path for path in written if path.is_file() and path.stat().st_size]
        assert files == []


# --- who may ask


def test_only_own_scripts_run_and_nothing_is_loaded_from_elsewhere(address: str) -> None:
    """Policy and further headers on every answer, and no page with a script or style inside."""
    with browser(address) as client:
        for path in ("/", "/docs", "/api/models", "/static/page.js", "/nowhere", "/health"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'self'" in policy
            assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
        for path in ("/", "/docs"):
            text = client.get(path).text
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
            assert not re.search(r"(src|href)=\"(https?:)?//", text)
        for path in ("/static/page.js", "/static/page.css", "/static/docs.js"):
            assert not re.search(r"https?://|url\(", client.get(path).text)


def test_other_names_and_other_sites_are_refused(address: str) -> None:
    """DNS rebinding by the Host header, cross-site requests by their origin."""
    with browser(address) as client:
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421
        answer = client.post("/api/samples/drawn", headers={"origin": "http://evil.example"})
        assert answer.status_code == 403
        answer = client.post("/api/samples/drawn", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_no_path_leads_to_the_file_system(address: str) -> None:
    """Names are looked up, never opened."""
    with browser(address) as client:
        for path in (
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2fapp.py",
            "/swagger/..%2f..%2f__init__.py",
            "/api/pictures/..%2f..%2fetc%2fpasswd",
        ):
            assert client.get(path).status_code == 404, path


def test_a_cookie_is_for_this_site_and_for_no_script(address: str) -> None:
    """It is no secret of much worth, and stays within the browser's session all the same."""
    cookie = httpx.get(address).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


# --- the API


def test_the_api_is_documented_from_own_files(address: str) -> None:
    """OpenAPI with every route, and a page whose files are this machine's."""
    with browser(address) as client:
        told: Mapping[str, Any] = client.get("/openapi.json").json()
        assert told["openapi"].startswith("3.0")
        assert {"/api/pictures", "/api/runs", "/api/runs/{name}/events", "/health"} <= set(
            told["paths"]
        )
        body = told["paths"]["/api/pictures"]["post"]["requestBody"]["content"]
        assert list(body) == ["image/*"]
        assert "Card" in told["components"]["schemas"]
        page = client.get("/docs").text
        for path in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
            assert client.get(path).status_code == 200, path


def test_wrong_requests_get_a_sentence(address: str) -> None:
    """No model, an unknown one, a picture that nobody has, a body that is no JSON or too long."""
    with browser(address) as client:
        picture = upload(client, file_of(RED))
        for asked, status in (
            ({"picture": picture, "models": []}, 422),
            ({"picture": picture, "models": ["nobody"]}, 404),
            ({"picture": "nobody", "models": names(client)}, 404),
        ):
            answer = client.post("/api/runs", json=asked)
            assert answer.status_code == status
            assert isinstance(answer.json()["detail"], str)
        told = {"content-type": "application/json"}
        assert client.post("/api/runs", content=b"{", headers=told).status_code == 422
        long = b'{"picture": "' + b"x" * 100_000 + b'", "models": []}'
        assert client.post("/api/runs", content=long, headers=told).status_code == 413


def test_without_models_nothing_is_taken(tmp_path: Path) -> None:
    """A page that is still building says so, and why where it failed."""
    from bench.options import Options

    settings = Settings(
        options=Options(
            variants=("revisited-v6",),
            recipes=("int8-static",),
            runtimes=("torch-eager",),
            precisions=("fp32",),
            threads=(1,),
        ),
        named=True,
    )
    with serving_none(settings, tmp_path) as address, browser(address) as client:
        while (progress := client.get("/api/models").json()["progress"])["state"] == "looking":
            time.sleep(0.02)
        assert progress["failed"] and "torch-eager" in progress["failed"][0]
        answer = client.post("/api/pictures", content=file_of(RED))
        assert answer.status_code == 503
        assert "no models" in answer.json()["detail"]


@contextlib.contextmanager
def serving_none(settings: Settings, folder: Path) -> Iterator[str]:
    """A page that has to find its models itself."""
    with serving(None, folder / "logs", settings) as address:
        yield address
