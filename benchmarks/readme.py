"""`make readme`: writes the README's tables from the committed results, so that no number in it is typed by hand."""

import json
import re
from pathlib import Path

import accuracy
import export_memory
import handover
import latency
import load
import memory
import sending
import soak
import stages
from alpamayo_demo.drive import table as closed_loop
from alpamayo_demo.evaluate import table as driving

ROOT = Path(__file__).resolve().parents[1]
TABLES = {  # by a result's "benchmark"
    "latency": latency.table,
    "accuracy": accuracy.table,
    "load": load.table,
    "stages": stages.table,
    "handover": handover.table,
    "memory": memory.table,
    "soak": soak.table,
    "sending": sending.table,
    "export_memory": export_memory.table,
    "driving": driving.table,
    "closed_loop": closed_loop.table,
}


def rendered(readme: str) -> str:
    """The README's text, with what stands between `<!-- FILE -->` and `<!-- end -->` made anew from results/FILE."""

    def block(match: re.Match[str]) -> str:
        result = json.loads((ROOT / "benchmarks" / "results" / match[1]).read_text())
        table = TABLES[result["benchmark"]](result)
        return f"<!-- {match[1]} -->\n{table}\n<!-- end -->"

    return re.sub(r"<!-- (\S+\.json) -->\n.*?<!-- end -->", block, readme, flags=re.DOTALL)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text()))
