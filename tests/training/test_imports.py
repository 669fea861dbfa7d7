from __future__ import annotations

import subprocess
import sys


def test_data_and_metrics_do_without_torch():
    code = (
        "import sys, onnxprune.training as t\n"
        "t.open_data, t.evaluate, t.DistillConfig, t.synthetic_data, t.load_preprocess\n"
        "assert not {'torch', 'onnxruntime'} & set(sys.modules)\n"
        "t.distil\n"
        "assert 'torch' in sys.modules\n"
        "assert all(hasattr(t, name) for name in t.__all__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
