// SPDX-License-Identifier: GPL-2.0-or-later
/* `torpor show`: the tree first, then each task's memory and descriptors. */
#include "snapshot/show.h"
#include "base/text.h"
#include "kinds/kind.h"
#include "pages/pages.h"

/* vma_entry.status, vma_entry.flags */
enum {
	STATUS_VDSO = 0x8, STATUS_HEAP = 0x20, STATUS_FILE = 0x40 | 0x80, STATUS_VVAR = 0x1000,
	STATUS_GUARD = 0x10000, FLAG_GROWSDOWN = 0x100,
};

/* Memory of one task, in bytes. */
struct sizes {
	uint64_t mapped, saved;
	size_t areas;
};

static int measure(const struct task *t, struct image_set *set, struct sizes *ret, struct err *err)
{
	struct arena *a = arena_new();
	struct pagemap pm;
	int r = pagemap_load(set, IMG_PAGEMAP, (unsigned long)t->pid, a, &pm, err);

	*ret = (struct sizes){ 0 };
	for (size_t i = 0; r == 0 && i < pm.n; i++)
		if (pm.runs[i].flags & RUN_PRESENT)
			ret->saved += pm.runs[i].pages * PAGE;
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (v->status & STATUS_GUARD)
			continue;
		ret->mapped += v->end - v->start;
		ret->areas++;
	}
	arena_free(a);
	return r;
}

static const char *human(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "BKMGTP";
	double v = (double)bytes;
	int u = 0;

	while (v >= 1024 && units[u + 1]) {
		v /= 1024;
		u++;
	}
	if (u)
		snprintf(buf, size, "%.1f %ciB", v, units[u]);
	else
		snprintf(buf, size, "%llu B", (unsigned long long)bytes);
	return buf;
}

static const char *state_name(const struct task *t)
{
	if (t->state == TASK_DEAD)
		return "zombie";
	if (t->leader_dead)
		return "leader dead";
	return t->state == TASK_STOPPED ? "stopped" : "alive";
}

/* ---- for people ---- */

/* What stands in front of a name in the tree: a bar for every ancestor with later siblings. */
static void branch_text(const struct task *t, char *buf, size_t size)
{
	char up[256] = "";
	const struct task *p;

	*buf = 0;
	if (!t->parent)
		return;
	for (p = t->parent; p->parent; p = p->parent) {
		char more[512];

		snprintf(more, sizeof(more), "%s%s", p->next_sibling ? "│  " : "   ", up);
		snprintf(up, sizeof(up), "%.250s", more);
	}
	snprintf(buf, size, "%s%s", up, t->next_sibling ? "├─ " : "└─ ");
}

static int print_tree(const struct world *w, struct image_set *set, FILE *out, struct err *err)
{
	fprintf(out, "%7s %7s %7s %7s  %-11s %10s %10s  %s\n", "PID", "GROUP", "SESSION",
		"THREADS", "STATE", "MAPPED", "SAVED", "NAME");
	world_each_task(t, w) {
		char mapped[32] = "-", saved[32] = "-", branch[512];
		struct sizes s;

		if (task_is_alive(t)) {
			int r = measure(t, set, &s, err);

			if (r < 0)
				return r;
			human(s.mapped, mapped, sizeof(mapped));
			human(s.saved, saved, sizeof(saved));
		}
		branch_text(t, branch, sizeof(branch));
		fprintf(out, "%7d %7d %7d %7zu  %-11s %10s %10s  %s", t->pid, t->pgid, t->sid,
			t->n_threads, state_name(t), mapped, saved, branch);
		plain_string(out, task_comm(t));
		fputc('\n', out);
	}
	return 0;
}

static void describe_file(const struct world *w, uint32_t id, char *buf, size_t size)
{
	const FileEntry *fe = world_file(w, id);
	const struct file_kind *k = fe ? file_kind_of(fe->type) : NULL;

	if (k && k->describe)
		k->describe(fe, buf, size);
	else
		snprintf(buf, size, "%s %u", k ? k->name : "file", id);
}

static void print_file(
	const struct world *w, const char *name, uint32_t id, const char *remark, FILE *out)
{
	char text[512];

	describe_file(w, id, text, sizeof(text));
	fprintf(out, "  %6s  ", name);
	plain_string(out, text);
	fprintf(out, "%s\n", remark);
}

