// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first husk. A memfd holds a static ELF of one page whose code is the player; a child of ours
 * runs it, so that nothing of torpor's own address space is left in the tree.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "inject/husk_priv.h"
#include "inject/tracee.h"
#include "player/player.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { ELF_BASE = 0x10000, ELF_CODE = 0x100, HUSK_LENDER = 3, HUSK_TAPES };
#define USER_END 0x7ffffffff000ul /* TASK_SIZE with four-level tables */
#define TRACE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)

static int make_elf(int *ret_fd, struct err *err)
{
	uint8_t page[4096] = { 0 };
	Elf64_Ehdr eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
		.e_entry = ELF_BASE + ELF_CODE, .e_phoff = sizeof(eh), .e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	Elf64_Phdr ph = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = ELF_BASE,
		.p_paddr = ELF_BASE, .p_filesz = sizeof(page), .p_memsz = sizeof(page),
		.p_align = 4096 };
	auto_close int fd = memfd_create("torpor-husk", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot create a memfd");
	memcpy(page, &eh, sizeof(eh));
	memcpy(page + sizeof(eh), &ph, sizeof(ph));
	memcpy(page + ELF_CODE, player_start, PLAYER_LEN);
	r = io_write_all(fd, page, sizeof(page));
	if (r < 0)
		return err_sysn(err, -r, "cannot write the husk program");
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, HUSK_TAPES + 1); /* above the child's own */
	return *ret_fd < 0 ? err_sys(err, "cannot keep the husk program open") : 0;
}

/* In the new child: wait until we are traced, then become the husk program. */
static _Noreturn void child_main(int exe, int lender, int tapes, int gate)
{
	char *const none[] = { NULL };
	char c;

	if (read(gate, &c, 1) == 1 && dup2(lender, HUSK_LENDER) == HUSK_LENDER &&
		dup2(tapes, HUSK_TAPES) == HUSK_TAPES)
		syscall(SYS_execveat, exe, "", none, none, AT_EMPTY_PATH);
	_exit(127);
}

bool husk_pid_may_be_free(unsigned *tries)
{
	enum { MOST = 5000 };

	if (++*tries > MOST)
		return false;
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return true;
}

/* fork with a chosen pid; in the child it does not return. */
static int clone_child(pid_t pid, bool sibling, int exe, int lender, int tapes, int gate,
	pid_t *ret, struct err *err)
{
	struct clone_args args = { .flags = sibling ? CLONE_PARENT : 0,
		.exit_signal = sibling ? 0 : SIGCHLD, .set_tid = pid ? (uint64_t)(uintptr_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0 };
	unsigned tries = 0;
	long got;

	do
		got = syscall(SYS_clone3, &args, sizeof(args));
	while (got < 0 && errno == EEXIST && husk_pid_may_be_free(&tries));
	if (got < 0 && errno == EEXIST)
		return err_target(err, EEXIST, "pid %d is in use", pid);
	if (got < 0)
		return err_sys(err, "cannot create a task with pid %d", pid);
	if (got == 0)
		child_main(exe, lender, tapes, gate);
	*ret = (pid_t)got;
	return 0;
}

static int wait_exec(pid_t pid, struct err *err)
{
	int status, r;

	do {
		r = tracee_wait(pid, &status, err);
		if (r < 0)
			return err_while(err, "starting the husk program");
		if (tracee_event(status) == PTRACE_EVENT_EXEC)
			return 0;
		if (ptrace(PTRACE_CONT, pid, NULL, NULL) < 0)
			return err_sys(err, "cannot continue task %d", pid);
	} while (1);
}

int husk_set_syscall(struct husk *h, pid_t tid, uint64_t player, long nr, const uint64_t args[6],
	struct err *err)
{
	struct user_regs_struct regs = h->layout->regs;

	tracee_aim(&regs, player + PLAYER_OFFSET(player_syscall), nr, args);
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		return err_sys(err, "cannot set registers of task %d", tid);
	return 0;
}

int husk_to_syscall_stop(pid_t tid, struct err *err)
{
	if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) < 0)
		return err_sys(err, "cannot continue task %d", tid);
	return 0;
}

int husk_wait_syscall_stop(pid_t tid, struct err *err)
{
	int status, r;

	while ((r = tracee_wait(tid, &status, err)) == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80))
		if ((r = husk_to_syscall_stop(tid, err)) < 0)
			break;
	return r;
}

static int next_syscall_stop(pid_t tid, struct err *err)
{
	int r = husk_to_syscall_stop(tid, err);

	return r < 0 ? r : husk_wait_syscall_stop(tid, err);
}

