"""Does the bench itself work, and do load, mock and ledger agree? Every kind of load, briefly; no figures, and no peers."""
from lab.bench import Lab
from lab.field import field
from lab.keyhole import Mismatch
from lab.peers import WRONG_TOKEN

LOADS = {
    "JSON": {"connections": 8, "requests": 400},
    "JSON, open loop": {"connections": 8, "requests": 200, "rate": 1000},
    "JSON, a connection each": {"connections": 4, "requests": 40, "new_connections": True},
    "1 MiB prompts": {"connections": 2, "requests": 6, "body": 1024 * 1024},
    "streams, fast": {"connections": 4, "requests": 20, "stream": True, "events": 200, "script": "events=200"},
    "streams, paced": {"connections": 20, "requests": 20, "stream": True, "events": 20, "script": "events=20 rate=200"},
}


def smoke(lab: Lab):
    with field(lab, "direct", "keyhole") as peers, field(lab, "keyhole", tls=True) as secured:
        for peer in peers:
            for kind in peer.targets:
                for what, load in LOADS.items():
                    got = lab.measure(peer, kind, **load)
                    if got["requests"] != load["requests"]:
                        raise Mismatch(f"{peer.name}, {kind}, {what}: {got['requests']} of {load['requests']} requests")
            lab.measure_refused(peer, "unix", WRONG_TOKEN, connections=2, requests=20)
        lab.measure(secured[0], "unix", **LOADS["JSON"])
    must_notice(lab)
    print(f"bench: {lab.runs} runs; after each, ledger, mock and load generator agreed to the token")


def must_notice(lab):
    """A comparison that cannot fail shows nothing: a token too many, in the clients' sums or the mock's, is to be found out."""
    with field(lab, "keyhole") as peers:
        keyhole = peers[0]
        before = lab.mock.books("keyhole")
        report = lab.end_load(keyhole, lab.begin_load(keyhole, "tcp", connections=1, requests=1))
        after = lab.mock.books("keyhole")
        billed = {name: after[name] - before[name] for name in after}
        wrong = {**report, "completion_tokens": report["completion_tokens"] + 1}
        notices("the clients'", lambda: lab.compare(keyhole, before, [wrong]))
        notices("the mock's", lambda: keyhole.check_books({**billed, "completion_tokens": billed["completion_tokens"] + 1}, patience=0.5))


def notices(whose, comparison):
    try:
        comparison()
    except Mismatch:
        return
    raise SystemExit(f"bench: a token too many in {whose} sum was not noticed")
