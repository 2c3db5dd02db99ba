// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See kernel/nft.h. A batch is one transaction; every message in it asks for an answer, and the
 * first answer that is an error says why nothing was done.
 */
#include "kernel/nft.h"
#include "base/cleanup.h"
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>

/* Numbers of the nft tool for types of keys: with them it can print our sets. */
enum { TYPE_IPV4 = 7, TYPE_IPV6 = 8, TYPE_PORT = 13, TYPE_BITS = 6 };
enum { KEY4 = 16, KEY6 = 40, ELEMENTS = 400, ANSWER = 65536 };

struct batch {
	struct vec_of(char) bytes;
	size_t message; /* start of the last one */
	uint32_t seq;
};

/* ---- messages ---- */

static void *put(struct batch *b, const void *data, size_t len)
{
	size_t at = b->bytes.n;

	for (size_t i = 0; i < NLMSG_ALIGN(len); i++)
		vec_push(&b->bytes, i < len && data ? ((const char *)data)[i] : 0);
	return b->bytes.at + at;
}

static void message_begin(struct batch *b, int type, int flags, int family, int resource)
{
	struct nlmsghdr head = { .nlmsg_type = (uint16_t)type, .nlmsg_seq = ++b->seq,
		.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) };
	struct nfgenmsg gen = { .nfgen_family = (uint8_t)family, .version = NFNETLINK_V0,
		.res_id = htons((uint16_t)resource) };

	b->message = b->bytes.n;
	put(b, &head, sizeof(head));
	put(b, &gen, sizeof(gen));
}

static void message_end(struct batch *b)
{
	struct nlmsghdr *head = (struct nlmsghdr *)(b->bytes.at + b->message);

	head->nlmsg_len = (uint32_t)(b->bytes.n - b->message);
}

static void table_message(struct batch *b, int what, int flags)
{
	message_begin(b, NFNL_SUBSYS_NFTABLES << 8 | what, flags | NLM_F_ACK, NFPROTO_INET, 0);
}

static void attr(struct batch *b, int type, const void *data, size_t len)
{
	struct nlattr a = { .nla_type = (uint16_t)type, .nla_len = (uint16_t)(NLA_HDRLEN + len) };

	put(b, &a, sizeof(a));
	put(b, data, len);
}

static void attr_text(struct batch *b, int type, const char *text)
{
	attr(b, type, text, strlen(text) + 1);
}

static void attr_number(struct batch *b, int type, uint32_t number)
{
	number = htonl(number);
	attr(b, type, &number, sizeof(number));
}

static size_t nest_begin(struct batch *b, int type)
{
	struct nlattr a = { .nla_type = (uint16_t)(type | NLA_F_NESTED) };
	size_t at = b->bytes.n;

	put(b, &a, sizeof(a));
	return at;
}

static void nest_end(struct batch *b, size_t at)
{
	((struct nlattr *)(b->bytes.at + at))->nla_len = (uint16_t)(b->bytes.n - at);
}

