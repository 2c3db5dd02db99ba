// SPDX-License-Identifier: GPL-2.0-or-later
/* The journal: what was noted is read again, also after a death; what it says is checked. */
#include "image/journal.h"
#include "tap.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct effect link_effect = { .kind = EFFECT_LINK, .path = "/tmp/a b%\n\xff/link_remap.7",
	.dev = 65024, .ino = UINT64_MAX, .why = "keeps it" };

static int read_back(int dir, struct arena *a, struct journal_view *v)
{
	struct err err = ERR_INIT;

	return journal_read(dir, a, v, &err);
}

static bool there(int dir)
{
	return faccessat(dir, JOURNAL_NAME, F_OK, 0) == 0;
}

static void write_file(int dir, const char *text)
{
	int fd = openat(dir, JOURNAL_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

static void append_file(int dir, const char *text)
{
	int fd = openat(dir, JOURNAL_NAME, O_WRONLY | O_APPEND);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

static bool same(const struct effect *a, const struct effect *b)
{
	return a->kind == b->kind && a->path && b->path && !strcmp(a->path, b->path) &&
		a->dev == b->dev && a->ino == b->ino && a->pid == b->pid && a->since == b->since &&
		a->why && b->why && !strcmp(a->why, b->why);
}

/* A run whose only effect is gone again takes file and index entry away. */
static void tidy(int dir)
{
	struct err err = ERR_INIT;
	struct journal *j;
	uint32_t id;

	if (journal_open(dir, "dump", &j, &err) < 0 || journal_add(j, &link_effect, &id, &err) < 0)
		abort();
	journal_gone(j, id);
	journal_close(j);
}

static void test_nothing(struct tap *t, int dir)
{
	struct err err = ERR_INIT;
	struct journal *j;

	tap_ok(t, journal_open(dir, "dump", &j, &err) == 0, "a journal without effects opens", &err);
	tap_ok(t, strlen(journal_run_id(j)) == 36, "the run has an id", NULL);
	journal_close(j);
	tap_ok(t, !there(dir), "and leaves no file", NULL);
}

static void test_round(struct tap *t, int dir, struct arena *a)
{
	struct effect table = { .kind = EFFECT_NFT_TABLE, .path = "inet CRIU-x", .ino = 5 };
	struct err err = ERR_INIT;
	struct journal_view v;
	struct journal *j;
	uint32_t one = 0, two = 0;

	if (journal_open(dir, "dump", &j, &err) < 0 ||
		journal_add(j, &link_effect, &one, &err) < 0 ||
		journal_add(j, &table, &two, &err) < 0)
		abort();
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n == 2, "effects are read back", &err);
	tap_ok(t, same(&v.effects.at[0].effect, &link_effect), "every byte of them", NULL);
	tap_ok(t, v.effects.at[1].effect.kind == EFFECT_NFT_TABLE && v.trusted, "kind and trust", NULL);
	tap_ok(t, !strcmp(v.effects.at[0].run->id, journal_run_id(j)) &&
		v.effects.at[0].run->pid == getpid() && v.effects.at[0].run->since &&
		v.effects.at[0].run->since == journal_process_start(getpid()), "who made them", NULL);
	vec_done(&v.effects);
	journal_gone(j, one);
	journal_gone(j, one);
	journal_close(j);
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n == 2 && v.effects.at[0].gone &&
		!v.effects.at[1].gone, "what is gone is known", NULL);
	vec_done(&v.effects);
}

/* The effect left by the round before is taken over by a later run. */
static void test_later_run(struct tap *t, int dir, struct arena *a)
{
	struct err err = ERR_INIT;
	struct journal_view v;
	struct journal *j;
	uint32_t id = 0;

	append_file(dir, "make 3 kind=link path=/torn");
	tap_ok(t, journal_open(dir, "restore", &j, &err) == 0, "a torn line is no obstacle", &err);
	if (journal_add(j, &link_effect, &id, &err) < 0)
		abort();
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n == 3 && v.effects.at[2].id == id &&
		v.last_run == 2 && v.effects.at[2].run->number == 2, "a later run adds", NULL);
	vec_done(&v.effects);
	journal_gone(j, id);
	journal_gone(j, 2);
	journal_gone(j, 77);
	journal_close(j);
	tap_ok(t, !there(dir), "the file goes with the last effect of all runs", NULL);
}

static void test_death_at_every_byte(struct tap *t, int dir, struct arena *a)
{
	static const char text[] = "torpor-journal 1\nrun 1 command=dump id=u boot=b pid=3 since=4 .\n"
		"make 1 kind=link path=/a dev=1 ino=2 .\nmake 2 kind=mount path=/b .\ngone 1 .\n";
	struct err err = ERR_INIT;
	struct journal_view v;
	bool good = true;

	for (size_t n = 0; n < sizeof(text); n++) {
		struct journal *j;
		char cut[sizeof(text)];

		memcpy(cut, text, n);
		cut[n] = '\0';
		write_file(dir, cut);
		good &= read_back(dir, a, &v) == 0 && v.effects.n <= 2;
		vec_done(&v.effects);
		good &= journal_open(dir, "dump", &j, &err) == 0;
		if (!good || journal_add(j, &link_effect, NULL, &err) < 0)
			break;
		journal_close(j);
		good &= read_back(dir, a, &v) == 0 && v.effects.n >= 1 &&
			same(&v.effects.at[v.effects.n - 1].effect, &link_effect);
		vec_done(&v.effects);
	}
	tap_ok(t, good, "a journal cut at any byte can be read and added to", &err);
	unlinkat(dir, JOURNAL_NAME, 0);
	tidy(dir);
}

