// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that go to a page server: connected before anything is stopped, confirmed before the set is
 * made valid. Whatever fails there fails the dump, and the tasks run on.
 */
#include "dump/ctx.h"
#include "pages/client.h"
#include "pages/filter.h"
#include "pages/wire.h"

bool dump_uses_server(const void *ctx)
{
	const struct dump *d = ctx;

	return d->o->page_server;
}

int dump_connect(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	const struct options *o = d->o;
	struct page_client_setup setup = {
		.address = o->address, .port = (uint16_t)o->port, .fd = (int)o->ps_socket,
		.head_size = o->page_header == WIRE_HEAD_OLD ? WIRE_HEAD_OLD : WIRE_HEAD,
		.patience_s = options_peer_patience(o), .tls = o->tls,
		.tls_files = tls_files_of(o),
		.tls_name = o->tls_no_cn_verify ? NULL : o->address ? o->address : "localhost",
	};
	struct filter_chain *chain;
	int r = filter_chain_of(d->images, &chain, err);

	d->client = d->lasting->client;
	d->lasting->client = NULL;
	if (r < 0)
		return r;
	/* only torpor can read such pages, so the server must be one, too */
	setup.connections = (unsigned)o->connections;
	setup.files = chain || image_set_is_sealed(d->images) || o->connections > 1;
	if (!d->client)
		r = page_client_open(&setup, &d->client, err);
	if (r == 0)
		image_set_send_pages(d->images, d->client);
	return r;
}

void dump_disconnect(void *ctx)
{
	struct dump *d = ctx;

	image_set_send_pages(d->images, NULL);
	/* the server takes one dump: the next try is to go on with this connection */
	if (d->client && page_client_is_idle(d->client))
		d->lasting->client = d->client;
	else
		page_client_drop(d->client);
	d->client = NULL;
}

int dump_confirm(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct page_client *client = d->client;

	image_set_send_pages(d->images, NULL);
	d->client = NULL;
	return page_client_close(client, err);
}
