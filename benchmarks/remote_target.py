"""Is the latency that was asked for the latency on a device reached by SSH, and how long is that device needed?

    python benchmarks/remote_target.py NETS/vgg.onnx NETS/mobilenet.onnx --data NETS/cifar10
    python benchmarks/remote_target.py ... --python OTHER/bin/python --threads 1 --cpu-time
    python benchmarks/remote_target.py ... --compress --shares 0.5

Run it from the top of the checkout. An OpenSSH server is started on the loopback. What makes it another device is its
number of threads, or another Python there with another onnxruntime. `measured / target` should lie in [0.95, 1.0].
On a machine with other work, --cpu-time lets the device measure the CPU time of its one thread; see remote.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.on_target import SHARES, run
from benchmarks.remote import timing_by_cpu
from tests.latency.remote.server import serving


def main() -> None:
    """Run what is missing, and write the results after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="the Python there")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="the device's clock is the CPU time of its thread")
    parser.add_argument("--budget", type=int, default=6, help="structures judged at most")
    parser.add_argument("--compress", action="store_true", help="run compress as it comes, in place of prune --heal")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/remote_target.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "server") as server:
        # A first run is to be timed: what earlier ones measured of single layers does not count.
        os.environ["ONNXPRUNE_CACHE"] = str(Path(folder) / "cache")
        python = timing_by_cpu(server, options.python) if options.cpu_time else options.python
        device = server.spec(python=python, threads=options.threads)
        for network in options.networks:
            for share in options.shares:
                results = json.loads(options.out.read_text()) if options.out.exists() else {}
                key = f"{network.stem} {share:g}x" + (" compressed" if options.compress else "")
                budget = None if options.compress else options.budget
                if key not in results:
                    results[key] = run(network, options.data, share, device, budget, trains=options.compress)
                    print(key, results[key], flush=True)
                    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
