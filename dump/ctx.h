/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the stages of a dump share. One exists per run; stages fill it in order. */
#pragma once
#include "dump/dump.h"
#include "inject/tracee.h"
#include "kinds/collect.h"
#include "model/world.h"
#include "names/netlock.h"

/* One process of the target, beside its struct task of the same index. */
struct subject {
	pid_t pid, ppid; /* as this host calls them */
	bool zombie, leader_dead;
	struct tracee *tracees; /* live threads only; the leader first unless it is dead */
	size_t n_tracees;
	struct task *task;
};

struct subjects vec_of(struct subject);

struct dump {
	const struct options *o;
	int images_dirfd, workdir_fd;
	struct image_access access;
	struct image_set *images;
	struct world *world;
	struct file_collector *files;
	struct subjects subjects; /* depth first, the root first */
	struct table seen; /* threads and processes met while seizing */
	size_t n_threads;
	struct page_stats pages;
	uint32_t next_pages_id;
	uint64_t start_us, seized_us, frozen_us; /* clock_us() when it began, all stopped; length */
	bool released;
	struct netlock lock;
	struct dump_figures *figures;
};

/* The live thread of a subject through which its process is asked; NULL for zombies. */
static inline struct tracee *subject_voice(const struct subject *s)
{
	return s->n_tracees ? &s->tracees[0] : NULL;
}

/* Stages, one file each. */
int dump_seize(void *ctx, struct err *err);
void dump_unseize(void *ctx);
int dump_identity(void *ctx, struct err *err);
int dump_survey(void *ctx, struct err *err);
int dump_look(void *ctx, struct err *err);
int dump_interview(void *ctx, struct err *err);
int dump_descriptors(void *ctx, struct err *err);
int dump_memory(void *ctx, struct err *err);
int dump_lock_network(void *ctx, struct err *err);
void dump_unlock_network(void *ctx);
int dump_connections(void *ctx, struct err *err);
/* The connections are as they were, or gone with their tasks. */
void dump_forget_connections(void *ctx);
/* Before the tasks are killed: their sockets will close without a word to the peer. */
void dump_silence_connections(struct dump *d);
int dump_release(struct dump *d);
