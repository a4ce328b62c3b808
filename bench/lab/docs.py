"""Writes what a run found into docs/performance.md, between two marks; what people wrote around them stays."""
import pathlib

from lab.show import case_table
from lab.targets import table

BEGIN, END = "<!-- written by ./dev bench --write-docs -->", "<!-- end of what ./dev bench wrote -->"
FRAME = f"""# Performance

{BEGIN}
{END}
"""


def text(results, cases):
    m = results["machine"]
    busy = results.get("busy_elsewhere")
    lines = [f"{results['date']}, commit {m['commit']}, `{results['command']}` ({results['rounds']} rounds). {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, "
             f"{m['system']}, Linux {m['kernel']}. {m['nginx']}; {m['haproxy']}; Caddy {m['caddy']}; Node.js {m['node']}.", "",
             "Every target's process is pinned to one core (one worker each), load generator and mock provider to another; where a case says so, all share one. "
             "Keyhole runs with everything on. Ratios are taken within a round; cells are median (min..max).", ""]
    if busy is not None:
        lines += [f"Other programs kept {busy:.2f} cores busy during the median run: above 0.1, trust ratios and not times.", ""]
    lines += ["## Targets", "", table(results), ""]
    for name, result in results["cases"].items():
        lines += [f"## {name}", "", result["title"] + ".", "", case_table(cases[name], result), ""]
    return "\n".join(lines)


def write(path, results, cases):
    path = pathlib.Path(path)
    old = path.read_text() if path.exists() else FRAME
    if BEGIN not in old or END not in old:
        raise SystemExit(f"bench: {path} has lost its marks ({BEGIN} and {END}); put them back where the results belong")
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(before + BEGIN + "\n\n" + text(results, cases) + "\n" + END + after)
