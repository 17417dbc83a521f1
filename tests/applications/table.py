# SPDX-License-Identifier: MIT
"""The table of results, as people read it."""
import glob
import json
import os
import platform
import subprocess

from applications import APPLICATIONS

HEAD = """\
<!-- SPDX-License-Identifier: MIT -->
# Applications under fenceferry

This file is written by `make check-apps`, not by hand. It runs each
application some times bare and wrapped in `fenceferry run` with the default
engine, as an ordinary user, each time on a private X server with DRI3 fences,
no GPU and no window manager. It passes if it shows the same and ends in the
same way each time, and fenceferry's log tells of no failure.

Made with {fenceferry} on {system}, Linux {kernel},
Xorg {xorg}, {machine}.

- *engine*: which engine swapped, or what was decided for the application's
  processes; "-" if there was nothing to decide.
- *crossings*, *swaps*: fds that went to the X server; those of them that were
  replaced.
- *differs*: the share of the screen's pixels that are visibly different, at the
  most. What is in motion is never the same twice: its share is in brackets.
- *start*: the time from the start to the last change of the picture, or for
  moving ones the first, divided by the same for the bare run: the shortest
  of each. Differences below a twentieth of a second are not seen.
- *cpu*: the same for the processor time that all its processes, fenceferry's
  among them, have taken in the end. The machine was not idle, so this is the
  one to rely on; what is in motion takes as much as it can get.

| application | version | engine | crossings | swaps | differs | start | cpu | result |
|---|---|---|---|---|---|---|---|---|
"""


SHARED = """\
What the application's processes had mapped, when the picture of a wrapped run
was taken, of the kinds that can be shared with an X server. System V segments
have no fds. A memfd of the X server is what it makes itself and passes to the
client, when asked by MIT-SHM's CreateSegment, as Qt does: nothing that the
client sends. The other memfds are the application's own, for its processes or
itself, unless they are listed above.

"""


def percent(share, moves):
	if share is None:
		return "-"
	text = f"{100 * share:.2f} %"
	return f"({text})" if moves else text


def ratio(result, what):
	bare, wrapped = result.get(f"bare_{what}"), result.get(f"wrapped_{what}")
	return f"{wrapped / bare:.2f}" if bare and wrapped else "-"


def verdict(result):
	if result["skipped"]:
		return f"skipped: {result['skipped']}"
	if result["faults"]:
		return "fails: " + "; ".join(result["faults"])
	return "passes"


def summary(result):
	"""One line."""
	if result["skipped"]:
		return result["skipped"]
	counters = result.get("counters", {})
	return (f"crossings {counters.get('crossings', '?')}, "
		f"swaps {counters.get('swaps', '?')}, "
		f"failures {counters.get('failures', '?')}, "
		f"engine {', '.join(result.get('engines', [])) or '-'}, "
		f"differs {percent(result['differs'], False)}, "
		f"start {ratio(result, 's')} ({result['bare_s']} s bare), "
		f"cpu {ratio(result, 'cpu_s')} ({result['bare_cpu_s']} s bare), "
		f"status {result['wrapped_status']} {result['wrapped_ended']}")


def row(result, moves):
	counters = result.get("counters", {})
	cells = [result["title"], result["version"],
		", ".join(result.get("engines", [])) or "-",
		str(counters.get("crossings", "-")),
		str(counters.get("swaps", "-")),
		percent(result.get("differs"), moves), ratio(result, "s"),
		"-" if moves else ratio(result, "cpu_s"), verdict(result)]
	return "| " + " | ".join(cell.replace("|", "\\|")
		for cell in cells) + " |\n"


def details(results):
	"""What crossed, and what they share with the server otherwise."""
	text = "\n## What crossed\n\n"
	for result in results:
		crossings = result.get("crossings")
		if not crossings:
			continue
		text += f"- {result['title']}: " + "; ".join(
			f"{count} x {crossing}" for crossing, count
			in crossings.items()) + "\n"
		for reason in result["reasons"]:
			text += f"  - {reason}\n"
	text += "\n## Memory that is shared otherwise\n\n"
	text += SHARED
	for result in results:
		shared = result.get("wrapped_shared")
		if shared:
			text += f"- {result['title']}: " + ", ".join(
				f"{count} x {kind}" for kind, count
				in sorted(shared.items())) + "\n"
	text += "\n## Sandboxes\n\n"
	for result in results:
		if result.get("wrapped_sandboxed"):
			text += (f"- {result['title']}: bare "
				f"{result['bare_sandboxed']}, wrapped "
				f"{result['wrapped_sandboxed']} processes in "
				"namespaces of their own; up to "
				f"{result['bare_filters']} and "
				f"{result['wrapped_filters']} seccomp filters\n")
	return text