static void print_files(const struct world *w, const struct task *t, FILE *out)
{
	char number[16];

	print_file(w, "exe", t->mm->exe_file_id, "", out);
	print_file(w, "cwd", t->fs->cwd_id, "", out);
	if (t->fds->owner != t) {
		fprintf(out, "  descriptors: those of task %d\n", t->fds->owner->pid);
		return;
	}
	for (size_t i = 0; i < t->fds->n_fds; i++) {
		const FdinfoEntry *e = t->fds->fds[i];

		snprintf(number, sizeof(number), "%u", e->fd);
		print_file(w, number, e->id, e->flags & 1 ? "  (close-on-exec)" : "", out);
	}
}

static void print_areas(const struct world *w, const struct task *t, FILE *out)
{
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];
		char text[512] = "", size[32];

		if (v->status & STATUS_FILE)
			describe_file(w, (uint32_t)v->shmid, text, sizeof(text));
		else if (v->status & STATUS_VDSO)
			snprintf(text, sizeof(text), "[vdso]");
		else if (v->status & STATUS_VVAR)
			snprintf(text, sizeof(text), "[vvar]");
		else if (v->status & STATUS_HEAP)
			snprintf(text, sizeof(text), "[heap]");
		else if (v->status & STATUS_GUARD)
			snprintf(text, sizeof(text), "guard");
		else if (v->flags & FLAG_GROWSDOWN)
			snprintf(text, sizeof(text), "[stack]");
		fprintf(out, "  %012llx-%012llx %c%c%c%c %10s  ", (unsigned long long)v->start,
			(unsigned long long)v->end, v->prot & 1 ? 'r' : '-', v->prot & 2 ? 'w' : '-',
			v->prot & 4 ? 'x' : '-', v->flags & 1 ? 's' : 'p',
			human(v->end - v->start, size, sizeof(size)));
		plain_string(out, text);
		fputc('\n', out);
	}
}

static int show_text(const struct world *w, struct image_set *set, FILE *out, struct err *err)
{
	int r = print_tree(w, set, out, err);

	world_each_task(t, w) {
		if (r < 0 || !task_is_alive(t))
			continue;
		fprintf(out, "\ntask %d: files\n", t->pid);
		print_files(w, t, out);
		fprintf(out, "task %d: memory\n", t->pid);
		print_areas(w, t, out);
	}
	return r;
}

/* ---- for programs ---- */

static void json_files(const struct world *w, const struct task *t, FILE *out)
{
	char text[512];

	fputs(", \"descriptors\": [", out);
	for (size_t i = 0; i < t->fds->n_fds; i++) {
		const FdinfoEntry *e = t->fds->fds[i];

		describe_file(w, e->id, text, sizeof(text));
		fprintf(out, "%s{\"fd\": %u, \"file\": %u, \"cloexec\": %s, \"what\": ",
			i ? ", " : "", e->fd, e->id, e->flags & 1 ? "true" : "false");
		json_string(out, text);
		fputc('}', out);
	}
	fputc(']', out);
}

static int json_task(const struct world *w, const struct task *t, struct image_set *set, FILE *out,
	struct err *err)
{
	struct sizes s;
	int r = 0;

	fprintf(out, "{\"pid\": %d, \"ppid\": %d, \"pgid\": %d, \"sid\": %d, \"state\": ", t->pid,
		t->parent ? t->parent->pid : 0, t->pgid, t->sid);
	json_string(out, state_name(t));
	fputs(", \"name\": ", out);
	json_string(out, task_comm(t));
	fputs(", \"threads\": [", out);
	task_each_thread(th, t)
		fprintf(out, "%s%d", th == t->threads ? "" : ", ", th->tid);
	fputc(']', out);
	if (task_is_alive(t)) {
		r = measure(t, set, &s, err);
		fprintf(out, ", \"areas\": %zu, \"mapped_bytes\": %llu, \"saved_bytes\": %llu",
			s.areas, (unsigned long long)s.mapped, (unsigned long long)s.saved);
		json_files(w, t, out);
	}
	fputc('}', out);
	return r;
}

static int show_json(const struct world *w, struct image_set *set, FILE *out, struct err *err)
{
	int r = 0;

	fputs("{\"tasks\": [", out);
	world_each_task(t, w) {
		if (r < 0)
			break;
		if (t->index)
			fputs(",\n ", out);
		r = json_task(w, t, set, out, err);
	}
	fputs("]}\n", out);
	return r;
}

int snapshot_show(const struct world *w, struct image_set *set, FILE *out, bool json,
	struct err *err)
{
	return json ? show_json(w, set, out, err) : show_text(w, set, out, err);
}
