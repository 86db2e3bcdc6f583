"""Locust's fast client. PACE: requests a second of each user; unset: no wait."""

import os
import random

import gevent
from locust import FastHttpUser, constant_throughput, task

PACE = float(os.environ.get("PACE", "0"))


class Poster(FastHttpUser):
    """Posts 64 bytes and reads 64."""

    host = f"http://127.0.0.1:{os.environ['PORT']}"
    wait_time = constant_throughput(PACE) if PACE else lambda _: 0
    network_timeout = connection_timeout = 60.0

    def on_start(self):
        if PACE:  # else all users, spawned at once, would ask at once for ever
            gevent.sleep(random.random() / PACE)

    @task
    def post(self):
        self.client.post("/", data=bytes(64))