/* Makes the call and leaves the thread in its syscall-exit stop. */
static int husk_syscall(struct husk *h, pid_t tid, uint64_t player, long nr, const uint64_t args[6],
	int64_t *ret, struct err *err)
{
	struct user_regs_struct regs;
	int r = husk_set_syscall(h, tid, player, nr, args, err);

	if (r == 0)
		r = next_syscall_stop(tid, err);
	if (r == 0)
		r = next_syscall_stop(tid, err);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		return err_sys(err, "cannot read registers of task %d", tid);
	*ret = (int64_t)regs.rax;
	return 0;
}

static int first_call(struct husk *h, long nr, const uint64_t args[6], const char *what,
	struct err *err)
{
	int64_t ret = 0;
	int r = husk_syscall(h, h->pid, ELF_BASE + ELF_CODE, nr, args, &ret, err);

	if (r == 0 && ret < 0 && ret > -4096)
		return err_sysn(err, (int)-ret, "a new task cannot %s", what);
	return r;
}

/* Player and stack are the husk's own, the tapes are memory it shares with us. */
static int map_area(struct husk *h, struct err *err)
{
	const struct husk_layout *l = h->layout;
	const uint64_t map[6] = { l->area, l->area_len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, (uint64_t)-1, 0 };
	const uint64_t tapes[6] = { l->area + TAPE_OFFSET, TAPES_LEN, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED, HUSK_TAPES, 0 };
	const uint64_t shut[6] = { HUSK_TAPES };
	const uint64_t protect[6] = { l->area, 4096, PROT_READ | PROT_EXEC };
	int r = first_call(h, SYS_mmap, map, "map its scratch area", err);

	if (r == 0)
		r = first_call(h, SYS_mmap, tapes, "map the memory of tapes", err);
	if (r == 0)
		r = first_call(h, SYS_close, shut, "close the memory of tapes", err);
	if (r < 0)
		return r;
	r = husk_write(h, player_start, PLAYER_LEN, l->area);
	if (r < 0)
		return err_sysn(err, -r, "cannot write into task %d", h->pid);
	return first_call(h, SYS_mprotect, protect, "protect its scratch area", err);
}

struct special {
	uint64_t start, end;
	bool vdso;
};

/* "start-end ... [vvar]", "[vvar_vclock]" or "[vdso]" */
static bool special_parse(struct cursor line, struct special *s)
{
	static const char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]" };

	if (!parse_u64(&line, 16, &s->start) || !parse_lit(&line, "-") ||
		!parse_u64(&line, 16, &s->end))
		return false;
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(names[i]);

		if ((size_t)(line.end - line.at) > n && !memcmp(line.end - n, names[i], n)) {
			s->vdso = i == 0;
			return true;
		}
	}
	return false;
}

static void tape_clear(struct tape *t, const struct husk_layout *l)
{
	tape_call(t, "clear", TAPE_MUST, SYS_munmap, T(0), T(l->area));
	tape_call(t, "clear", TAPE_MUST, SYS_munmap, T(l->area + l->area_len),
		T(USER_END - l->area - l->area_len));
}

