"""What operators do with the ledger while requests go on: history booked at other prices, old requests pruned, space given back."""

import datetime
import unittest
from pathlib import Path

from harness import BlackBox, chat_body, wait_until

DEARER = """[[model]]
provider = "openai"
model = "gpt-4o"
aliases = ["gpt-4o-2024-08-06"]
input = "100.00"
output = "200.00"
source = "this test"
date = "2026-11-21"
"""


class Upkeep(BlackBox):
    def spend(self, count=3):
        """A session that made `count` requests, and its rows."""
        session = self.keyhole.session()
        for _ in range(count):
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        return session, wait_until(lambda: len(rows := self.keyhole.rows(session=session["id"])) == count and rows)

    def summed(self, session):
        by = self.keyhole.admin("GET", f"/admin/v1/usage?by=session&session={session['id']}").json()
        return by[0]["cost_nano_usd"]

    def test_history_is_shown_at_other_prices_and_booked_only_when_asked(self):
        session, before = self.spend()
        prices = Path(self.keyhole.dir) / "dearer.toml"
        prices.write_text(DEARER)
        shown = self.keyhole.cli("usage", "--reprice", "--prices", str(prices), "--session", session["id"])
        self.assertIn("gpt-4o", shown.stdout)
        self.assertEqual(self.keyhole.rows(session=session["id"]), before, "only shown")
        asked = self.keyhole.cli("usage", "--reprice", "--apply", "--prices", str(prices))
        self.assertIn("--yes", asked.stdout + asked.stderr)
        self.assertEqual(self.keyhole.rows(session=session["id"]), before, "only asked")
        self.keyhole.cli("usage", "--reprice", "--apply", "--yes", "--prices", str(prices))
        after = self.keyhole.rows(session=session["id"])
        for old, new in zip(before, after):
            self.assertEqual(new["cost_nano_usd"], (old["input"] * 100 + old["output"] * 200) * 1000)
            self.assertNotEqual(new["price_version"], old["price_version"])
        self.assertEqual(self.summed(session), sum(r["cost_nano_usd"] for r in after), "the roll-ups are the rows' sums")
        again = self.keyhole.cli("usage", "--reprice", "--apply", "--yes", "--prices", str(prices))
        self.assertIn("0 rows were changed", again.stdout)

    def test_todays_requests_are_never_pruned_and_a_dry_run_changes_nothing(self):
        session, before = self.spend()
        tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%d")
        self.keyhole.cli("usage", "prune", "--before", tomorrow, "--dry-run")
        done = self.keyhole.cli("usage", "prune", "--before", tomorrow)
        self.assertIn("pruned 0 requests", done.stdout)
        self.assertEqual(self.keyhole.rows(session=session["id"]), before)
        wrong = self.keyhole.cli("usage", "prune", "--before", "some day", check=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("is not a time", wrong.stderr)

    def test_the_ledger_is_written_anew_while_requests_go_on(self):
        session, _ = self.spend()
        asked = self.keyhole.cli("usage", "compact")
        self.assertIn("--yes", asked.stdout)
        self.keyhole.cli("usage", "compact", "--yes")
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        wait_until(lambda: len(self.keyhole.rows(session=session["id"])) == 4)


if __name__ == "__main__":
    unittest.main()
