/* SPDX-License-Identifier: MIT */
/* What fenceferry report is made of: text, medians, tables, call sites. */
#include "live-print.h"
#include "report-spread.h"
#include "report-stack.h"
#include "report-table.h"
#include "report-text.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(report_parts, .timeout = 60);

static const char *put(const char *text, unsigned int columns)
{
	static char buffer[256];
	FILE *out = fmemopen(buffer, sizeof(buffer), "w");

	memset(buffer, 0, sizeof(buffer));
	ff_text_put(out, text, columns);
	fclose(out);
	return buffer;
}

Test(report_parts, text_is_shown_and_not_obeyed)
{
	char small[8];

	cr_expect_str_eq(put("a\x1b[2J\n\x7f" "b", 0), "a?[2J??b");
	cr_expect_str_eq(put("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 0),
		"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
	/* C1, and what turns the direction of writing. */
	cr_expect_str_eq(put("\xc2\x9b" "2J\xe2\x80\xae" "x", 0), "?2J?x");
	/* No UTF-8: alone, cut off, longer than it need be, beyond Unicode. */
	cr_expect_str_eq(put("\x9b \xe2\x82 \xc0\x9b \xf7\xbf\xbf\xbf", 0),
		"? ?? ?? ????");
	cr_expect_str_eq(put("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", 4),
		"\xc3\xa4...");
	cr_expect_str_eq(put("abcd", 4), "abcd");
	cr_expect_str_eq(put(NULL, 4), "");
	ff_text_clean(small, sizeof(small), "abcde\xe2\x82\xac");
	cr_expect_str_eq(small, "abcde");
}

Test(report_parts, who_waits_is_shown_and_not_obeyed)
{
	struct ff_wait wait = { .process = "\x1b[2J", .fence = "memfd:1",
		.name = "/memfd:a\xc2\x9b\n", .actor.comm = "\x7f" };
	const struct ff_live live = { .waits = { &wait, 1, 1 } };
	char buffer[512] = "";
	FILE *out = fmemopen(buffer, sizeof(buffer), "w");

	cr_assert_eq(ff_live_print(&live, out), 0);
	fclose(out);
	cr_expect(strstr(buffer, "memfd:1 (a?" "?)  ?[2J[0]  ?[0] "), "%s",
		buffer);
}

Test(report_parts, durations_are_for_people)
{
	static const struct { uint64_t us; const char *text; } cases[] = {
		{ 0, "0 us" }, { 999, "999 us" }, { 1000, "1.00 ms" },
		{ 9994, "9.99 ms" }, { 12345, "12.3 ms" },
		{ 999949, "999.9 ms" }, { 999950, "1.00 s" },
		{ 59949999, "59.9 s" }, { 59950000, "0 min 59 s" },
		{ 182000000, "3 min 2 s" }, { 7380000000, "2 h 3 min" },
		{ UINT64_MAX, "5124095576 h 1 min" },
	};
	char buffer[32];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_str_eq(ff_text_duration(buffer, cases[i].us),
			cases[i].text);
}

Test(report_parts, median_is_exact_when_small_and_near_when_large)
{
	static const uint64_t values[] = { 127, 128, 1000, 123456789,
		1ull << 40, UINT64_MAX / 3, UINT64_MAX };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct ff_spread spread = { 0 };
		uint64_t median, off;

		ff_spread_add(&spread, 0);
		ff_spread_add(&spread, values[i]);
		ff_spread_add(&spread, UINT64_MAX);
		median = ff_spread_median(&spread);
		off = median > values[i] ? median - values[i] :
			values[i] - median;
		cr_expect_leq(off, values[i] / 128, "%llu is not %llu",
			(unsigned long long)median,
			(unsigned long long)values[i]);
		cr_expect_eq(spread.max, UINT64_MAX);
		ff_spread_free(&spread);
	}
}

Test(report_parts, table_keeps_to_its_limit)
{
	struct item { char *key; unsigned int count; } *item;
	struct ff_table table = { .item_size = sizeof(*item), .limit = 1000 };
	char key[32];

	cr_expect_null(ff_table_find(&table, "5"));
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 1500; i++) {
			snprintf(key, sizeof(key), "%d", i);
			item = ff_table_get(&table, key);
			cr_assert_not_null(item);
			item->count++;
		}
	cr_expect_eq(table.count, 1001);
	item = ff_table_find(&table, "999");
	cr_assert_not_null(item);
	cr_expect_eq(item->count, 2);
	cr_expect_eq(ff_table_index(&table, item), 999);
	cr_expect_null(ff_table_find(&table, "1000"));
	item = ff_table_find(&table, FF_TABLE_REST);
	cr_assert_not_null(item);
	cr_expect_eq(item->count, 1000);
	ff_table_free(&table);
}

Test(report_parts, table_forgets_what_was_renewed)
{
	struct item { char *key; unsigned int count; } *item;
	struct ff_table table = { .item_size = sizeof(*item), .limit = 1000 };
	char key[32];

	for (int round = 1; round <= 3; round++)
		for (int i = 0; i < 300; i++) {
			snprintf(key, sizeof(key), "%d", i);
			item = round == 1 ? ff_table_get(&table, key) :
				ff_table_renew(&table, key);
			cr_assert_not_null(item);
			item->count += (unsigned int)round;
		}
	/* The slots have been widened in between. */
	item = ff_table_find(&table, "299");
	cr_expect_eq(item->count, 3);
	item = ff_table_get(&table, "0");
	cr_expect_eq(item->count, 3);
	item = ff_table_at(&table, 0);
	cr_expect_str_eq(item->key, "0");
	cr_expect_eq(item->count, 1);
	cr_expect_eq(table.count, 900);
	ff_table_free(&table);
}

static void expect_site(const char *frames, const char *site)
{
	json_t *stack = json_loads(frames, JSON_DECODE_ANY, NULL);
	char text[256];

	cr_assert_not_null(stack);
	ff_stack_site_name(stack, text, sizeof(text));
	cr_expect_str_eq(text, site);
	json_decref(stack);
}

#define FRAME(symbol, module) "{\"symbol\":\"" symbol "\",\"offset\":7," \
	"\"module\":\"/usr/lib/" module "\"}"

Test(report_parts, call_site_is_the_programs)
{
	expect_site("[" FRAME("sendmsg", "libc.so.6") ","
		FRAME("xcb_writev", "libxcb.so.1") ","
		FRAME("loader_dri3", "libGLX_mesa.so.0") ","
		FRAME("swapBuffers", "libQt5XcbQpa.so.5") ","
		FRAME("main", "app") "]", "swapBuffers (libQt5XcbQpa.so.5)");
	/* Nobody but the driver, as when it is stripped up to there. */
	expect_site("[" FRAME("sendmsg", "libc.so.6") ","
		FRAME("loader_dri3", "iris_dri.so") "]",
		"loader_dri3 (iris_dri.so)");
	expect_site("[" FRAME("a", "libxcb.so.1") "," FRAME("b", "libc.so.6")
		"]", "a (libxcb.so.1)");
	/* What is no file comes from nobody's library. */
	expect_site("[{\"ip\":\"0x5\"},{\"symbol\":\"f\",\"module\":\"/a/p\","
		"\"file\":\"/src/p.c\",\"line\":12}]", "f (p p.c:12)");
	expect_site("[]", "");
	expect_site("[1,null,[]]", "");
	expect_site("{}", "");
}
