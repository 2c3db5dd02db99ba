/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings of terminals: ioctl_tty(2), termios(3). For a master they are those of its slave. */
#include "kinds/file/tty.h"
#include <asm/termbits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

enum { CC_WORDS = 19 };

static TermiosEntry *termios_of(struct arena *arena, int fd, unsigned long request)
{
	struct termios t = { 0 };
	TermiosEntry *e;

	if (ioctl(fd, request, &t) < 0)
		return NULL;
	e = arena_msg(arena, TermiosEntry, termios_entry);
	e->c_iflag = t.c_iflag;
	e->c_oflag = t.c_oflag;
	e->c_cflag = t.c_cflag;
	e->c_lflag = t.c_lflag;
	e->c_line = t.c_line;
	/* One word each by count, but the bytes lie packed in the first ones. */
	e->n_c_cc = CC_WORDS;
	e->c_cc = arena_array(arena, CC_WORDS, sizeof(*e->c_cc));
	memcpy(e->c_cc, t.c_cc, sizeof(t.c_cc));
	return e;
}

static int flag_of(int fd, unsigned long request)
{
	int on = 0;

	return ioctl(fd, request, &on) == 0 && on;
}

void tty_attr_collect(struct arena *arena, int fd, TtyInfoEntry *e)
{
	struct winsize ws;

	e->exclusive = flag_of(fd, TIOCGEXCL);
	e->packet_mode = flag_of(fd, TIOCGPKT);
	e->locked = flag_of(fd, TIOCGPTLCK);
	e->termios = termios_of(arena, fd, TCGETS);
	e->termios_locked = termios_of(arena, fd, TIOCGLCKTRMIOS);
	if (ioctl(fd, TIOCGWINSZ, &ws) == 0) {
		e->winsize = arena_msg(arena, WinsizeEntry, winsize_entry);
		e->winsize->ws_row = ws.ws_row;
		e->winsize->ws_col = ws.ws_col;
		e->winsize->ws_xpixel = ws.ws_xpixel;
		e->winsize->ws_ypixel = ws.ws_ypixel;
	}
}

static bool to_termios(const TermiosEntry *e, struct termios *ret)
{
	struct termios t = { 0 };

	if (!e || e->n_c_cc * 4 < sizeof(t.c_cc))
		return false;
	t.c_iflag = e->c_iflag;
	t.c_oflag = e->c_oflag;
	t.c_cflag = e->c_cflag;
	t.c_lflag = e->c_lflag;
	t.c_line = (cc_t)e->c_line;
	memcpy(t.c_cc, e->c_cc, sizeof(t.c_cc));
	*ret = t;
	return true;
}

static bool is_any_locked(const struct termios *t)
{
	static const struct termios none;

	return t->c_iflag || t->c_oflag || t->c_cflag || t->c_lflag ||
		memcmp(t->c_cc, none.c_cc, sizeof(none.c_cc)) != 0;
}

void tty_attr_set(int fd, const TtyInfoEntry *e)
{
	const WinsizeEntry *w = e->winsize;
	struct termios t;
	sigset_t block, old;

	sigemptyset(&block);
	sigaddset(&block, SIGTTOU);
	sigprocmask(SIG_BLOCK, &block, &old);
	if (to_termios(e->termios, &t))
		(void)!ioctl(fd, TCSETS, &t);
	if (to_termios(e->termios_locked, &t) && is_any_locked(&t))
		(void)!ioctl(fd, TIOCSLCKTRMIOS, &t);
	if (w) {
		struct winsize ws = { .ws_row = (unsigned short)w->ws_row,
			.ws_col = (unsigned short)w->ws_col, .ws_xpixel = (unsigned short)w->ws_xpixel,
			.ws_ypixel = (unsigned short)w->ws_ypixel };

		(void)!ioctl(fd, TIOCSWINSZ, &ws);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
}

int tty_attr_lock(int fd, const TtyInfoEntry *e, struct err *err)
{
	int on = 1;

	if (e->packet_mode && ioctl(fd, TIOCPKT, &on) < 0)
		return err_sys(err, "cannot put a pseudoterminal into packet mode");
	if (e->locked && ioctl(fd, TIOCSPTLCK, &on) < 0)
		return err_sys(err, "cannot lock a pseudoterminal");
	if (e->exclusive && ioctl(fd, TIOCEXCL) < 0)
		return err_sys(err, "cannot make a terminal exclusive");
	return 0;
}
