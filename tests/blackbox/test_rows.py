"""Rows of what is billed or told in unusual ways: pages, JSON where others take forms, answers that begin with silence."""

import json
import tempfile
import threading
import time
import unittest

from harness import chat_body
from scripted import World, http, sse

OCR = http({"pages": [{"index": 0, "markdown": "a"}], "model": "mistral-ocr-latest", "usage_info": {"pages_processed": 29, "doc_size_bytes": 30027}})
ASKED = {"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://example.com/a.pdf"}}
PRICE = """
[[model]]
provider = "openai"
model = "mistral-ocr-latest"
input = "0"
output = "0"
web_search_per_1000 = "2.00"
source = "a test"
date = "2026-01-01"
"""


class Rows(unittest.TestCase):
    def world(self, config=None):
        world = World(config)
        self.addCleanup(world.close)
        return world

    def test_pages_without_a_price_are_visible_and_refused_where_money_is_limited(self):
        world = self.world()
        got, row = world.ask("POST", "/v1/ocr", OCR, ASKED, world.keyhole.token())
        self.assertEqual((got.status, row["web_searches"], row["priced"], row["cost_nano_usd"]), (200, 29, 0, 0))
        groups = json.loads(world.keyhole.cli("usage", "--by", "provider", "--json").stdout)
        self.assertEqual((groups[0]["unpriced_requests"], groups[0]["web_searches"]), (1, 29))
        self.assertIn("unpriced", world.keyhole.cli("usage", "requests").stdout)
        self.assertIn('keyhole_unpriced_requests_total{provider="openai"} 1', world.keyhole.metrics_text())
        refused, _ = world.ask("POST", "/v1/ocr", OCR, ASKED, world.keyhole.token(limits=["usd=1"]))
        self.assertEqual((refused.status, refused.code), (403, "model_unpriced"))

    def test_pages_are_billed_where_they_have_a_price_and_bounded_by_what_is_left(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as prices:
            prices.write(PRICE)
            prices.flush()
            world = self.world({"prices": [{"format": "keyhole", "path": prices.name}]})
        session = world.keyhole.session(limits=["usd=0.07"])
        _, row = world.ask("POST", "/v1/ocr", OCR, ASKED, session["token"])
        self.assertEqual((row["web_searches"], row["priced"], row["cost_nano_usd"], row["source"]), (29, 1, 58_000_000, "none"))
        _, row = world.ask("POST", "/v1/ocr", OCR, ASKED, session["token"])
        self.assertEqual(float(world.used(session)["used"]), 0.116)
        refused, _ = world.ask("POST", "/v1/ocr", OCR, ASKED, session["token"])
        self.assertEqual(refused.status, 402)

    def test_a_form_that_comes_as_json_names_its_model_too(self):
        world = self.world()
        picture = http({"created": 1, "data": [], "usage": {"input_tokens": 5, "output_tokens": 10, "total_tokens": 15}})
        body = {"model": "gpt-image-1", "prompt": "a lantern", "images": [{"image_url": "https://example.com/a.png"}]}
        _, row = world.ask("POST", "/v1/images/edits", picture, body, world.keyhole.token())
        self.assertEqual((row["model"], row["input"]), ("gpt-image-1", 5))
        refused, _ = world.ask("POST", "/v1/images/edits", picture, body, world.keyhole.token(models=["gpt-4o"]))
        self.assertEqual(refused.status, 403)

    def test_comments_and_pings_are_no_first_token(self):
        world = self.world()
        speak = threading.Event()

        def hesitate(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                               b": PROCESSING\n\n: PROCESSING\r\n\r\nevent: ping\r\ndata: {}\r\n\r\nevent: ping\ndata: {}\n\n")
            speak.wait(10)
            connection.sendall(sse({"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "x"}}]},
                                   {"id": "c", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
                               + b"data: [DONE]\n\n")
        with world.keyhole.client() as client:
            client.request("POST", "/v1/chat/completions", [world.case(hesitate), ("content-type", "application/json")],
                           json.dumps(chat_body("gpt-4o", stream=True)).encode(), world.keyhole.token())
            answer = client.answer()
            heard = b""
            while heard.count(b"ping") < 2:
                heard += answer.some()
            before = time.time_ns() // 1000
            speak.set()
            answer.read()
        row = world.keyhole.row(answer.get("x-keyhole-request-id"))
        self.assertGreaterEqual(row["first_token_us"], before)
        self.assertLess(row["first_byte_us"], before)


if __name__ == "__main__":
    unittest.main()
