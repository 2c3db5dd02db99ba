// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/tls.h"
#include "base/interrupt.h"
#include "base/io.h"
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANDSHAKE_S = 20 };

struct tls {
	SSL_CTX *ctx;
	SSL *ssl;
};

/* Where CRIU looks for them. */
static const struct tls_files usual = {
	.ca = "/etc/pki/CA/cacert.pem",
	.revoked = "/etc/pki/CA/cacrl.pem",
	.cert = "/etc/pki/criu/cert.pem",
	.key = "/etc/pki/criu/private/key.pem",
};

/* The library's own words for the last failure. */
static const char *reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	return text ? text : "no reason given";
}

static int file_failed(const char *what, const char *path, struct err *err)
{
	int number = access(path, R_OK) < 0 ? errno : 0;

	return err_set(err, ERR_USAGE, number ? number : EINVAL,
		"the %s '%s' cannot be used for TLS: %s%s", what, path, number ? strerror(number) :
		reason(), number && *path != '/' ? " (a name is relative to the work directory)" : "");
}

/* ---- certificates ---- */

static int load_revoked(struct tls *t, const char *path, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(t->ctx);

	if (X509_STORE_load_file(store, path) != 1)
		return file_failed("list of revoked certificates", path, err);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return 0;
}

static int load_files(struct tls *t, const struct tls_files *f, struct err *err)
{
	const char *ca = f->ca ? f->ca : usual.ca, *cert = f->cert ? f->cert : usual.cert;
	const char *key = f->key ? f->key : usual.key;
	const char *revoked = f->revoked ? f->revoked : usual.revoked;

	if (SSL_CTX_load_verify_locations(t->ctx, ca, NULL) != 1)
		return file_failed("certificate of the authority", ca, err);
	if (SSL_CTX_use_certificate_chain_file(t->ctx, cert) != 1)
		return file_failed("certificate", cert, err);
	if (SSL_CTX_use_PrivateKey_file(t->ctx, key, SSL_FILETYPE_PEM) != 1 ||
		SSL_CTX_check_private_key(t->ctx) != 1)
		return file_failed("private key", key, err);
	return f->revoked || access(revoked, F_OK) == 0 ? load_revoked(t, revoked, err) : 0;
}

static int expect_name(struct tls *t, const char *name, struct err *err)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	uint8_t address[sizeof(struct in6_addr)];
	bool is_address = inet_pton(AF_INET, name, address) == 1 ||
		inet_pton(AF_INET6, name, address) == 1;

	if ((is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, name) :
			  X509_VERIFY_PARAM_set1_host(param, name, 0)) != 1)
		return err_nomem(err);
	return 0;
}

/* ---- the connection ---- */

/* Nothing came within the time that the socket is given (SO_RCVTIMEO), or a signal did. */
static bool has_to_wait(const struct tls *t, int result)
{
	int why = SSL_get_error(t->ssl, result);

	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static int shake_hands(struct tls *t, bool server, const char *peer, struct err *err)
{
	uint64_t end = clock_us() + 1000000ull * HANDSHAKE_S;
	long verified;
	int n, r;

	while ((n = server ? SSL_accept(t->ssl) : SSL_connect(t->ssl)) != 1 && has_to_wait(t, n)) {
		r = interrupt_check(err);
		if (r < 0)
			return r;
		if (clock_us() > end)
			return err_set(err, ERR_RESOURCE, ETIMEDOUT, "%s does not answer to "
				"TLS for %d s", peer, HANDSHAKE_S);
	}
	if (n == 1)
		return 0;
	verified = SSL_get_verify_result(t->ssl);
	if (verified != X509_V_OK)
		return err_set(err, ERR_RESOURCE, EACCES, "the certificate of %s cannot be trusted: %s",
			peer, X509_verify_cert_error_string(verified));
	return err_set(err, ERR_RESOURCE, EPROTO, "%s refuses TLS or does not speak it, as it would "
		"with --tls: %s", peer, reason());
}

static int prepare(struct tls *t, bool server, const struct tls_files *files, struct err *err)
{
	t->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1)
		return err_nomem(err);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	return load_files(t, files, err);
}

static int begin(struct tls *t, int fd, bool server, const char *peer, const struct tls_files *files,
	const char *name, struct err *err)
{
	int r = prepare(t, server, files, err);

	if (r < 0)
		return r;
	t->ssl = SSL_new(t->ctx);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1)
		return err_nomem(err);
	r = name ? expect_name(t, name, err) : 0;
	return r < 0 ? r : shake_hands(t, server, peer, err);
}

int tls_check(const struct tls_files *files, struct err *err)
{
	struct tls t = { 0 };
	int r;

	ERR_clear_error();
	r = prepare(&t, true, files, err);
	SSL_CTX_free(t.ctx);
	return r;
}

int tls_begin(int fd, bool server, const char *peer, const struct tls_files *files, const char *name,
	struct tls **ret, struct err *err)
{
	struct tls *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_nomem(err);
	/* the library writes with write(2): a peer that is gone shall be an error, not our end */
	signal(SIGPIPE, SIG_IGN);
	ERR_clear_error();
	r = begin(t, fd, server, peer, files, name, err);
	if (r < 0) {
		SSL_free(t->ssl);
		SSL_CTX_free(t->ctx);
		free(t);
		return r;
	}
	*ret = t;
	return 0;
}

static int stream_failed(struct tls *t, const char *peer, int result, struct err *err)
{
	int why = SSL_get_error(t->ssl, result), number = errno;

	if (why == SSL_ERROR_SYSCALL && number)
		return err_sysn(err, number, "the TLS connection to %s is broken (its log tells why)",
			peer);
	return err_set(err, ERR_RESOURCE, EPROTO, "the TLS connection to %s is broken (its log tells "
		"why): %s", peer, reason());
}

ssize_t tls_read(struct tls *t, const char *peer, void *buf, size_t len, struct err *err)
{
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_read(t->ssl, buf, len > INT32_MAX ? INT32_MAX : (int)len);
	if (n > 0)
		return n;
	if (has_to_wait(t, n))
		return -EAGAIN;
	/* an end without good-bye may be an attacker's */
	return SSL_get_error(t->ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 :
								   stream_failed(t, peer, n, err);
}

ssize_t tls_write(struct tls *t, const char *peer, const void *buf, size_t len, struct err *err)
{
	int n;

	if (!len)
		return 0;
	ERR_clear_error();
	errno = 0;
	n = SSL_write(t->ssl, buf, len > INT32_MAX ? INT32_MAX : (int)len);
	if (n <= 0 && has_to_wait(t, n))
		return -EAGAIN;
	return n > 0 ? n : stream_failed(t, peer, n, err);
}

bool tls_has_more(const struct tls *t)
{
	return SSL_pending(t->ssl) > 0;
}

void tls_end(struct tls *t)
{
	SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	free(t);
}
