"""Loads bin/serve.py with the requests of many tenants, and says how many a second it answers and how long they take.

    python -m tests.serving_load --pretrained=omniglot_5way_1shot --tenants=100 --clients=4 --seconds=60

Each of the tenants adapts once; then clients, each with a connection of its own, ask for tenants drawn at random: nine
times in ten for a prediction of five examples, else for an adaptation on as many. Every answer is compared with the
first for its tenant, and other than equal ones fail. The clients' own work is a part of the machine's load. Needs the
extra serve.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from maml_tf import pretrained
from tests.support.source_tree import PROJECT

STEPS, EXAMPLES, FIT_SHARE, MODEL = 3, 5, 0.1, "loaded"


class Client:
    """A connection, and what was asked over it: (signature, seconds) of each request."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.asked = []

    def ask(self, tenant, body, signature):
        begin = time.perf_counter()
        self._connection.request("POST", f"/v1/models/{MODEL}/tenants/{tenant}:predict", body)
        answer = self._connection.getresponse()
        content = answer.read()
        self.asked.append((signature, time.perf_counter() - begin))
        if answer.status != 200:
            raise ValueError(f"{tenant}: {answer.status} {content!r}")
        return content


def bodies(shape, ways, tenants):
    """Returns a body of fit_task for each tenant, and one of infer."""
    random = np.random.default_rng(0)

    def images():
        return np.round(random.random((EXAMPLES, *shape)), 3).tolist()

    def body(signature, **inputs):
        return json.dumps({"signature_name": signature, "inputs": inputs})

    labels = (np.arange(EXAMPLES) % ways).tolist()
    fits = [body("fit_task", support_x=images(), support_y=labels, steps=STEPS) for _ in range(tenants)]
    return fits, body("infer", x=images())


def load(port, fits, infer, clients, seconds):
    """Returns what the clients asked, and in how many seconds."""
    first = Client(port)
    expected = []
    for tenant, fit in enumerate(fits):
        losses = first.ask(f"tenant{tenant}", fit, "fit_task")
        expected.append((losses, first.ask(f"tenant{tenant}", infer, "infer")))
    wrong, end = [], time.perf_counter() + seconds

    def work(client, random):
        while time.perf_counter() < end:
            tenant = int(random.integers(len(fits)))
            signature = "fit_task" if random.random() < FIT_SHARE else "infer"
            answer = client.ask(f"tenant{tenant}", fits[tenant] if signature == "fit_task" else infer, signature)
            if answer != expected[tenant][signature == "infer"]:
                wrong.append((tenant, signature))

    made = [Client(port) for _ in range(clients)]
    threads = [
        threading.Thread(target=work, args=(client, np.random.default_rng(seed))) for seed, client in enumerate(made)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise ValueError(f"{len(wrong)} answers differ from the first, {wrong[:5]}")
    return [one for client in made for one in client.asked], time.perf_counter() - begin


def table(asked, seconds):
    lines = ["| request | requests a second | p50, ms | p99, ms |", "|---|---|---|---|"]
    for name, kept in (("infer", ["infer"]), ("fit_task", ["fit_task"]), ("both", ["infer", "fit_task"])):
        taken = [1000 * took for signature, took in asked if signature in kept]
        p50, p99 = np.percentile(taken, [50, 99])
        lines.append(f"| {name} | {len(taken) / seconds:.0f} | {p50:.1f} | {p99:.1f} |")
    return "\n".join(lines)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", default="omniglot_5way_1shot", help="entry that is served")
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--memory_mb", type=int, default=256, help="of the server's, for the tenants' weights")
    options = parser.parse_args(arguments)
    config = pretrained.card(options.pretrained)["config"]
    shape = pretrained.load(options.pretrained).model.input_shape[1:]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder, "log")
        command = [
            sys.executable, PROJECT / "bin" / "serve.py", f"--pretrained={options.pretrained}", f"--name={MODEL}",
            f"--tenants={folder}/tenants", "--port=0", f"--memory_mb={options.memory_mb}", "--batch_statistics=support",
        ]  # fmt: skip
        with open(log, "w") as file:
            process = subprocess.Popen(command, stderr=file)
        try:
            while (address := re.search(r"http://127.0.0.1:(\d+)", log.read_text())) is None:
                if process.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.1)
            fits, infer = bodies(shape, config["ways"], options.tenants)
            asked, seconds = load(int(address[1]), fits, infer, options.clients, options.seconds)
            sizes = [path.stat().st_size for path in pathlib.Path(folder, "tenants").glob("*.npy")]
            status = pathlib.Path(f"/proc/{process.pid}/status")
            peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
        finally:
            process.terminate()
            process.wait()
    print(
        f"{options.pretrained}: {options.tenants} tenants of {np.mean(sizes) / 1e3:.0f} kB, {options.clients} clients, "
        f"{os.cpu_count()} processors, load average {before:.1f} before and {os.getloadavg()[0]:.1f} after"
        + (f", {int(peak[1]) / 1e3:.0f} MB at most" if peak else "")
        + f"\n\n{table(asked, seconds)}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