static void batch_mark(struct batch *b, int what)
{
	message_begin(b, what, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(b);
}

/* ---- expressions of a rule ---- */

struct expression {
	size_t element, data;
};

static struct expression expression_begin(struct batch *b, const char *name)
{
	struct expression e;

	e.element = nest_begin(b, NFTA_LIST_ELEM);
	attr_text(b, NFTA_EXPR_NAME, name);
	e.data = nest_begin(b, NFTA_EXPR_DATA);
	return e;
}

static void expression_end(struct batch *b, struct expression e)
{
	nest_end(b, e.data);
	nest_end(b, e.element);
}

static void load_meta(struct batch *b, uint32_t key)
{
	struct expression e = expression_begin(b, "meta");

	attr_number(b, NFTA_META_DREG, NFT_REG32_00);
	attr_number(b, NFTA_META_KEY, key);
	expression_end(b, e);
}

static void compare(struct batch *b, const void *value, size_t len)
{
	struct expression e = expression_begin(b, "cmp");
	size_t data;

	attr_number(b, NFTA_CMP_SREG, NFT_REG32_00);
	attr_number(b, NFTA_CMP_OP, NFT_CMP_EQ);
	data = nest_begin(b, NFTA_CMP_DATA);
	attr(b, NFTA_DATA_VALUE, value, len);
	nest_end(b, data);
	expression_end(b, e);
}

static void load_payload(struct batch *b, uint32_t reg, uint32_t base, uint32_t at, uint32_t len)
{
	struct expression e = expression_begin(b, "payload");

	attr_number(b, NFTA_PAYLOAD_DREG, reg);
	attr_number(b, NFTA_PAYLOAD_BASE, base);
	attr_number(b, NFTA_PAYLOAD_OFFSET, at);
	attr_number(b, NFTA_PAYLOAD_LEN, len);
	expression_end(b, e);
}

static void look_up(struct batch *b, const char *set, uint32_t id)
{
	struct expression e = expression_begin(b, "lookup");

	attr_text(b, NFTA_LOOKUP_SET, set);
	attr_number(b, NFTA_LOOKUP_SET_ID, id);
	attr_number(b, NFTA_LOOKUP_SREG, NFT_REG32_00);
	expression_end(b, e);
}

static void verdict(struct batch *b, uint32_t code)
{
	struct expression e = expression_begin(b, "immediate");
	size_t data, inner;

	attr_number(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = nest_begin(b, NFTA_IMMEDIATE_DATA);
	inner = nest_begin(b, NFTA_DATA_VERDICT);
	attr_number(b, NFTA_VERDICT_CODE, code);
	nest_end(b, inner);
	nest_end(b, data);
	expression_end(b, e);
}

/* ---- the table ---- */

struct family {
	const char *set;
	uint32_t id, key_len, key_type;
	int family;
	uint8_t protocol; /* NFPROTO_ */
	uint32_t address_len, source, destination; /* offsets in the IP header */
};

static const struct family families[] = {
	{ "conns4", 1, KEY4, ((TYPE_IPV4 << TYPE_BITS | TYPE_PORT) << TYPE_BITS | TYPE_IPV4)
		<< TYPE_BITS | TYPE_PORT, AF_INET, NFPROTO_IPV4, 4, 12, 16 },
	{ "conns6", 2, KEY6, ((TYPE_IPV6 << TYPE_BITS | TYPE_PORT) << TYPE_BITS | TYPE_IPV6)
		<< TYPE_BITS | TYPE_PORT, AF_INET6, NFPROTO_IPV6, 16, 8, 24 },
};

static void add_table(struct batch *b, const char *table)
{
	table_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	attr_text(b, NFTA_TABLE_NAME, table);
	message_end(b);
}

static void add_set(struct batch *b, const char *table, const struct family *f)
{
	table_message(b, NFT_MSG_NEWSET, NLM_F_CREATE);
	attr_text(b, NFTA_SET_TABLE, table);
	attr_text(b, NFTA_SET_NAME, f->set);
	attr_number(b, NFTA_SET_ID, f->id);
	attr_number(b, NFTA_SET_FLAGS, 0);
	attr_number(b, NFTA_SET_KEY_TYPE, f->key_type);
	attr_number(b, NFTA_SET_KEY_LEN, f->key_len);
	message_end(b);
}

/* "address . port . address . port": each part fills whole 32-bit registers. */
static void add_key(struct batch *b, const uint8_t *from, uint16_t from_port, const uint8_t *to,
	uint16_t to_port, size_t address)
{
	uint8_t key[KEY6] = { 0 };
	size_t element, data;

	from_port = htons(from_port);
	to_port = htons(to_port);
	memcpy(key, from, address);
	memcpy(key + address, &from_port, 2);
	memcpy(key + address + 4, to, address);
	memcpy(key + 2 * address + 4, &to_port, 2);
	element = nest_begin(b, NFTA_LIST_ELEM);
	data = nest_begin(b, NFTA_SET_ELEM_KEY);
	attr(b, NFTA_DATA_VALUE, key, 2 * address + 8);
	nest_end(b, data);
	nest_end(b, element);
}

/* Up to ELEMENTS flows from *at on: the length of a list is a 16-bit number. */
static void add_elements(struct batch *b, const char *table, const struct family *f,
	const struct flow *flows, size_t n, size_t *at)
{
	size_t list, count = 0;

	table_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	attr_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
	attr_text(b, NFTA_SET_ELEM_LIST_SET, f->set);
	attr_number(b, NFTA_SET_ELEM_LIST_SET_ID, f->id);
	list = nest_begin(b, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (; *at < n && count < ELEMENTS; ++*at) {
		const struct flow *w = &flows[*at];

		if (w->family != f->family)
			continue;
		add_key(b, w->ours, w->our_port, w->theirs, w->their_port, f->address_len);
		add_key(b, w->theirs, w->their_port, w->ours, w->our_port, f->address_len);
		count++;
	}
	nest_end(b, list);
	message_end(b);
	if (!count)
		b->bytes.n = b->message;
}

static void add_chain(struct batch *b, const char *table, const char *name, uint32_t hook)
{
	size_t nest;

	table_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	attr_text(b, NFTA_CHAIN_TABLE, table);
	attr_text(b, NFTA_CHAIN_NAME, name);
	attr_text(b, NFTA_CHAIN_TYPE, "filter");
	nest = nest_begin(b, NFTA_CHAIN_HOOK);
	attr_number(b, NFTA_HOOK_HOOKNUM, hook);
	attr_number(b, NFTA_HOOK_PRIORITY, 0);
	nest_end(b, nest);
	attr_number(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
	message_end(b);
}

static size_t rule_begin(struct batch *b, const char *table, const char *chain)
{
	table_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	attr_text(b, NFTA_RULE_TABLE, table);
	attr_text(b, NFTA_RULE_CHAIN, chain);
	return nest_begin(b, NFTA_RULE_EXPRESSIONS);
}

static void rule_end(struct batch *b, size_t nest)
{
	nest_end(b, nest);
	message_end(b);
}

static void add_pass_rule(struct batch *b, const char *table, const char *chain)
{
	uint32_t mark = NETWORK_LOCK_MARK;
	size_t nest = rule_begin(b, table, chain);

	load_meta(b, NFT_META_MARK);
	compare(b, &mark, sizeof(mark));
	verdict(b, NF_ACCEPT);
	rule_end(b, nest);
}

static void add_drop_rule(struct batch *b, const char *table, const char *chain,
	const struct family *f)
{
	const uint8_t tcp = IPPROTO_TCP;
	uint32_t reg = NFT_REG32_00, step = f->address_len / 4;
	size_t nest = rule_begin(b, table, chain);

	load_meta(b, NFT_META_NFPROTO);
	compare(b, &f->protocol, 1);
	load_meta(b, NFT_META_L4PROTO);
	compare(b, &tcp, 1);
	load_payload(b, reg, NFT_PAYLOAD_NETWORK_HEADER, f->source, f->address_len);
	load_payload(b, reg + step, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2);
	load_payload(b, reg + step + 1, NFT_PAYLOAD_NETWORK_HEADER, f->destination, f->address_len);
	load_payload(b, reg + 2 * step + 1, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
	look_up(b, f->set, f->id);
	verdict(b, NF_DROP);
	rule_end(b, nest);
}

/* Whoever the packet is from or for, if it has a socket at that time. */
static void add_group_rule(struct batch *b, const char *table, const char *chain,
	struct nft_group group)
{
	const uint8_t tcp = IPPROTO_TCP;
	size_t nest = rule_begin(b, table, chain);
	struct expression e;

	load_meta(b, NFT_META_L4PROTO);
	compare(b, &tcp, 1);
	e = expression_begin(b, "socket");
	attr_number(b, NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2);
	attr_number(b, NFTA_SOCKET_DREG, NFT_REG32_00);
	attr_number(b, NFTA_SOCKET_LEVEL, group.level);
	expression_end(b, e);
	compare(b, &group.id, sizeof(group.id));
	verdict(b, NF_DROP);
	rule_end(b, nest);
}

/* ---- sending ---- */

static int open_netlink(size_t bytes, struct err *err)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const struct timeval patience = { .tv_sec = 30 };
	int size = (int)(bytes + 65536), ask = 1 << 20;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return err_sys(err, "cannot talk to nftables");
	(void)!setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	(void)!setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &ask, sizeof(ask));
	(void)!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
		int r = err_sys(err, "cannot talk to nftables");

		close(fd);
		return r;
	}
	return fd;
}

/* Reads answers until that of message `last` (or any error); 0 or -errno. */
static int read_answers(int fd, uint32_t last)
{
	auto_free char *buf = malloc(ANSWER);

	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = recv(fd, buf, ANSWER, 0);
		int left = (int)n;

		if (n < 0)
			return -errno;
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, left);
			h = NLMSG_NEXT(h, left)) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(int)))
				continue;
			if (e->error)
				return e->error;
			if (h->nlmsg_seq >= last)
				return 0;
		}
	}
}

