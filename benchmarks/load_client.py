"""The clients of `serve_load.py`, run by Locust: each sends one meme after the other and checks every answer.

    locust -f load_client.py --headless -u 50 -r 50 -t 60s --host http://127.0.0.1:8000

The environment variable `LOAD_BODIES` names a file with one JSON body of `/v1/predict` a line.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from locust import FastHttpUser, constant, task

BODIES = Path(os.environ["LOAD_BODIES"]).read_bytes().splitlines()
NEXT = itertools.cycle(BODIES)


class Client(FastHttpUser):
    """A client that asks again as soon as it is answered."""

    wait_time = constant(0)

    @task
    def predict(self) -> None:
        """Send a meme; anything but a whole answer counts as an error."""
        headers = {"content-type": "application/json"}
        with self.client.post("/v1/predict", data=next(NEXT), headers=headers, catch_response=True) as answer:
            if answer.status_code != 200 or not answer.content.startswith(b'{"model":'):
                answer.failure(f"status {answer.status_code}")
