// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/out.h"
#include "pages/staging.h"

int page_out_open(struct page_out *o, struct image_set *set, enum image_id type, unsigned long id,
	uint32_t pages_id, struct err *err)
{
	struct page_client *client = image_set_page_client(set);

	*o = (struct page_out){ .remote = client && !page_client_takes_files(client),
		.staging = image_set_page_staging(set) };
	if (o->staging) {
		o->sink = page_staging_begin(o->staging, type, id, pages_id);
		return 0;
	}
	o->sink = o->remote ? &o->client.base : &o->image.base;
	return o->remote ? client_sink_open(&o->client, client, set, type, id, err) :
			   image_sink_open(&o->image, set, type, id, pages_id, client, err);
}

int page_out_close(struct page_out *o, uint64_t *ret_written, struct err *err)
{
	*ret_written = 0;
	if (o->staging) {
		page_staging_end(o->staging);
		return 0;
	}
	*ret_written = o->remote ? o->client.note.written : o->image.written;
	return o->remote ? client_sink_close(&o->client, err) : image_sink_close(&o->image, err);
}

void page_out_drop(struct page_out *o)
{
	if (o->staging)
		return; /* all of it is dropped */
	if (o->remote)
		client_sink_drop(&o->client);
	else
		image_sink_drop(&o->image);
}
