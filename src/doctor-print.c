/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "doctor-print.h"

#include "eventlog.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* Of a use, for people and in the JSON. */
static const struct {
	const char *name, *key;
} uses[FF_USES] = {
	[FF_USE_PTRACE] = { "run --engine=ptrace", "ptrace" },
	[FF_USE_NOTIFY] = { "run --engine=notify", "notify" },
	[FF_USE_AUTO] = { "run --engine=auto", "auto" },
	[FF_USE_RELAY] = { "run --relay", "relay" },
	[FF_USE_ISOLATE] = { "run --isolate", "isolate" },
	[FF_USE_HOST] = { "host", "host" },
};

/* What the use is like, in a few words. */
static void describe_use(enum ff_health health, const struct ff_finding *worst,
	char text[128])
{
	static const char *const words[] = { "works", "works, with less",
		"does not work" };

	snprintf(text, 128, "%s%s%s%s", words[health], worst ? " (see '" : "",
		worst ? worst->check : "", worst ? "')" : "");
}

/* X servers and file systems have names for which terminals have a meaning. */
static void put(const char *text, FILE *out)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		putc(c < ' ' || c == 127 ? '?' : c, out);
	}
}

/* "state  what:  ", in columns. */
static void put_head(enum ff_health health, const char *what, FILE *out)
{
	int width = (int)strlen(what);

	fprintf(out, "%-8s  %s:%*s", ff_health_name(health), what,
		width < 20 ? 21 - width : 1, "");
}

static void put_finding(const struct ff_finding *finding, FILE *out)
{
	bool has_both = *finding->reason && *finding->way_out;

	put_head(finding->health, finding->check, out);
	put(finding->found, out);
	if (*finding->reason || *finding->way_out) {
		fputs(" (", out);
		put(finding->reason, out);
		fputs(has_both ? ": " : "", out);
		put(finding->way_out, out);
		putc(')', out);
	}
	putc('\n', out);
}

/* A stream forgets why it has failed. */
static int finish(FILE *out)
{
	errno = EIO;
	return fflush(out) || ferror(out) ? -1 : 0;
}

int ff_print_text(const struct ff_checkup *checkup, FILE *out)
{
	for (size_t i = 0; i < checkup->count; i++)
		put_finding(&checkup->findings[i], out);
	putc('\n', out);
	for (int use = 0; use < FF_USES; use++) {
		const struct ff_finding *worst;
		enum ff_health health = ff_checkup_use(checkup,
			(enum ff_use)use, &worst);
		char text[128];

		describe_use(health, worst, text);
		put_head(health, uses[use].name, out);
		put(text, out);
		putc('\n', out);
	}
	return finish(out);
}

static json_t *make_finding(const struct ff_finding *finding)
{
	json_t *object = json_object();

	ff_event_set_text(object, "check", finding->check);
	ff_event_set_text(object, "state", ff_health_name(finding->health));
	ff_event_set_text(object, "found", finding->found);
	ff_event_set_text(object, "reason", finding->reason);
	ff_event_set_text(object, "way_out", finding->way_out);
	return object;
}

static json_t *make_use(const struct ff_checkup *checkup, enum ff_use use)
{
	const struct ff_finding *worst;
	enum ff_health health = ff_checkup_use(checkup, use, &worst);
	json_t *object = json_object();

	ff_event_set_text(object, "state", ff_health_name(health));
	ff_event_set_text(object, "because_of", worst ? worst->check : "");
	return object;
}

int ff_print_json(const struct ff_checkup *checkup, FILE *out)
{
	json_t *object = json_object(), *checks = json_array();
	json_t *engines = json_object();
	int failed;

	for (size_t i = 0; i < checkup->count; i++)
		json_array_append_new(checks,
			make_finding(&checkup->findings[i]));
	for (int use = 0; use < FF_USES; use++)
		json_object_set_new(engines, uses[use].key,
			make_use(checkup, (enum ff_use)use));
	json_object_set_new(object, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(object, "checks", checks);
	json_object_set_new(object, "engines", engines);
	failed = json_dumpf(object, out, JSON_INDENT(2));
	json_decref(object);
	putc('\n', out);
	return finish(out) || failed ? -1 : 0;
}
