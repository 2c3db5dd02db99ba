// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory shared by copy-on-write: children whose husks are forks of their parent's.
 */
#include "tests/unit/mm_subject.h"

/* ------------------------------------------------------------------------------ inheritance */

static void look_at_child(struct husk *h, struct husk *child, const struct mm_build *b)
{
	ok(pages_are(child, AT_CODE, 40, 1) && pages_are(child, AT_CODE + 40 * PAGE, 10, 2) &&
			page_is_zero(child, AT_CODE + 50 * PAGE) &&
			pages_are(child, AT_CODE + 60 * PAGE, 40, 1) &&
			pages_are(child, AT_CODE + 100 * PAGE, 5, 3),
		"child's pages", NULL);
	ok(pages_are(h, AT_CODE, 100, 1), "the parent keeps its own", NULL);
	ok(area_is(child, AT_RO, 2, "r--p", "") && page_is(child, AT_RO, 1) &&
			page_is(child, AT_RO + PAGE, 2),
		"a part of a read-only area", NULL);
	ok(page_is_file(child, AT_FILE, 0) && page_is(child, AT_FILE + PAGE, 1) &&
			page_is_file(child, AT_FILE + 2 * PAGE, 2) &&
			area_is(child, AT_FILE, 8, "rw-p", ""),
		"a private file with other protection", NULL);
	ok(!area_is(child, AT_LOCK, 4, "rw-p", "") && area_is(h, AT_LOCK, 4, "rw-p", ""),
		"an area only the parent has", NULL);
	ok(area_is(child, AT_STACK - 4 * PAGE, 36, "rw-p", " gd") &&
			page_is_zero(child, AT_STACK - 4 * PAGE) &&
			pages_are(child, AT_STACK - 3 * PAGE, 3, 3) &&
			pages_are(child, AT_STACK, 32, 1),
		"a stack that grew after the fork", NULL);
	ok(smaps_kb(child, AT_CODE, 100, "Shared_Dirty:") == 80 * 4 ||
			smaps_kb(child, AT_CODE, 105, "Shared_Dirty:") == 80 * 4,
		"equal pages stay shared", NULL);
	ok(b->pages_skipped_cow == 80 + 1 + 1 + 32 && b->pages_restored == 10 + 5 + 1 + 3 &&
			b->pages_compared == 90 + 2 + 1 + 32,
		"pages are counted", NULL);
	if (b->pages_skipped_cow != 114)
		printf("# skipped %lu restored %lu compared %lu\n", b->pages_skipped_cow,
			b->pages_restored, b->pages_compared);
}

static struct task *make_parent(struct subject *s, struct vdso_self *self)
{
	struct task *t = subject_task(s, NULL, 100);

	anon(s, t, AT_CODE, 100, RW);
	anon(s, t, AT_RO, 4, PROT_READ);
	mapped(s, t, AT_FILE, 8, PROT_READ, false, 0);
	mapped(s, t, AT_SHARED, 8, RW, true, 0);
	anon(s, t, AT_LOCK, 4, RW);
	add_own_vdso(s, t, AT_VDSO, self);
	anon(s, t, AT_STACK, 32, RW)->flags |= MAP_GROWSDOWN;
	return t;
}

static struct task *make_child(struct subject *s, struct task *parent)
{
	struct task *t = subject_task(s, parent, 101);
	struct vdso_self self;

	anon(s, t, AT_CODE, 105, RW);
	anon(s, t, AT_RO, 2, PROT_READ);
	mapped(s, t, AT_FILE, 8, RW, false, 0);
	mapped(s, t, AT_SHARED, 8, PROT_READ, true, 0);
	add_own_vdso(s, t, AT_VDSO, &self);
	anon(s, t, AT_STACK - 4 * PAGE, 36, RW)->flags |= MAP_GROWSDOWN;
	return t;
}

static void save_family(struct subject *s, const struct vdso_self *self)
{
	const struct saved_run vdso = { AT_VDSO + self->code_offset, self->code_len / PAGE, 0,
		self->code, 0 };
	const struct saved_run parent[] = {
		{ AT_CODE, 100, 1, NULL, 0 }, { AT_RO, 4, 1, NULL, 0 },
		{ AT_FILE + PAGE, 2, 1, NULL, 0 }, { AT_LOCK, 4, 1, NULL, 0 }, vdso,
		{ AT_STACK, 32, 1, NULL, 0 }, { 0 },
	};
	const struct saved_run child[] = {
		{ AT_CODE, 40, 1, NULL, 0 }, { AT_CODE + 40 * PAGE, 10, 2, NULL, 0 },
		{ AT_CODE + 60 * PAGE, 40, 1, NULL, 0 }, { AT_CODE + 100 * PAGE, 5, 3, NULL, 0 },
		{ AT_RO, 1, 1, NULL, 0 }, { AT_RO + PAGE, 1, 2, NULL, 0 },
		{ AT_FILE + PAGE, 1, 1, NULL, 0 }, vdso,
		{ AT_STACK - 3 * PAGE, 3, 3, NULL, 0 }, { AT_STACK, 32, 1, NULL, 0 }, { 0 },
	};

	save_pages(s, IMG_PAGEMAP, 100, parent);
	save_pages(s, IMG_PAGEMAP, 101, child);
	subject_seal(s);
}

