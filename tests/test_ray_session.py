"""Ray is started for ourselves alone and is gone afterwards; a cluster that isn't there is refused at once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from memeblend import ray_session
from memeblend.errors import ClusterError, MissingExtraError

WORK = """
import ray, sys, time
from memeblend.ray_session import ray_session
with ray_session(2):
    pids = ray.get([ray.remote(lambda: __import__("os").getpid()).remote() for _ in range(3)])
    print(ray.get_runtime_context().gcs_address, *pids, flush=True)
    time.sleep(float(sys.argv[1]))
    print("out", flush=True)
"""


def processes_of(folder):
    """Command lines that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in line:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "Nothing answers at '127.0.0.1:1'"),
        ("ray://127.0.0.1:1", "Nothing answers at 'ray://127.0.0.1:1'"),
        ("nonsense", "not the address of a Ray cluster"),
        ("http://127.0.0.1:80", "not the address of a Ray cluster"),
        ("127.0.0.1:99999", "not the address of a Ray cluster"),
        ("ray://", "not the address of a Ray cluster"),
    ],
)
def test_an_address_that_does_not_answer_is_refused_at_once(address, message):
    pytest.importorskip("ray")
    began = time.monotonic()
    with pytest.raises(ClusterError, match=message), ray_session.ray_session(1, address):
        pass
    assert time.monotonic() - began < 30


def test_a_port_that_was_just_closed_is_no_cluster():
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClusterError, match="Nothing answers"), ray_session.ray_session(1, f"127.0.0.1:{port}"):
        pass


def test_a_cluster_without_a_core_is_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 1.0, "CPU": 1.0})
    ray_session.check_room(1)
    with pytest.raises(ClusterError, match=r"has 1 CPU core\(s\) for 2 worker"):
        ray_session.check_room(2)


def test_a_machine_that_is_too_busy_to_start_ray(monkeypatch):
    """Ray raises a bare Exception after half a minute."""
    ray = pytest.importorskip("ray")

    def init(**options):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="timed out during startup"), ray_session.ray_session(1):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(ray_session, "has_ray", lambda: False)
    with pytest.raises(MissingExtraError, match=r"memeblend\[ray\]"), ray_session.ray_session(2):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("how", ["to its end", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_the_work_ends(how):
    pytest.importorskip("ray")
    short = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    try:
        check_nothing_is_left(how, short)
    finally:
        shutil.rmtree(short, ignore_errors=True)


def check_nothing_is_left(how, tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore", "RAY_ADDRESS": "127.0.0.1:1"}
    command = [sys.executable, "-c", WORK, "0.1" if how == "to its end" else "60"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as work:
        address = work.stdout.readline().split()[0]
        assert address.startswith("127.0.0.1:")
        if how != "to its end":
            assert processes_of(str(tmp_path))
            work.send_signal(how)
        work.wait(timeout=60)
        assert (work.returncode == 0) == (how == "to its end")
    deadline = time.monotonic() + 30
    while processes_of(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert processes_of(str(tmp_path)) == []
    if how != signal.SIGKILL:
        assert not list(tmp_path.glob("mb*"))


@pytest.mark.slow
def test_only_loopback_listens_and_who_joins_needs_the_token():
    pytest.importorskip("ray")
    work = f"""
{WORK.partition("with ray_session")[0]}
import os, subprocess, psutil
with ray_session(1):
    ray.get(ray.remote(lambda: 1).remote())
    ours = psutil.Process().children(recursive=True) + [psutil.Process()]
    listening = [c.laddr.ip for p in ours for c in p.net_connections() if c.status == "LISTEN"]
    print(sorted(set(ip.removeprefix("::ffff:") for ip in listening)))
    environment = {{k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN"}}
    code = f"import ray; ray.init(address='{{ray.get_runtime_context().gcs_address}}')"
    print(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode != 0)
print("RAY_AUTH_TOKEN" in os.environ)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", work], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.stdout.split("\n")[:3] == ["['127.0.0.1']", "True", "False"], done.stderr[-2000:]
