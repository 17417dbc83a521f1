/* SPDX-License-Identifier: MIT */
#include "symbols/frame.h"

#include "eventlog.h"

#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A place in a module. */
struct place {
	const struct ff_space *space;
	struct ff_image *image; /* NULL: in no file */
	Dwfl_Module *module;	/* NULL: not readable */
	uint64_t ip;
	uint64_t at; /* of the instruction: that of a call, not after it */
	Dwarf_Die *unit;
	Dwarf_Addr unit_bias;
};

typedef char *demangle_fn(const char *name, char *room, size_t *size,
	int *status);

/* C++'s own library knows how; where none is installed, names stay as they
 * are. */
static char *demangle(const char *name)
{
	static demangle_fn *function;
	static bool has_looked;
	int status;

	if (strncmp(name, "_Z", 2) != 0)
		return NULL;
	if (!has_looked) {
		void *library = dlopen("libstdc++.so.6",
			RTLD_LAZY | RTLD_LOCAL);

		has_looked = true;
		if (library)
			function = (demangle_fn *)dlsym(library,
				"__cxa_demangle");
	}
	return function ? function(name, NULL, NULL, &status) : NULL;
}

static void set_name(json_t *frame, const char *name)
{
	char *plain = demangle(name);

	ff_event_set_text(frame, "symbol", plain ? plain : name);
	free(plain);
}

/* What all frames of one ip have. */
static json_t *new_frame(const struct place *place, json_t *frames)
{
	const unsigned char *id;
	GElf_Addr id_address;
	json_t *frame = json_object();
	char text[160];
	int size;

	snprintf(text, sizeof(text), "0x%" PRIx64, place->ip);
	ff_event_set_text(frame, "ip", text);
	if (place->image)
		ff_event_set_text(frame, "module", place->image->path);
	else
		json_object_set_new(frame, "module", json_null());
	size = place->module ? dwfl_module_build_id(place->module, &id,
		&id_address) : 0;
	if (size > 0 && size <= 64) {
		for (int i = 0; i < size; i++)
			snprintf(text + 2 * i, 3, "%02x", id[i]);
		ff_event_set_text(frame, "build_id", text);
	}
	json_array_append_new(frames, frame);
	return frame;
}

static void set_line(json_t *frame, const char *file, int line)
{
	if (!file)
		return;
	ff_event_set_text(frame, "file", file);
	if (line > 0)
		ff_event_set_number(frame, "line", (uint64_t)line);
}

/* The compilation unit; not all compilers index them by address. */
static void find_unit(struct place *place)
{
	place->unit = dwfl_module_addrdie(place->module, place->at,
		&place->unit_bias);
	if (place->unit)
		return;
	while ((place->unit = dwfl_module_nextcu(place->module, place->unit,
			&place->unit_bias)))
		if (dwarf_haspc(place->unit, place->at - place->unit_bias) ==
			1)
			return;
}

static const char *linkage_name(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	const char *name = dwarf_formstring(dwarf_attr_integrate(die,
		DW_AT_linkage_name, &attribute));

	return name ? name : dwarf_diename(die);
}

/* Where an inlined function was called. */
static const char *call_file(const struct place *place, Dwarf_Die *die,
	int *line)
{
	Dwarf_Attribute attribute;
	Dwarf_Word number, file;
	Dwarf_Files *files;

	*line = 0;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute),
			&file) < 0 ||
		dwarf_getsrcfiles(place->unit, &files, NULL) < 0)
		return NULL;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute),
			&number) == 0)
		*line = (int)number;
	return dwarf_filesrc(files, (size_t)file, NULL, NULL);
}

/*
 * The inlined functions at this place, innermost first; *file and *line become
 * those of the function that they all are in. That is returned, if it is known.
 */
static const char *name_inlined(const struct place *place, json_t *frames,
	const char **file, int *line)
{
	const char *name = NULL;
	Dwarf_Die *scopes, *parents = NULL;
	int count = dwarf_getscopes(place->unit, place->at - place->unit_bias,
		&scopes);

	if (count <= 0)
		return NULL;
	count = dwarf_getscopes_die(&scopes[0], &parents);
	for (int i = 0; !name && i < count; i++) {
		int tag = dwarf_tag(&parents[i]);

		if (tag == DW_TAG_inlined_subroutine) {
			json_t *frame = new_frame(place, frames);
			const char *inlined = linkage_name(&parents[i]);

			if (inlined)
				set_name(frame, inlined);
			set_line(frame, *file, *line);
			json_object_set_new(frame, "inlined", json_true());
			*file = call_file(place, &parents[i], line);
		} else if (tag == DW_TAG_subprogram) {
			name = linkage_name(&parents[i]);
		}
	}
	free(parents);
	free(scopes);
	return name;
}