/* Moves vvar and vdso into the area, keeping their distances, and unmaps all the rest. */
static int park_and_clear(struct husk *h, struct err *err)
{
	const struct husk_layout *l = h->layout;
	auto_free char *maps = NULL;
	struct cursor c, line;
	struct special s;
	struct tape *t;
	uint64_t low = 0;
	int r = io_slurpf(&maps, NULL, "/proc/%d/maps", h->pid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the memory map of task %d", h->pid);
	h->vvar = h->vvar_len = h->vdso = h->vdso_len = 0;
	t = tape_new();
	for (c = cursor_of(maps); parse_line(&c, &line);) {
		uint64_t len, to;

		if (!special_parse(line, &s))
			continue;
		if (!low)
			low = s.start;
		len = s.end - s.start;
		to = l->park + (s.start - low);
		if (s.start < low || to + len > l->area + l->area_len) {
			tape_free(t);
			return err_unsupported(err, "this kernel's vdso has an unknown layout");
		}
		tape_call(t, "vdso", TAPE_MUST, SYS_mremap, T(s.start), T(len), T(len),
			T(MREMAP_MAYMOVE | MREMAP_FIXED), T(to));
		if (s.vdso) {
			h->vdso = to;
			h->vdso_len = len;
		} else {
			h->vvar = h->vvar ? h->vvar : to;
			h->vvar_len += len;
		}
	}
	tape_clear(t, l);
	r = husk_play(h, 0, t, err);
	tape_free(t);
	return r;
}

static int park_only_clear(struct husk *h, struct err *err)
{
	struct tape *t = tape_new();
	int r;

	tape_clear(t, h->layout);
	r = husk_play(h, 0, t, err);
	tape_free(t);
	return r;
}

/* Each special mapping moves by itself: mremap(2) does not move across borders of mappings. */
int husk_clear(struct husk *h, struct err *err)
{
	const struct husk_layout *l = h->layout;

	if (h->vdso && (h->vdso < l->area || h->vdso >= l->area + l->area_len))
		return park_and_clear(h, err);
	return park_only_clear(h, err);
}

static int set_playing_mask(struct husk *h, struct err *err)
{
	uint64_t mask = ~(1ull << (h->marker - 1));

	if (ptrace(PTRACE_SETSIGMASK, h->pid, sizeof(mask), &mask) < 0)
		return err_sys(err, "cannot set the signal mask of task %d", h->pid);
	return 0;
}

/*
 * Restored seccomp filters must not see the tapes that are played after them; forks and threads
 * inherit that. It needs CAP_SYS_ADMIN; without it a filter that forbids what is left to do fails.
 */
static int seize_child(pid_t pid, int gate, struct err *err)
{
	uintptr_t options = TRACE_OPTIONS | PTRACE_O_SUSPEND_SECCOMP;
	long r = ptrace(PTRACE_SEIZE, pid, NULL, (void *)options);

	if (r < 0 && (errno == EPERM || errno == EINVAL))
		r = ptrace(PTRACE_SEIZE, pid, NULL, (void *)(uintptr_t)TRACE_OPTIONS);
	if (r < 0)
		return err_sys(err, "cannot trace the new task %d", pid);
	if (write(gate, "g", 1) != 1)
		return err_sys(err, "cannot wake the new task %d", pid);
	return 0;
}

/* Once for all husks of a layout: the memory of their tapes, and what their registers have. */
static int fill_layout(struct husk_layout *l, struct err *err)
{
	auto_close int fd = -1;
	void *tapes;

	l->area_len = HUSK_AREA_LEN;
	l->park = l->area + PARK_OFFSET;
	if (l->tapes)
		return 0;
	fd = memfd_create("torpor-tapes", MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot create a memfd");
	if (ftruncate(fd, TAPES_LEN) < 0)
		return err_sys(err, "cannot enlarge a memfd to %d bytes", TAPES_LEN);
	tapes = mmap(NULL, TAPES_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (tapes == MAP_FAILED)
		return err_sys(err, "cannot map %d bytes", TAPES_LEN);
	l->tapes_fd = fcntl(fd, F_DUPFD_CLOEXEC, HUSK_TAPES + 1);
	if (l->tapes_fd < 0) {
		munmap(tapes, TAPES_LEN);
		return err_sys(err, "cannot keep a memfd open");
	}
	l->tapes = tapes;
	return 0;
}

static int learn_regs(struct husk_layout *l, pid_t pid, struct err *err)
{
	if (ptrace(PTRACE_GETREGS, pid, NULL, &l->regs) < 0)
		return err_sys(err, "cannot read registers of task %d", pid);
	return 0;
}

/* Above the numbers where the child puts its own. */
static int open_lender(int *ret_fd, struct err *err)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	*ret_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, HUSK_TAPES + 1);
	return *ret_fd < 0 ? err_sys(err, "cannot open a pidfd") : 0;
}

int husk_start(struct husk *h, struct husk_layout *layout, pid_t pid, bool sibling, struct err *err)
{
	auto_close int exe = -1, gate_in = -1, gate_out = -1, lender = -1;
	int pair[2], r = fill_layout(layout, err);

	*h = (struct husk){ .layout = layout, .mem = -1, .lender_fd = HUSK_LENDER,
		.marker = SIGURG };
	if (r == 0)
		r = make_elf(&exe, err);
	if (r == 0)
		r = open_lender(&lender, err);
	if (r < 0)
		return r;
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_sys(err, "cannot create a pipe");
	gate_in = pair[0];
	gate_out = pair[1];
	r = clone_child(pid, sibling, exe, lender, layout->tapes_fd, gate_in, &h->pid, err);
	if (r == 0)
		r = seize_child(h->pid, gate_out, err);
	if (r == 0)
		r = wait_exec(h->pid, err);
	if (r == 0)
		r = next_syscall_stop(h->pid, err); /* the end of execveat itself */
	if (r == 0)
		r = learn_regs(layout, h->pid, err);
	if (r == 0)
		r = set_playing_mask(h, err);
	if (r == 0)
		r = map_area(h, err);
	if (r == 0)
		r = park_and_clear(h, err);
	return r;
}