/* Closes the batch, which is the caller's to free. 0 or -errno in *ret_answer. */
static int commit(struct batch *b, int *ret_answer, struct err *err)
{
	uint32_t last = b->seq;
	auto_close int fd = -1;

	batch_mark(b, NFNL_MSG_BATCH_END);
	fd = open_netlink(b->bytes.n, err);
	if (fd < 0)
		return fd;
	*ret_answer = send(fd, b->bytes.at, b->bytes.n, 0) < 0 ? -errno : read_answers(fd, last);
	return 0;
}

int nft_drop_flows(const char *name, const struct flow *flows, size_t n, struct nft_group group,
	struct err *err)
{
	static const char *const chains[] = { "output", "input" };
	struct batch b = { 0 };
	int answer = 0, r;

	batch_mark(&b, NFNL_MSG_BATCH_BEGIN);
	add_table(&b, name);
	for (size_t i = 0; i < 2; i++) {
		add_set(&b, name, &families[i]);
		for (size_t at = 0; at < n;)
			add_elements(&b, name, &families[i], flows, n, &at);
	}
	for (size_t i = 0; i < 2; i++) {
		add_chain(&b, name, chains[i], i ? NF_INET_LOCAL_IN : NF_INET_LOCAL_OUT);
		add_pass_rule(&b, name, chains[i]);
		for (size_t k = 0; k < 2; k++)
			add_drop_rule(&b, name, chains[i], &families[k]);
		if (group.level)
			add_group_rule(&b, name, chains[i], group);
	}
	r = commit(&b, &answer, err);
	vec_done(&b.bytes);
	if (r == 0 && answer < 0)
		r = err_sysn(err, -answer, "cannot make the nftables table 'inet %s'", name);
	return r;
}