static void test_hostile(struct tap *t, int dir, struct arena *a)
{
	static const char *const bad[] = {
		"something else\n",
		"torpor-journal 1\nmake 1 kind=link .\nmake 2 kind=link .\n",
		"torpor-journal 1\nrun 1 .\nmake 1 kind=nonsense .\nmake 2 kind=link .\n",
		"torpor-journal 1\nrun 1 .\nmake 1 kind=link .\nmake 1 kind=link .\ngone 1 .\n",
		"torpor-journal 1\nrun 1 .\nmake 1 kind=link path=%00 .\ngone 1 .\n",
		"torpor-journal 1\nrun 1 .\nmake 99999999999 kind=link .\ngone 1 .\n",
		"torpor-journal 1\nrun 1 pid=-1 .\nmake 1 kind=link .\n",
		"torpor-journal 1\nrun 1 .\ngone 5 .\nmake 1 kind=link .\n",
	};
	struct journal_view v;
	bool good = true;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_file(dir, bad[i]);
		good &= read_back(dir, a, &v) < 0;
		vec_done(&v.effects);
	}
	tap_ok(t, good, "what cannot be understood is refused", NULL);
	write_file(dir, "torpor-journal 1\nrun 1 .\nmake 1 kind=link path=/x .\n");
	fchmodat(dir, JOURNAL_NAME, 0666, 0);
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n == 1 && !v.trusted,
		"what others may write is not trusted", NULL);
	vec_done(&v.effects);
	unlinkat(dir, JOURNAL_NAME, 0);
	tidy(dir);
}

/* Killed before its first effect: what there is of the journal goes. */
static void test_tidy(struct tap *t, int dir, struct arena *a)
{
	static const char *const idle[] = { "", "torpor-jour", "torpor-journal 1\n",
		"torpor-journal 1\nrun 1 command=dump id=u boot=b pid=3 since=4 .\nmake 1 kind=li",
		"torpor-journal 1\nrun 1 .\nmake 1 kind=link path=/a .\ngone 1 .\n" };
	struct journal_view v;
	bool good = true;

	for (size_t i = 0; i < sizeof(idle) / sizeof(*idle); i++) {
		write_file(dir, idle[i]);
		journal_tidy(dir);
		good &= !there(dir);
	}
	tap_ok(t, good, "a journal in which nothing stands goes", NULL);
	write_file(dir, "torpor-journal 1\nrun 1 .\nmake 1 kind=link path=/a .\n");
	journal_tidy(dir);
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n == 1, "others stay", NULL);
	vec_done(&v.effects);
	write_file(dir, "something else\n");
	journal_tidy(dir);
	tap_ok(t, there(dir), "as does what is none", NULL);
	unlinkat(dir, JOURNAL_NAME, 0);
	journal_tidy(dir);
}

/* One that is at work has nothing standing at the moment: nobody takes its journal away. */
static void test_two(struct tap *t, int dir, struct arena *a)
{
	struct err err = ERR_INIT;
	struct journal_view v;
	struct journal *one, *other;
	uint32_t id;

	if (journal_open(dir, "dump", &one, &err) < 0 ||
		journal_add(one, &link_effect, &id, &err) < 0 ||
		journal_open(dir, "leftovers", &other, &err) < 0)
		abort();
	journal_gone(other, id);
	journal_close(other);
	journal_gone(one, id);
	journal_tidy(dir);
	tap_ok(t, there(dir), "who closes a journal leaves it to another one at work", NULL);
	if (journal_add(one, &link_effect, &id, &err) < 0)
		abort();
	tap_ok(t, read_back(dir, a, &v) == 0 && v.effects.n && !v.effects.at[v.effects.n - 1].gone,
		"whose effects are on record", NULL);
	vec_done(&v.effects);
	journal_gone(one, id);
	journal_close(one);
	tap_ok(t, !there(dir), "and who removes it at its end", NULL);
}

int main(void)
{
	char path[] = "/tmp/torpor-test-journal-XXXXXX";
	struct arena *a = arena_new();
	struct tap t = { 0 };
	int dir;

	if (!mkdtemp(path))
		return 1;
	dir = open(path, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return 1;
	test_nothing(&t, dir);
	test_round(&t, dir, a);
	test_later_run(&t, dir, a);
	test_death_at_every_byte(&t, dir, a);
	test_hostile(&t, dir, a);
	test_tidy(&t, dir, a);
	test_two(&t, dir, a);
	arena_free(a);
	close(dir);
	rmdir(path);
	return tap_done(&t);
}
