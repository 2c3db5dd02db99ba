// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where filters come from. Images name filters, never files: which shared object may be loaded is
 * said by the user or by what stands in the plugin directory.
 */
#include "base/cleanup.h"
#include "pages/builtin.h"
#include "pages/filter.h"
#include <dlfcn.h>
#include <limits.h>
#include <string.h>

const struct torpor_page_filter *const page_filters[] = {
	&page_filter_zero,
	&page_filter_lz4,
	&page_filter_zstd,
	&page_filter_digest,
	&page_filter_aes_gcm,
	&page_filter_chacha,
	NULL,
};

static bool name_is_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n < 32 && !name[n] && strcmp(name, "plain") != 0;
}

static const struct torpor_page_filter *built_in(const char *name)
{
	for (size_t i = 0; page_filters[i]; i++)
		if (!strcmp(page_filters[i]->name, name))
			return page_filters[i];
	return NULL;
}

/* What is wrong with a filter that was loaded, or NULL. */
static const char *fault_of(const struct torpor_page_filter *f)
{
	const unsigned known = TORPOR_FILTER_RANDOM_ACCESS | TORPOR_FILTER_KEEPS_ZEROS |
		TORPOR_FILTER_NEEDS_KEY | TORPOR_FILTER_ALWAYS | TORPOR_FILTER_AUTHENTIC;

	if (f->abi != TORPOR_PAGE_FILTER_ABI)
		return "it was made for another version of the interface";
	if (f->size < sizeof(*f))
		return "its struct is too short";
	if (!f->name || !name_is_good(f->name))
		return "its name is not 1 to 31 of a-z, 0-9 and -";
	if (built_in(f->name)) /* which would be asked to decode what this one made */
		return "its name is that of a filter of torpor's own";
	if (!f->open || !f->close || !f->encode || !f->decode)
		return "it lacks a function";
	if (!f->worker_open != !f->worker_close)
		return "it lacks worker_open or worker_close";
	if (f->caps & ~known)
		return "it has unknown capabilities";
	if (f->expansion > TORPOR_FILTER_EXPANSION_MAX)
		return "it may make extents too long";
	if (f->caps & TORPOR_FILTER_AUTHENTIC && !(f->caps & TORPOR_FILTER_ALWAYS))
		return "it authenticates extents but not all of them";
	if (f->caps & TORPOR_FILTER_RANDOM_ACCESS && (!(f->caps & TORPOR_FILTER_ALWAYS) || f->expansion))
		return "it cannot have random access unless it is always applied and adds nothing";
	return NULL;
}

static int load(const char *path, const struct torpor_page_filter **ret, void **ret_object,
	struct err *err)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct torpor_page_filter *f;
	const char *fault;

	if (!object)
		return err_set(err, ERR_USAGE, ELIBACC, "cannot load a page filter (--page-filter, "
			"--libdir): %s", dlerror());
	f = dlsym(object, TORPOR_PAGE_FILTER_SYMBOL);
	fault = f ? fault_of(f) : "it defines no " TORPOR_PAGE_FILTER_SYMBOL;
	if (fault) {
		err_set(err, ERR_USAGE, ELIBACC, "'%s' is no page filter for this torpor: %s", path,
			fault);
		dlclose(object);
		return -ELIBACC;
	}
	*ret = f;
	*ret_object = object;
	return 0;
}

/*
 * Those the user named by path (PATH[:OPTIONS]) know their own names. 1 if one of them has this
 * name.
 */
static int find_among_files(const char *name, const struct image_access *access,
	const struct torpor_page_filter **ret, void **ret_object, struct err *err)
{
	for (size_t i = 0; i < access->n_filter_files; i++) {
		const char *file = access->filter_files[i];
		char path[PATH_MAX];
		int r;

		if (*file != '/' || snprintf(path, sizeof(path), "%.*s", (int)strcspn(file, ":"),
			file) >= (int)sizeof(path))
			continue;
		r = load(path, ret, ret_object, err);
		if (r < 0)
			return r;
		if (!strcmp((*ret)->name, name))
			return 1;
		dlclose(*ret_object);
	}
	return 0;
}

static int find_in_folder(const char *name, const char *folder,
	const struct torpor_page_filter **ret, void **ret_object, struct err *err)
{
	char path[PATH_MAX];
	int r;

	if (!folder || !name_is_good(name) ||
		snprintf(path, sizeof(path), "%s/%s.so", folder, name) >= (int)sizeof(path) ||
		access(path, F_OK) < 0)
		return 0;
	r = load(path, ret, ret_object, err);
	if (r == 0 && strcmp((*ret)->name, name) != 0) {
		r = err_set(err, ERR_USAGE, ELIBACC, "page filter '%s' calls itself '%s'", path,
			(*ret)->name);
		dlclose(*ret_object);
	}
	return r < 0 ? r : 1;
}

int filter_find(const char *name, const struct image_access *access,
	const struct torpor_page_filter **ret, void **ret_object, struct err *err)
{
	int r;

	*ret_object = NULL;
	*ret = built_in(name);
	if (*ret)
		return 0;
	if (strchr(name, '/'))
		return load(name, ret, ret_object, err);
	r = find_among_files(name, access, ret, ret_object, err);
	if (r == 0)
		r = find_in_folder(name, access->filter_dir, ret, ret_object, err);
	if (r == 0)
		return err_unsupported(err, "there is no page filter '%s': name its shared object by "
			"--page-filter PATH or put '%s.so' into '%s'", name, name,
			access->filter_dir ? access->filter_dir : "the plugin directory");
	return r < 0 ? r : 0;
}

void filter_release(void *object)
{
	if (object)
		dlclose(object);
}