/* The symbol that this is in, not merely behind. Those of assembler may have no
 * size, and are believed at their very address. */
static const char *find_symbol(const struct place *place, uint64_t *offset)
{
	static char plain[1024];
	GElf_Sym symbol;
	GElf_Off at = 0;
	const char *name = dwfl_module_addrinfo(place->module, place->at, &at,
		&symbol, NULL, NULL, NULL);

	if (!name || !*name || (at && at >= symbol.st_size))
		return NULL;
	*offset = at + (place->ip - place->at);
	/* Without its version. */
	snprintf(plain, sizeof(plain), "%s", name);
	plain[strcspn(plain, "@")] = '\0';
	return plain;
}

static void set_note(const struct place *place, json_t *frame)
{
	const struct ff_map *map = ff_space_map(place->space, place->ip);
	GElf_Addr bias;
	char note[160] = "";

	if (place->image && !place->module)
		snprintf(note, sizeof(note), "%s", place->image->problem);
	else if (place->module &&
		!dwfl_module_getsymtab_first_global(place->module))
		snprintf(note, sizeof(note), "stripped");
	else if (place->module)
		snprintf(note, sizeof(note), "%s",
			dwfl_module_getdwarf(place->module, &bias) ?
				"no symbol here" : "stripped");
	else if (!map)
		snprintf(note, sizeof(note), "nothing is mapped here");
	else if (!map->is_code)
		snprintf(note, sizeof(note), "not executable");
	else
		snprintf(note, sizeof(note), "no file: made at run time (JIT)");
	ff_event_set_text(frame, "note", note);
}

/* What this table has for the place. */
static enum ff_frame_end look_up(Dwarf_CFI *cfi, uint64_t at)
{
	enum ff_frame_end end = FF_FRAME_GOES_ON;
	Dwarf_Op room[3], *ops;
	Dwarf_Frame *frame;
	bool is_signal;
	size_t count;
	int address;

	if (!cfi || dwarf_cfi_addrframe(cfi, at, &frame) != 0)
		return FF_FRAME_UNKNOWN;
	address = dwarf_frame_info(frame, NULL, NULL, &is_signal);
	/* No operations, in the place for some: undefined (libdw.h). */
	if (address < 0 || dwarf_frame_register(frame, address, room, &ops,
			&count) < 0)
		end = FF_FRAME_UNKNOWN;
	else if (!count && ops == room)
		end = FF_FRAME_IS_LAST;
	free(frame);
	return end;
}

static enum ff_frame_end find_end(const struct place *place)
{
	Dwarf_Addr bias;
	Dwarf_CFI *cfi = dwfl_module_eh_cfi(place->module, &bias);
	enum ff_frame_end end = look_up(cfi, place->at - bias);

	if (end != FF_FRAME_UNKNOWN)
		return end;
	cfi = dwfl_module_dwarf_cfi(place->module, &bias);
	return look_up(cfi, place->at - bias);
}

static void name_function(struct place *place, json_t *frames)
{
	const char *file = NULL, *function = NULL, *symbol = NULL;
	uint64_t offset = 0;
	json_t *frame;
	int line = 0;

	if (place->module) {
		Dwarf_Line *source;

		find_unit(place);
		source = place->unit ? dwarf_getsrc_die(place->unit,
			place->at - place->unit_bias) : NULL;
		if (source) {
			file = dwarf_linesrc(source, NULL, NULL);
			dwarf_lineno(source, &line);
		}
		if (place->unit)
			function = name_inlined(place, frames, &file, &line);
		symbol = find_symbol(place, &offset);
	}
	frame = new_frame(place, frames);
	if (symbol || function)
		set_name(frame, symbol ? symbol : function);
	if (symbol)
		ff_event_set_number(frame, "offset", offset);
	else if (place->image && !function)
		ff_event_set_number(frame, "offset",
			place->ip - place->image->start);
	set_line(frame, file, line);
	if (!symbol && !function)
		set_note(place, frame);
}

enum ff_frame_end ff_frame_name(const struct ff_space *space, uint64_t ip,
	bool is_call, json_t *frames)
{
	struct place place = {
		.space = space,
		.ip = ip,
		.at = is_call ? ip - 1 : ip,
	};

	place.module = ff_space_module(space, place.at, &place.image);
	name_function(&place, frames);
	return place.module ? find_end(&place) : FF_FRAME_UNKNOWN;
}
