// SPDX-License-Identifier: GPL-2.0-or-later
/* Where the secrets of a keyring come from: files, descriptors, the terminal. Each is read once. */
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "image/key_text.h"
#include "image/keys_priv.h"
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <termios.h>

enum {
	IDENTITIES_MOST = SECRET_MAX / KEY_BYTES,
	PASSPHRASE_MOST = 1024,
};

int keyring_read_identities(struct keyring *k, struct err *err)
{
	int r = k->identities ? 0 : secret_new(&k->identities, err);

	if (r == 0 && k->w.n_identities > IDENTITIES_MOST)
		return err_usage(err, "there cannot be more than %d identities", IDENTITIES_MOST);
	while (r == 0 && k->n_identities < k->w.n_identities) {
		r = key_read_file(KEY_SECRET, k->w.identities[k->n_identities],
			k->identities + k->n_identities * KEY_BYTES, err);
		k->n_identities += r == 0;
	}
	return r;
}

/* Up to the end of the line; *ret_len without it. */
static int read_line(int fd, char *buf, size_t *ret_len)
{
	size_t n = 0;

	while (n < PASSPHRASE_MOST) {
		int r = io_await(fd, POLLIN, 0); /* a signal before the read is not lost */
		ssize_t got;

		if (r < 0)
			return r;
		got = read(fd, buf + n, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0 || buf[n] == '\n')
			break;
		n++;
	}
	buf[n] = '\0';
	*ret_len = n;
	return n < PASSPHRASE_MOST ? 0 : -E2BIG;
}

static int take_passphrase(int fd, const char *from, char *buf, struct err *err)
{
	size_t len = 0;
	int r = read_line(fd, buf, &len);

	/* the terminal is to show again what is typed */
	if (r == -EINTR && interrupt_check(err) < 0)
		return r;
	if (r < 0)
		return err_set(err, ERR_USAGE, -r, "cannot read a passphrase from %s: %s", from,
			strerror(-r));
	return len ? 0 : err_usage(err, "the passphrase from %s is empty", from);
}

/* Asks without showing what is typed. */
static int ask_once(int tty, const char *question, char *buf, struct err *err)
{
	struct termios old, quiet;
	int r;

	if (tcgetattr(tty, &old) < 0)
		return err_sys(err, "cannot ask for a passphrase on the terminal");
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	tcsetattr(tty, TCSAFLUSH, &quiet);
	dprintf(tty, "%s: ", question);
	r = fault_point("ask", err);
	if (r == 0)
		r = take_passphrase(tty, "the terminal", buf, err);
	dprintf(tty, "\n");
	tcsetattr(tty, TCSAFLUSH, &old);
	return r;
}

bool keyring_may_ask(void)
{
	auto_close int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	return tty >= 0;
}

static int ask_passphrase(char *buf, bool twice, struct err *err)
{
	auto_close int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	char *again = buf + PASSPHRASE_MOST + 1;
	int r;

	if (tty < 0)
		return err_usage(err, twice ?
			"encryption needs somebody who can read the images: --recipient, "
			"--passphrase-fd or --key-fd (there is no terminal to ask for a passphrase)" :
			"the images are encrypted by a passphrase: give it by --passphrase-fd (there is "
			"no terminal to ask for it)");
	r = ask_once(tty, twice ? "New passphrase for the images" : "Passphrase of the images", buf,
		err);
	if (r == 0 && twice)
		r = ask_once(tty, "The same again", again, err);
	if (r == 0 && twice && strcmp(buf, again) != 0)
		r = err_usage(err, "the two passphrases differ");
	return r;
}

int keyring_read_passphrase(struct keyring *k, bool is_new, struct err *err)
{
	uint8_t *buf;
	char from[32];
	int r;

	if (k->passphrase)
		return 0;
	r = secret_new(&buf, err);
	if (r < 0)
		return r;
	snprintf(from, sizeof(from), "descriptor %d", k->w.passphrase_fd);
	if (k->w.passphrase_fd >= 0) {
		r = take_passphrase(k->w.passphrase_fd, from, (char *)buf, err);
		close(k->w.passphrase_fd); /* nobody shall inherit it */
	} else {
		r = ask_passphrase((char *)buf, is_new, err);
	}
	if (r < 0)
		secret_free(buf);
	else
		k->passphrase = (char *)buf;
	return r;
}

int keyring_read_key(struct keyring *k, struct err *err)
{
	int r;

	if (k->key)
		return 0;
	r = secret_new(&k->key, err);
	if (r < 0)
		return r;
	r = io_read_all(k->w.key_fd, k->key, KEY_BYTES);
	close(k->w.key_fd);
	if (r == 0)
		return 0;
	secret_free(k->key);
	k->key = NULL;
	return err_set(err, ERR_USAGE, -r, "cannot read a key of %d bytes from descriptor %d: %s",
		KEY_BYTES, k->w.key_fd, r == -EIO ? "there are fewer" : strerror(-r));
}
