import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_s_client_example(server, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "localhost:8001" in code
    names: dict = {}
    exec(compile(code.replace("localhost:8001", server.grpc), "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if "m after 6.4 s" in line]) == 6
    assert names["xyz"].shape == (1, 1, 6, 64, 3)
    assert (names["xyz"] == names["prediction"].pred_xyz).all()  # the identity: world = ego frame
