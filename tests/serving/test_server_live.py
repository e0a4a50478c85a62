"""A server on a real socket: clients that hang, ends in order, the command."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest
from serving_helpers import live, until

from memeblend.cli.serve import ServeRequest, run_serve
from memeblend.errors import MemeblendError, ModelError
from memeblend.serving.memes import blank_memes
from memeblend.serving.running import listen
from memeblend.serving.served import ServedModel
from memeblend.serving.settings import ServerSettings


def ask(address, path="/healthz", body=None):
    """Status and content of an answer."""
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", method="POST" if body else "GET")
    if body:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def received(connection):
    """What comes until the server hangs up."""
    connection.settimeout(20)
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_clients_that_hang_are_hung_up_on_and_others_served_meanwhile(text_only):
    with live(text_only.served(), body_timeout_s=1) as (address, server):
        hanging = {
            "says nothing": b"",
            "half a head": HEAD[:30],
            "half a body": HEAD + b'Content-Length: 100\r\n\r\n{"memes": [',
            "half a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        }
        connections = {name: socket.create_connection(address) for name in hanging}
        for name, sent in hanging.items():
            connections[name].sendall(sent)
        first = b""
        while not first.endswith(b'"ok"}'):
            first += connections["half a second request"].recv(65536)
        connections["half a second request"].sendall(HEAD[:30])
        assert ask(address, "/v1/predict", {"memes": [{"text": "a lovely day"}]})[0] == 200
        answers = {name: received(connection) for name, connection in connections.items()}
        for connection in connections.values():
            connection.close()
        for name in ("says nothing", "half a head", "half a second request"):
            assert answers[name] == b""
        assert answers["half a body"].startswith(b"HTTP/1.1 408")
        assert b'"code":"slow_body"' in answers["half a body"]
        until(lambda: not server.server_state.connections)
        assert ask(address, "/readyz") == (200, '{"status":"ok"}')


def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten(text_only):
    with live(text_only.served()) as (address, server):
        with socket.create_connection(address) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
            until(lambda: server.server_state.tasks)
        until(lambda: not server.server_state.tasks and not server.server_state.connections)
        assert ask(address)[0] == 200


def test_an_upload_that_is_too_large_is_answered_though_it_goes_on(text_only):
    with live(text_only.served(), max_body_bytes=10_000) as (address, _):
        with socket.create_connection(address) as connection:
            connection.sendall(HEAD + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"larger than the 10,000 bytes" in answer


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system can't hang up on them by itself")
def test_clients_that_take_no_answers_are_hung_up_on(text_only):
    card = b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with live(text_only.served(), body_timeout_s=1) as (address, server):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address)
            connection.settimeout(1)
            with pytest.raises((TimeoutError, ConnectionError)):
                while True:  # until the server reads no more, for it can't get rid of its answers
                    connection.sendall(card * 100)
            until(lambda: not server.server_state.connections, 60)
        assert ask(address)[0] == 200


@dataclass(frozen=True, eq=False)
class Slow(ServedModel):
    """A model that counts what it has read and takes its time."""

    read: list

    def predict(self, memes):
        if not any("server starts" in meme.text for meme in memes):
            self.read.extend(meme.text for meme in memes)
            time.sleep(0.3)
        return super().predict(memes)


def slow(fitted):
    model = fitted.served()
    return Slow(model.classifier, model.name, model.card, model.folder, model.digest, [])


def test_what_was_taken_is_answered_when_the_server_is_told_to_end(text_only):
    model, answers = slow(text_only), []
    with live(model, max_batch=1) as (address, server):
        threads = [
            threading.Thread(
                target=lambda number=number: answers.append(
                    ask(address, "/v1/predict", {"memes": [{"text": f"meme {number}"}]})
                )
            )
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(server.server_state.tasks) == 4 and model.read)
        server.should_exit = True
        for thread in threads:
            thread.join(20)
        assert [status for status, _ in answers] == [200] * 4
    with pytest.raises(urllib.error.URLError):
        ask(address)


def test_memes_of_clients_that_have_gone_are_not_read(text_only):
    model = slow(text_only)
    with live(model, max_batch=1) as (address, server):
        body = json.dumps({"memes": [{"text": "first"}, {"text": "second"}, {"text": "third"}, {"text": "fourth"}]})
        with socket.create_connection(address) as connection:
            connection.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
            until(lambda: model.read)
        until(lambda: not server.server_state.tasks)
        assert ask(address, "/v1/predict", {"memes": [{"text": "mine"}]})[0] == 200
    assert "fourth" not in model.read
    assert model.read[-1] == "mine"


def test_an_address_that_can_not_be_had_is_told():
    settings = ServerSettings()
    message = r"Could not listen at 127.0.0.1, port \d+: Address already in use"
    with listen("127.0.0.1", 0, settings) as taken, pytest.raises(MemeblendError, match=message):
        listen("127.0.0.1", taken.getsockname()[1], settings)
    with pytest.raises(MemeblendError, match=r"Could not listen at nowhere\.invalid"):
        listen("nowhere.invalid", 0, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": ["mood"]}, "Expected --threshold NAME=SCORE, found mood"),
        ({"threshold": ["mood=high", "=0.5"]}, "found mood=high, =0.5"),
        ({"threshold": ["mood=2"]}, "threshold of 'mood' is 2.0, expected between 0 and 1"),
        ({"threshold": ["rude=0.5"]}, "no category rude"),
        ({"max_queue": 3}, "more than the 3 of max_queue"),
    ],
)
def test_options_that_can_not_be_are_refused(text_only, options, message):
    with pytest.raises(MemeblendError, match=message):
        run_serve(ServeRequest(text_only.folder, port=0, **options))


def test_no_model_no_server(tmp_path):
    with pytest.raises(ModelError, match="Expected a memeblend model"):
        run_serve(ServeRequest(tmp_path, port=0))


def test_loading_needs_no_folder_afterwards(text_only):
    model = text_only.served()
    assert len(model.predict(blank_memes(3, model.classifier.preprocessor_.transform))) == 3


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(text_only):
    code = (
        "import sys; from pathlib import Path; from memeblend.cli.serve import ServeRequest, run_serve\n"
        "run_serve(ServeRequest(Path(sys.argv[1]), port=0, threshold=['mood=0.9']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(text_only.folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"MEMEBLEND_API_KEY": ""},
    ) as process:  # fmt: skip
        serving = next(line for line in process.stderr if line.startswith("Serving at http://127.0.0.1:"))
        port = int(serving.split(":")[2].split()[0])
        status, answer = ask(("127.0.0.1", port), "/v1/moderations", {"input": "lovely"})
        assert status == 200
        assert json.loads(answer)["results"][0]["categories"] == {"mood": False}
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["start", "ready", "request", "stop"]
    assert "Traceback" not in err
    assert process.returncode in (0, -signal.SIGTERM)


BODY = b'{"memes": [{"text": "lovely"}]}'
IN_PIECES = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def endless(address, begin, part, end=b"", most=64 * 2**20):
    """Send a beginning, then a part again and again until the server hangs up; its answer and how much was sent."""
    sent = 0
    with socket.create_connection(address) as connection:
        connection.settimeout(20)
        try:
            connection.sendall(begin)
            while sent < most:
                connection.sendall(part)
                sent += len(part)
            connection.sendall(end)
        except ConnectionError:
            pass
        try:
            return received(connection), sent
        except ConnectionError:
            return b"", sent


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"GET /" + b"x" * 60_000, b"x" * 16_000),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ", b"x" * 16_000),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a: b\r\n" * 3_000),
        (IN_PIECES + b"5\r\nhello\r\n0\r\n", b"a: b\r\n" * 3_000),
        (IN_PIECES + b"5\r\nhello\r\n0\r\na: ", b"x" * 16_000),
        (IN_PIECES + b"5;", b"x" * 16_000),
    ],
    ids=["address", "header", "headers", "trailers", "trailer", "beside a size"],
)
def test_headers_without_end_are_hung_up_on(text_only_live, begin, part):
    address, server = text_only_live
    _, sent = endless(address, begin, part)
    assert sent < 32 * 2**20  # of which the system's buffers take some
    until(lambda: not server.server_state.connections)
    assert ask(address, "/readyz")[0] == 200


def test_heads_and_bodies_that_come_in_small_pieces_are_read(text_only_live):
    address, _ = text_only_live
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    spaces = b"1\r\n \r\n" * 40_000  # more than a head may have, but all of it sizes of what is there
    long_head = b"Cookie: " + b"x" * 50_000 + b"\r\n"
    for sent in (
        IN_PIECES + pieces,
        IN_PIECES + spaces + pieces,
        HEAD + long_head + b"Content-Length: 31\r\n\r\n" + BODY,
    ):
        with socket.create_connection(address) as connection:
            connection.sendall(sent)
            connection.settimeout(20)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.fixture(scope="module")
def text_only_live(text_only):
    with live(text_only.served()) as found:
        yield found