int nft_delete_table(const char *name, struct err *err)
{
	struct batch b = { 0 };
	int answer = 0, r;

	batch_mark(&b, NFNL_MSG_BATCH_BEGIN);
	table_message(&b, NFT_MSG_DELTABLE, 0);
	attr_text(&b, NFTA_TABLE_NAME, name);
	message_end(&b);
	r = commit(&b, &answer, err);
	vec_done(&b.bytes);
	if (r < 0)
		return r;
	if (answer < 0 && answer != -ENOENT)
		return err_sysn(err, -answer, "cannot delete the nftables table 'inet %s'", name);
	return answer == 0;
}

/* ---- listing ---- */

static void take_table(const struct nlmsghdr *h, const char *prefix, struct nft_tables *ret)
{
	int left = (int)h->nlmsg_len - (int)NLMSG_SPACE(sizeof(struct nfgenmsg));
	const char *at = (const char *)h + NLMSG_SPACE(sizeof(struct nfgenmsg));
	struct nft_table t = { 0 };

	while (left >= (int)sizeof(struct nlattr)) {
		const struct nlattr *a = (const struct nlattr *)at;
		int len = a->nla_len, step = (int)NLA_ALIGN(a->nla_len);

		if (len < (int)sizeof(*a) || len > left)
			return;
		if ((a->nla_type & NLA_TYPE_MASK) == NFTA_TABLE_NAME &&
			len - NLA_HDRLEN <= (int)sizeof(t.name))
			memcpy(t.name, at + NLA_HDRLEN, (size_t)(len - NLA_HDRLEN));
		at += step;
		left -= step;
	}
	t.name[sizeof(t.name) - 1] = '\0';
	if (t.name[0] && !strncmp(t.name, prefix, strlen(prefix)))
		vec_push(ret, t);
}

/* 0 at the end of the list, 1 to read on, -errno. */
static int take_tables(char *buf, ssize_t n, const char *prefix, struct nft_tables *ret)
{
	int left = (int)n;

	for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, left);
		h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
		take_table(h, prefix, ret);
	}
	return 1;
}

int nft_list_tables(const char *prefix, struct nft_tables *ret, struct err *err)
{
	auto_free char *buf = malloc(ANSWER);
	struct batch b = { 0 };
	auto_close int fd = open_netlink(0, err);
	int r = 1;

	*ret = (struct nft_tables){ 0 };
	if (fd < 0)
		return fd;
	if (!buf)
		return err_nomem(err);
	message_begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_INET, 0);
	message_end(&b);
	if (send(fd, b.bytes.at, b.bytes.n, 0) < 0)
		r = -errno;
	vec_done(&b.bytes);
	while (r > 0) {
		ssize_t n = recv(fd, buf, ANSWER, 0);

		r = n < 0 ? -errno : take_tables(buf, n, prefix, ret);
	}
	return r < 0 ? err_sysn(err, -r, "cannot list the tables of nftables") : 0;
}

int nft_usable(void)
{
	struct nft_tables tables;
	struct err err = ERR_INIT;
	int r = nft_list_tables("", &tables, &err);

	vec_done(&tables);
	return r;
}
