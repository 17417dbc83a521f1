# SPDX-License-Identifier: MIT
"""What fenceferry's event log tells of a run."""
import collections
import json


class Events:
	def __init__(self, path):
		self.events = []
		try:
			with open(path, errors="replace") as file:
				self.events = [json.loads(line) for line in file]
		except FileNotFoundError:
			pass

	def of(self, kind):
		return [event for event in self.events if event["event"] == kind]

	def counters(self):
		"""The last event has them; empty if the log has no end."""
		ends = self.of("exit")
		return {name: ends[-1][name] for name in
			("crossings", "swaps", "failures")} if ends else {}

	def crossings(self):
		"""Crossings as "request: kind, action", each with its number."""
		counts = collections.Counter(
			f"{event.get('request') or 'unknown request'}: "
			f"{event['kind']}, {event['action']}"
			for event in self.of("crossing"))
		return dict(sorted(counts.items()))

	def requests(self):
		return {event.get("request") for event in self.of("crossing")}

	def engines(self):
		"""Which engines swapped; else which were decided for."""
		swaps = {event["engine"] for event in self.of("swap")}
		return sorted(swaps or {event["engine"]
			for event in self.of("engine")})

	def reasons(self):
		"""Why something was not swapped, or an engine was chosen."""
		return sorted({event["reason"] for event in
			self.of("crossing") + self.of("engine")
			if event.get("reason")})

	def tell(self):
		return {"engines": self.engines(), "reasons": self.reasons(),
			"counters": self.counters(), "crossings": self.crossings()}
