"""Results as tables for people."""


def number(value):
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cell(s):
    if s["min"] == s["max"]:
        return number(s["median"])
    return f"{number(s['median'])} ({number(s['min'])}..{number(s['max'])})"


def ratio(s):
    return f"{s['median']:.2f} ({s['min']:.2f}..{s['max']:.2f})"


def table(heading, rows):
    """Markdown, its columns aligned so that it reads well in a terminal, too."""
    lines = [list(heading), *[list(map(str, r)) for r in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    out = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in lines]
    out.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(out)


def case_table(case, result):
    figures = [f for f in case.figures if any(f in row for row in result["rows"].values())]
    lines = [[name, *[cell(row[f]) if f in row else "–" for f in figures]] for name, row in result["rows"].items()]
    for peer in sorted({p for f in figures for p in result["ratios"].get(f, {})}):
        by_figure = {f: result["ratios"].get(f, {}).get(peer) for f in figures}
        lines.append([f"keyhole / {peer}", *[ratio(by_figure[f]) if by_figure[f] and not f.startswith("added") else "–" for f in figures]])
    out = table(["", *figures], lines) if lines else ""
    for text in result.get("notes", []):
        out += f"\n{text}"
    return out
