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


SITES = """\
Call stacks of those that were observed with
`--engine=off --backtrace --replies`, outwards from the library that wanted the
fd to cross; of each module its innermost function, or where in it if it is
stripped.

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
	text += "\n## Which code does it\n\n" + SITES
	for result in results:
		sites = result.get("sites")
		if sites:
			text += f"- {result['title']}:\n" + "".join(
				f"  - {count} x {crossing}\n" for crossing, count
				in sites.items())
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


def head(kept):
	release = platform.freedesktop_os_release().get("PRETTY_NAME", "?")
	return HEAD.format(xorg=package_version("xserver-xorg-core"),
		system=release, kernel=platform.release().partition("-")[0],
		machine=f"{platform.machine()}, {os.cpu_count()} processors",
		fenceferry=first_line([f"{kept}/../fenceferry", "--version"]))


def write(kept, binary, path):
	"""Write the table of all results of this binary; to path as well, if
	none is missing."""
	results = {}
	for file_name in glob.glob(f"{kept}/results/*.json"):
		with open(file_name) as file:
			result = json.load(file)
		if result["binary"] == binary:
			results[result["name"]] = result
	known = [application for application in APPLICATIONS
		if application.name in results]
	text = head(kept) + "".join(row(results[application.name],
		application.moves) for application in known)
	text += details([results[application.name] for application in known])
	paths = [f"{kept}/compatibility.md"]
	if path and len(known) == len(APPLICATIONS):
		paths.append(path)
	for path_name in paths:
		with open(path_name, "w") as file:
			file.write(text)
		print(f"wrote {path_name}")
