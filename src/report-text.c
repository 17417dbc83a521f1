/* SPDX-License-Identifier: MIT */
#include "report-text.h"

#include <stdbool.h>
#include <string.h>

/* The character at *text, which moves behind it. What is no UTF-8 is taken byte
 * by byte, as U+FFFD. */
static uint32_t next_character(const char **text)
{
	const unsigned char *s = (const unsigned char *)*text;
	unsigned int more = *s < 0x80 ? 0 : *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;
	uint32_t c = *s & (more ? 0x3fu >> more : 0x7fu);

	(*text)++;
	if (more && (*s < 0xc2 || *s > 0xf4))
		return 0xfffd;
	for (unsigned int i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0xfffd;
		c = c << 6 | (s[i] & 0x3fu);
	}
	*text += more;
	return c;
}

/* Would a terminal do something else than show it? */
static bool is_obeyed(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
		(c >= 0x200b && c <= 0x200f) ||
		(c >= 0x2028 && c <= 0x202e) ||
		(c >= 0x2060 && c <= 0x2069) || c == 0xfeff || c == 0xfffd;
}

static unsigned int count_characters(const char *text, unsigned int most)
{
	unsigned int count = 0;

	while (*text && count < most) {
		next_character(&text);
		count++;
	}
	return count;
}

void ff_text_put(FILE *out, const char *text, unsigned int columns)
{
	bool is_cut = text && columns &&
		count_characters(text, columns + 1) > columns;
	unsigned int left = is_cut ? columns - (columns > 3 ? 3 : columns) :
		~0u;

	for (; text && *text && left; left--) {
		const char *begin = text;

		if (is_obeyed(next_character(&text)))
			putc('?', out);
		else
			fwrite(begin, 1, (size_t)(text - begin), out);
	}
	if (is_cut)
		fputs(columns >= 3 ? "..." : "", out);
}

void ff_text_clean(char *buffer, size_t size, const char *text)
{
	size_t used = 0;

	while (text && *text) {
		const char *begin = text;
		bool is_bad = is_obeyed(next_character(&text));
		size_t length = is_bad ? 1 : (size_t)(text - begin);

		if (used + length + 1 > size)
			break;
		memcpy(buffer + used, is_bad ? "?" : begin, length);
		used += length;
	}
	if (size)
		buffer[used] = '\0';
}

const char *ff_text_duration(char buffer[32], uint64_t us)
{
	uint64_t s = us / 1000000;

	if (us < 1000)
		snprintf(buffer, 32, "%u us", (unsigned int)us);
	else if (us < 999950)
		snprintf(buffer, 32, us < 9995 ? "%.2f ms" : "%.1f ms",
			(double)us / 1e3);
	else if (us < 59950000)
		snprintf(buffer, 32, us < 9995000 ? "%.2f s" : "%.1f s",
			(double)us / 1e6);
	else if (s < 3600)
		snprintf(buffer, 32, "%u min %u s", (unsigned int)(s / 60),
			(unsigned int)(s % 60));
	else
		snprintf(buffer, 32, "%llu h %u min",
			(unsigned long long)(s / 3600),
			(unsigned int)(s / 60 % 60));
	return buffer;
}
