/* SPDX-License-Identifier: MIT */
#include "report-stack.h"

#include "report-read.h"
#include "report-text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Through these everybody's calls go. */
static const char *const plumbing[] = { "libc.so", "libc-", "ld-linux",
	"ld-2", "ld.so", "libpthread", "librt", "libxcb", "libxshmfence",
	"libX11", "libXext", "libXpresent", "linux-vdso", "linux-gate",
	"[vdso]" };

/* Through these, everybody's who draws by GL or Vulkan. */
static const char *const drivers[] = { "libGL", "libEGL", "libgallium",
	"libglapi", "libgbm", "libvulkan", "libOpenGL", "libMesa",
	"swrast_dri", "libdrm" };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static bool begins_with(const char *name, const char *const list[],
	size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strncmp(name, list[i], strlen(list[i])))
			return true;
	return false;
}

static bool is_plumbing(const char *module)
{
	return !*module || begins_with(module, plumbing,
		sizeof(plumbing) / sizeof(plumbing[0]));
}

static bool is_driver(const char *module)
{
	size_t length = strlen(module);

	return begins_with(module, drivers,
			sizeof(drivers) / sizeof(drivers[0])) ||
		(length > 7 && !strcmp(module + length - 7, "_dri.so"));
}

/* How far from the program's own code a frame is; 0 is it. */
static unsigned int distance(const json_t *frame)
{
	const char *module = base_name(ff_log_text(frame, "module"));

	return is_plumbing(module) ? 2 : is_driver(module) ? 1 : 0;
}

static json_t *find_site(const json_t *stack)
{
	unsigned int best = 3;
	json_t *site = NULL;

	for (size_t i = 0; i < json_array_size(stack) &&
			i < FF_STACK_FRAMES && best; i++) {
		json_t *frame = json_array_get(stack, i);

		if (json_is_object(frame) && distance(frame) < best) {
			site = frame;
			best = distance(frame);
		}
	}
	return site;
}

/* "symbol+0x12", or what there is instead. */
static void write_symbol(const json_t *frame, bool with_offset, char *text,
	size_t size)
{
	const char *symbol = ff_log_text(frame, "symbol");
	int64_t offset = ff_log_integer(frame, "offset", 0);

	if (*symbol && with_offset && offset > 0)
		snprintf(text, size, "%s+0x%llx", symbol, (long long)offset);
	else if (*symbol)
		snprintf(text, size, "%s", symbol);
	else if (offset > 0)
		snprintf(text, size, "+0x%llx", (long long)offset);
	else
		snprintf(text, size, "%s", *ff_log_text(frame, "ip") ?
			ff_log_text(frame, "ip") : "??");
}

static void write_frame(const json_t *frame, bool with_offset, char *text,
	size_t size)
{
	const char *module = base_name(ff_log_text(frame, "module"));
	const char *file = base_name(ff_log_text(frame, "file"));
	const char *note = ff_log_text(frame, "note");
	int64_t line = ff_log_integer(frame, "line", 0);
	char symbol[256], raw[1024], place[300] = "";

	write_symbol(frame, with_offset, symbol, sizeof(symbol));
	if (*file && line > 0)
		snprintf(place, sizeof(place), " %s:%lld", file,
			(long long)line);
	else if (*file)
		snprintf(place, sizeof(place), " %s", file);
	snprintf(raw, sizeof(raw), "%s%s (%s%s)%s%s%s", symbol,
		with_offset && json_is_true(json_object_get(frame, "inlined")) ?
			" [inlined]" : "",
		*module ? module : "no file", place,
		with_offset && *note ? " [" : "", with_offset ? note : "",
		with_offset && *note ? "]" : "");
	ff_text_clean(text, size, raw);
}

void ff_stack_frame(const json_t *frame, char *text, size_t size)
{
	write_frame(frame, true, text, size);
}

void ff_stack_site_name(const json_t *stack, char *text, size_t size)
{
	const json_t *site = find_site(stack);

	*text = '\0';
	if (site)
		write_frame(site, false, text, size);
}

json_t *ff_stack_keep(const json_t *stack)
{
	size_t count = json_array_size(stack);
	json_t *kept = count ? json_array() : NULL;

	for (size_t i = 0; kept && i < count && i < FF_STACK_FRAMES; i++)
		if (json_is_object(json_array_get(stack, i)))
			json_array_append(kept, json_array_get(stack, i));
	return kept;
}
