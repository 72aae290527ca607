import os
import subprocess
import sys


def test_onnx_runtime_does_not_report(tmp_path):
    """With telemetry on, importing it leaves a session file in TMPDIR; where CI is set it keeps still by itself."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", "import denoiser.onnx_runner"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
