"""What was promised for each measure, and whether a run keeps it. "Bar" is the better of nginx and HAProxy in the same run."""
from lab.show import cell
from lab.show import table as drawn

BAR = ("nginx", "haproxy")


class Row:
    def __init__(self, measure, target, got="not measured", verdict="–"):
        self.measure, self.target, self.got, self.verdict = measure, target, got, verdict

    def cells(self):
        return [self.measure, self.target, self.got, self.verdict]


def value(results, case, figure, who="keyhole"):
    return results["cases"].get(case, {}).get("rows", {}).get(who, {}).get(figure)


def against_bar(results, measure, case, figure, more_is_better=False, target=None):
    """Ratio to the better peer, from the ratios within each round."""
    row = Row(measure, target or ("≥ 1.0 × bar" if more_is_better else "≤ 1.0 × bar"))
    ratios = results["cases"].get(case, {}).get("ratios", {}).get(figure, {})
    ratios = {p: r for p, r in ratios.items() if p in BAR}
    if ratios:
        pick = min if more_is_better else max
        peer = pick(ratios, key=lambda p: ratios[p]["median"])
        r = ratios[peer]
        row.got = f"{r['median']:.2f} ({r['min']:.2f}..{r['max']:.2f}) × {peer}"
        row.verdict = judge(r, 1.0, more_is_better)
    return row


def added_against_bar(results, measure, case, figure):
    """What is added to a direct connection, beside what the better peer adds."""
    row = Row(measure, "≤ 1.0 × bar")
    ours = value(results, case, figure)
    peers = {p: value(results, case, figure, p) for p in BAR}
    peers = {p: v for p, v in peers.items() if v is not None}
    if ours is not None and peers:
        peer = min(peers, key=lambda p: peers[p]["median"])
        row.got = f"{cell(ours)}, {peer} {cell(peers[peer])}"
        row.verdict = judge(ours, max(peers[peer]["median"], 0.01))
    return row


def absolute(results, measure, case, figure, limit, unit, more_is_better=False, who="keyhole"):
    row = Row(measure, f"{'≥' if more_is_better else '≤'} {limit:g}{unit}")
    got = value(results, case, figure, who)
    if got is not None:
        row.got = cell(got) + unit
        row.verdict = judge(got, limit, more_is_better)
    return row


def times_gateway(results, peer):
    row = Row(f"requests/s against {peer} (npm)", "≥ 20 ×")
    ratio = results["cases"].get("gateways", {}).get("ratios", {}).get("requests/s", {}).get(peer)
    if ratio:
        row.got = f"{cell(ratio)} ×"
        row.verdict = judge(ratio, 20, True)
    return row


def moved(results, measure, case, limit):
    """Moves of a p99 that the rig itself causes are not the proxy's: the direct connection's is said beside it."""
    row = absolute(results, measure, case, "gap p99 beside / alone", limit, " ×")
    rig = value(results, case, "gap p99 beside / alone", "direct")
    if rig is not None:
        row.got += f" (without a proxy {cell(rig)} ×)"
    return row


def judge(got, limit, more_is_better=False):
    """By the median; where the rounds lie on both sides of the target, that is said."""
    def kept(x):
        return x >= limit if more_is_better else x <= limit
    word = "met" if kept(got["median"]) else f"missed, {got['median'] / limit:.2f} × the target"
    return word if kept(got["min"]) == kept(got["max"]) else word + " (not in all rounds)"


def rows(results):
    r = results
    books = Row("ledger after every run", "equals the mock's count to the token",
                f"{r.get('runs', 0)} runs, all equal", "met" if r.get("runs") else "–")
    return [
        against_bar(r, "CPU a JSON request (2 KiB, c=64)", "json", "CPU µs/request"),
        against_bar(r, "CPU a paced event (200 × 100/s)", "stream_paced", "CPU µs/event"),
        against_bar(r, "CPU a fast-streamed event", "stream_fast", "CPU µs/event"),
        against_bar(r, "CPU a 200 KiB prompt", "prompt_200k", "CPU µs/request"),
        against_bar(r, "CPU a 1 MiB prompt", "prompt_1m", "CPU µs/request"),
        added_against_bar(r, "added p50 at c=1, one core, µs", "latency_c1", "added p50 µs"),
        added_against_bar(r, "added event delay p50, µs", "stream_one", "added event delay p50 µs"),
        added_against_bar(r, "added time to first token p50, µs", "stream_one", "added first token p50 µs"),
        against_bar(r, "requests/s at c=64", "json", "requests/s", more_is_better=True),
        times_gateway(r, "portkey"),
        times_gateway(r, "musistudio"),
        absolute(r, "memory idle (PSS)", "memory", "idle MiB", 7.7, " MiB"),
        absolute(r, "memory an idle connection", "memory", "KiB/idle connection", 4, " KiB"),
        absolute(r, "memory a live stream", "memory", "KiB/stream", 4.6, " KiB"),
        against_bar(r, "CPU that a TLS upstream adds", "tls", "added by TLS: CPU µs/request"),
        absolute(r, "journal + ledger + metrics, CPU a request", "metering", "journal, ledger, metrics µs/request", 2, " µs"),
        absolute(r, "a refused token, beyond the socket's own cost", "refused", "CPU beyond the socket's µs", 5, " µs"),
        absolute(r, "a flood of them: a valid client's p99", "flood", "p99 beside / alone", 1.1, " ×"),
        moved(r, "100 MB upload beside 50 streams: their p99 gap", "upload_100m", 1.05),
        moved(r, "8 MiB prompts beside 50 streams: their p99 gap", "upload_8m", 1.05),
        absolute(r, "start to serving", "start", "ms to serving", 20, " ms"),
        absolute(r, "binary, stripped", "start", "stripped MiB", 8, " MiB"),
        books,
    ]


def table(results):
    """Only what this run measured, if it was not all."""
    shown = [r for r in rows(results) if r.verdict != "–"]
    return drawn(("measure", "target", "measured", "verdict"), [r.cells() for r in shown])
