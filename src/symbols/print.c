/* SPDX-License-Identifier: MIT */
#include "report-text.h"
#include "symbols.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *get_text(const json_t *frame, const char *key)
{
	return json_string_value(json_object_get(frame, key));
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static void print_frame(FILE *out, unsigned int number, const json_t *frame)
{
	const char *symbol = get_text(frame, "symbol");
	const char *module = get_text(frame, "module");
	const char *file = get_text(frame, "file");
	const char *note = get_text(frame, "note");
	const json_t *offset = json_object_get(frame, "offset");
	const json_t *line = json_object_get(frame, "line");

	fprintf(out, "    #%-2u ", number);
	ff_text_put(out, symbol ? symbol : get_text(frame, "ip"), 0);
	if (symbol && offset)
		fprintf(out, "+0x%llx", (unsigned long long)
			json_integer_value(offset));
	if (json_is_true(json_object_get(frame, "inlined")))
		fputs(" (inlined)", out);
	if (module) {
		fputs(" in ", out);
		ff_text_put(out, base_name(module), 0);
		if (!symbol && offset)
			fprintf(out, "+0x%llx", (unsigned long long)
				json_integer_value(offset));
	}
	if (file) {
		fputs(" at ", out);
		ff_text_put(out, base_name(file), 0);
		if (line)
			fprintf(out, ":%lld", (long long)
				json_integer_value(line));
	}
	if (note) {
		fputs(" (", out);
		ff_text_put(out, note, 0);
		fputc(')', out);
	}
	fputc('\n', out);
}

char *ff_symbols_print(const json_t *frames, const char *end)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	unsigned int i;

	if (!out)
		return NULL;
	for (i = 0; i < json_array_size(frames); i++)
		print_frame(out, i, json_array_get(frames, i));
	if (end) {
		fputs("    ... ", out);
		ff_text_put(out, end, 0);
		fputc('\n', out);
	}
	if (fclose(out) < 0) {
		free(text);
		return NULL;
	}
	return text;
}