static void test_inheritance(void)
{
	struct err err = ERR_INIT;
	struct mm_build b, c;
	struct vdso_self self;
	struct subject s;
	struct task *t, *kid;
	struct husk h, child;
	int r;

	subject_init(&s);
	t = make_parent(&s, &self);
	kid = make_child(&s, t);
	save_family(&s, &self);
	ok(mm_inherits(kid, t), "mm_inherits", NULL);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0, "mm_build of a parent", &err);
	r = r < 0 ? r : husk_fork(&h, &(struct husk_birth){ 0 }, &child, &err);
	if (r < 0)
		die("husk_fork", &err);
	c = builder(&s, kid, t, &child);
	r = mm_build(&c, &err);
	ok(r == 0, "mm_build of its child", &err);
	if (r == 0)
		look_at_child(&h, &child, &c);
	kid->mm->exe_file_id = DATA_ID;
	ok(!mm_inherits(kid, t), "another program inherits nothing", NULL);
	end_husk(&h);
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, __WALL);
	husk_done(&child);
	subject_done(&s);
}

/* ----------------------------------------------------------------------------------- siblings */

enum { ROOT, ANNE, BOB, CARL, DORA, N_FAMILY }; /* Dora is Anne's child, the others are Root's */

static void save_siblings(struct subject *s)
{
	const struct saved_run root[] = { { AT_CODE, 60, 1, NULL, 0 },
		{ AT_CODE + 60 * PAGE, 10, 2, NULL, 0 }, { AT_CODE + 75 * PAGE, 25, 1, NULL, 0 },
		{ 0 } };
	const struct saved_run anne[] = { { AT_CODE, 75, 1, NULL, 0 },
		{ AT_CODE + 75 * PAGE, 5, 3, NULL, 0 }, { AT_CODE + 80 * PAGE, 20, 1, NULL, 0 },
		{ 0 } };
	const struct saved_run bob[] = { { AT_CODE, 80, 1, NULL, 0 }, { 0 } };
	const struct saved_run all[] = { { AT_CODE, 100, 1, NULL, 0 }, { 0 } };

	save_pages(s, IMG_PAGEMAP, 100 + ROOT, root);
	save_pages(s, IMG_PAGEMAP, 100 + ANNE, anne);
	save_pages(s, IMG_PAGEMAP, 100 + BOB, bob);
	save_pages(s, IMG_PAGEMAP, 100 + CARL, all);
	save_pages(s, IMG_PAGEMAP, 100 + DORA, all);
	subject_seal(s);
}

static void build_family(struct subject *s, struct task **t, struct husk *h)
{
	const int parent[N_FAMILY] = { -1, ROOT, ROOT, ROOT, ANNE };
	const int order[N_FAMILY] = { ROOT, ANNE, DORA, BOB, CARL };
	struct mm_legacies *l = mm_legacies_new();
	struct err err = ERR_INIT;
	struct mm_build b;
	int r = 0;

	for (int i = 0; i < N_FAMILY && r == 0; i++) {
		int n = order[i], by = parent[n];

		r = by < 0 ? husk_start(&h[n], &s->layout, 0, false, &err) :
			     husk_fork(&h[by], &(struct husk_birth){ 0 }, &h[n], &err);
		if (r < 0)
			die("a husk", &err);
		b = builder(s, t[n], by < 0 ? NULL : t[by], &h[n]);
		b.legacies = l;
		r = mm_build(&b, &err);
	}
	ok(r == 0, "mm_build of a family", &err);
	for (int i = 0; i < N_FAMILY && r == 0; i++) {
		b = builder(s, t[i], NULL, &h[i]);
		b.legacies = l;
		r = mm_finish(&b, &err);
	}
	ok(r == 0, "mm_finish of a family", &err);
	mm_legacies_free(l);
}

static void test_siblings(void)
{
	struct task *t[N_FAMILY];
	struct husk h[N_FAMILY];
	struct subject s;
	long pss = 0;

	subject_init(&s);
	for (int i = 0; i < N_FAMILY; i++) {
		t[i] = subject_task(&s, i == ROOT ? NULL : t[i == DORA ? ANNE : ROOT], 100 + i);
		anon(&s, t[i], AT_CODE, 100, RW);
	}
	save_siblings(&s);
	build_family(&s, t, h);
	ok(pages_are(&h[ROOT], AT_CODE, 60, 1) && pages_are(&h[ROOT], AT_CODE + 60 * PAGE, 10, 2) &&
			page_is_zero(&h[ROOT], AT_CODE + 70 * PAGE) &&
			page_is_zero(&h[ROOT], AT_CODE + 74 * PAGE) &&
			pages_are(&h[ROOT], AT_CODE + 75 * PAGE, 25, 1),
		"the root has its own pages", NULL);
	ok(pages_are(&h[ANNE], AT_CODE, 75, 1) && pages_are(&h[ANNE], AT_CODE + 75 * PAGE, 5, 3) &&
			pages_are(&h[ANNE], AT_CODE + 80 * PAGE, 20, 1) &&
			pages_are(&h[BOB], AT_CODE, 80, 1) &&
			page_is_zero(&h[BOB], AT_CODE + 80 * PAGE) &&
			pages_are(&h[CARL], AT_CODE, 100, 1) &&
			pages_are(&h[DORA], AT_CODE, 100, 1),
		"so have the others", NULL);
	for (int i = 0; i < N_FAMILY; i++)
		pss += smaps_kb(&h[i], AT_CODE, 100, "Pss:");
	/* 100 common pages, 10 of the root, 5 of Anne; each Pss is rounded */
	ok(pss >= 115 * 4 - N_FAMILY && pss <= 115 * 4 + N_FAMILY, "what they had in common is there once",
		NULL);
	printf("# %ld kB\n", pss);
	for (int i = N_FAMILY; i-- > 0;)
		end_husk(&h[i]);
	subject_done(&s);
}

int main(void)
{
	test_inheritance();
	test_siblings();
	return tap_done(&tap);
}