def first_line(command):
	done = subprocess.run(command, capture_output=True, text=True)
	lines = (done.stdout + done.stderr).strip().splitlines()
	return lines[0] if lines else "?"


def package_version(package):
	return first_line(["dpkg-query", "-W", "-f", "${Version}", package])


def head(kept, text=HEAD):
	release = platform.freedesktop_os_release().get("PRETTY_NAME", "?")
	return text.format(xorg=package_version("xserver-xorg-core"),
		system=release, kernel=platform.release().partition("-")[0],
		machine=f"{platform.machine()}, {os.cpu_count()} processors",
		fenceferry=first_line([f"{kept}/../fenceferry", "--version"]))


OBSERVED = """\
<!-- SPDX-License-Identifier: MIT -->
# Applications observed

This file is written by `make check-apps`, not by hand. It runs applications
under `fenceferry run -vv --engine=off --backtrace --replies`, which changes
nothing and tells which fds cross, both ways, and from which code; otherwise as
in [compatibility.md](compatibility.md).

Made with {fenceferry} on {system}, Linux {kernel},
Xorg {xorg}, {machine}.

*start* and *cpu* are what it takes of time, as ratios to a bare run. The naming of
the call stacks is in the processor time, and goes on beside the application.

| application | version | crossings | start | cpu | result |
|---|---|---|---|---|---|
"""


def screen(kept, result):
	"""What fenceferry said in the first run, each stack once."""
	path = f"{kept}/{result['name']}/wrapped-1.output"
	try:
		with open(path, errors="replace") as file:
			lines = file.read().splitlines()
	except FileNotFoundError:
		return ""
	blocks = []
	for line in lines:
		if line.startswith("fenceferry: "):
			blocks.append([line])
		elif line.startswith("    ") and blocks:
			blocks[-1].append(line)
	text, seen = "", set()
	for block in blocks:
		stack = tuple(block[1:])
		if len(stack) and stack not in seen:
			text += "".join(f"    {line}\n" for line in block)
		seen.add(stack)
	return text


def write_observed(kept, results, path):
	text = head(kept, OBSERVED)
	for result in results:
		cells = [result["title"], result["version"],
			str(sum(result["crossings"].values())),
			ratio(result, "s"), ratio(result, "cpu_s"),
			verdict(result)]
		text += "| " + " | ".join(cells) + " |\n"
	for result in results:
		text += f"\n## {result['title']}\n\n{screen(kept, result)}"
	with open(path, "w") as file:
		file.write(text)
	print(f"wrote {path}")


def write(kept, binary, path):
	"""Write the table of all results of this binary; to path as well, if
	none is missing. The same of those that were only observed."""
	results = {}
	for file_name in glob.glob(f"{kept}/results/*.json"):
		with open(file_name) as file:
			result = json.load(file)
		if result["binary"] == binary:
			results[result["name"]] = result
	observed = [application for application in APPLICATIONS
		if application.options]
	if path and all(application.name in results and
			not results[application.name]["skipped"]
			for application in observed):
		write_observed(kept, [results[application.name]
			for application in observed],
			os.path.join(os.path.dirname(path), "observed.md"))
	wanted = [application for application in APPLICATIONS
		if not application.options]
	known = [application for application in wanted
		if application.name in results]
	text = head(kept) + "".join(row(results[application.name],
		application.moves) for application in known)
	text += details([results[application.name] for application in known])
	paths = [f"{kept}/compatibility.md"]
	if path and len(known) == len(wanted):
		paths.append(path)
	for path_name in paths:
		with open(path_name, "w") as file:
			file.write(text)
		print(f"wrote {path_name}")
